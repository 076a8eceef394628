"""What a detector shows of itself: the types that detectors produce and distillation methods read."""

from typing import NamedTuple


class FeatureLevel(NamedTuple):
    """Describes one map of a pyramid."""

    name: str
    stride: int
    """Pixels of the input per cell."""
    channels: int
    is_derived: bool = False
    """Whether the map only subsamples the level below, so it adds no information."""
