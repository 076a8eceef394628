"""Evaluation of a checkpoint."""

from typing import Literal

from pydantic import Field

from fgd_core.spec.data import DataSpec, InputSpec
from fgd_core.spec.kinds.base import AnyJob


class EvaluateSpec(AnyJob):
    """Score a checkpoint on a validation split."""

    kind: Literal["evaluate"] = "evaluate"
    checkpoint: str
    """A checkpoint of fgd: a path, or `job:<id>/best`."""
    data: DataSpec
    """Only its validation images are used."""
    input: InputSpec | None = None
    """Default: the settings in the checkpoint."""
    batch_size: int = Field(default=8, ge=1)
    """Images per forward pass."""
