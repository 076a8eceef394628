"""Where a detector's first weights come from, and a true account of what was loaded."""

from fgd_core.detectors.weights.inheritance import inherit
from fgd_core.detectors.weights.matching import Loaded, Offer, load_offer, match_state
from fgd_core.detectors.weights.torchvision import load_torchvision, torchvision_classes, torchvision_offer

__all__ = [
    "Loaded",
    "Offer",
    "inherit",
    "load_offer",
    "load_torchvision",
    "match_state",
    "torchvision_classes",
    "torchvision_offer",
]
