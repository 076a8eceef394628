"""Imitation of embeddings by their angle."""

from typing import Literal

from pydantic import Field

from fgd_core.spec.methods.base import AnyMethod


class Embedding(AnyMethod):
    """Cosine distillation of embeddings, as in Distill-DKP (arXiv:2410.14700): imitates the direction of each
    embedding, whatever its length. Made for a teacher that sees another picture than the student: set
    `teacher.picture: depth` for a teacher that was trained on depth maps. Later, the student needs the image only.

    Published for self-supervised keypoints, as the error against the student alone: 47 % lower on Human3.6M, 6 % lower
    on Taichi; 1.3 % better on DeepFashion. No figures for detectors. Not known: the layers, the weight, and whether
    embeddings are of a cell or of the image, for there is no public code.
    """

    weight_fields = {"weight": "cosine"}

    type: Literal["embedding"] = "embedding"
    weight: float = Field(default=1.0, ge=0)
    """Weight of the loss of each level, which is between 0 and 2. The published weight is not known."""
    embeddings: Literal["cells", "image"] = "cells"
    """What is compared on each level. `cells`: the vector of each cell, so that positions count. `image`: the mean over
    all cells, one vector for each image."""
