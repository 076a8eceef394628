"""The check of a data set."""

from typing import Literal

from pydantic import Field

from fgd_core.spec.data import DataSpec, InputSpec
from fgd_core.spec.kinds.base import AnyJob


class CheckDataSpec(AnyJob):
    """Check a data set: count it, report its problems, compute its fingerprints and draw samples of it.

    The job fails if a training on this data would fail.
    """

    kind: Literal["check_data"] = "check_data"
    data: DataSpec
    """The data set to check."""
    num_samples: int = Field(default=12, ge=1, le=60)
    """Number of images per split that are drawn with their boxes."""
    input: InputSpec | None = None
    """If given, `samples_augmented.png` shows training images as the first epoch of a training with these settings and
    this seed shows them."""
