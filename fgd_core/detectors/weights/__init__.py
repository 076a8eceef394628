"""Loads a detector's initial weights, and reports what was loaded."""

from fgd_core.detectors.weights.inheritance import inherit
from fgd_core.detectors.weights.matching import LoadResult, SourceWeights, load_weights, match_state
from fgd_core.detectors.weights.torchvision import load_torchvision, torchvision_classes, torchvision_weights

__all__ = [
    "LoadResult",
    "SourceWeights",
    "inherit",
    "load_torchvision",
    "load_weights",
    "match_state",
    "torchvision_classes",
    "torchvision_weights",
]
