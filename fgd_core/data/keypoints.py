"""Names the keypoints of a data set, and pairs left with right."""

import re
from collections.abc import Mapping, Sequence

from fgd_core.data.samples import Category

_OPPOSITE: Mapping[str, str] = {"left": "right", "right": "left"}
_SIDE = re.compile(r"(?<![a-z])(left|right)(?![a-z])")


def names_of_keypoints(categories: Sequence[Category]) -> tuple[str, ...]:
    """Return the names of the keypoints, the same in all categories that have any; empty without keypoints."""
    return next((category.keypoints for category in categories if category.keypoints), ())


def mirrored_order(names: Sequence[str]) -> list[int]:
    """Return for each keypoint the index of the one that takes its place in a mirrored image.

    That is the keypoint of the other side, or the keypoint itself. COCO files do not pair keypoints, but their names
    do: `left_eye` and `right_eye`.
    """
    places = {name: place for place, name in enumerate(names)}
    return [places.get(_other_side(name), place) for place, name in enumerate(names)]


def _other_side(name: str) -> str:
    return _SIDE.sub(lambda found: _OPPOSITE[found[0]], name)
