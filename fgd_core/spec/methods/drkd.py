"""Dual relation knowledge distillation."""

from typing import Literal

from pydantic import Field

from fgd_core.spec.methods.base import AnyMethod


class Drkd(AnyMethod):
    """Dual relations (DRKD, arXiv:2302.05637): imitates the relations between the cells of each level and those between
    the objects of an image on the two finest levels, and the objects' features. The defaults are those of the authors'
    code for two-stage detectors.

    Published for COCO, 2x, as student alone / distilled: Faster R-CNN R50 from Cascade Mask R-CNN X101 38.4 / 41.6;
    RetinaNet R50 from X101 37.4 / 40.3.

    Not known: the weights of the matrix form, those for one-stage detectors, and why the authors' code filters the
    relations with a matrix that is random in every step; `filter` learns one instead. The losses are norms of sums over
    cells, so the published weights suit images of 800x1333 pixels. With pyramids of 256 channels the published size has
    47 million parameters, more than a ResNet-50 detector; `roi_size: 1` has 5 million. The term `teacher_norm` has no
    weight: if it falls towards 0, both relation blocks collapse, and the term `pixels` no longer teaches.
    """

    weight_fields = {"pixels": "pixels", "instances": "instances", "features": "features"}

    type: Literal["drkd"] = "drkd"
    pixels: float = Field(default=1e-3, ge=0)
    """Weight of the relations between cells, for each level. Published: 1e-3."""
    instances: float = Field(default=4e-3, ge=0)
    """Weight of the relations between objects, for each of the two finest levels. Published: 4e-3."""
    features: float = Field(default=2.4e-3, ge=0)
    """Weight of the objects' features, for each of the two finest levels. Published: 2.4e-3."""
    relation: Literal["features", "matrix"] = "features"
    """`features`: compare features that the relations have enhanced, by L2 norms, as the authors' code. `matrix`:
    compare the relations of objects themselves, and all terms by squares, as the paper; it needs other weights."""
    roi_size: int = Field(default=3, ge=1, le=7)
    """Side of the square to which the features of an object are pooled. Published: 3."""
    width: int | None = Field(default=None, ge=1)
    """Size of the vectors whose products relate two objects. None, as published: half the size of an object's features,
    which is channels x roi_size x roi_size."""
    filter: bool = False
    """Multiply the products by a learned softmax over objects before they become relations."""
