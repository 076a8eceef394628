"""Imports torchvision's private names for the rest of the library, so that a new release breaks only this module.

`tests/contract/test_private_doors.py` checks that the pinned torchvision still has each of them.
"""

from torchvision.models._meta import _COCO_CATEGORIES

COCO_OUTPUTS: tuple[str, ...] = tuple(_COCO_CATEGORIES)
"""The 91 outputs of torchvision's COCO heads: the background, the 80 classes and `N/A` for each unused COCO id."""

__all__ = ["COCO_OUTPUTS"]
