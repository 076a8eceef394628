"""What is well formed and yet not what anybody meant, seen from all annotations of a split together."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fgd_core.data.findings import NUM_EXAMPLES, Findings, note
from fgd_core.data.samples import Category, look_of

_Flags: TypeAlias = npt.NDArray[np.bool_]

_FEWEST = 3
"""Boxes that a whole file is judged by."""
_UNLIKE = 0.5
"""Overlap of a box with the bounds of its polygon that no rounding explains."""

COUNTED_DETECTIONS = 100
"""An image: as many a detector keeps unless it is set otherwise, and AP counts no more of a class."""


def is_shifted(used_ids: npt.NDArray[np.int64], listed_ids: npt.NDArray[np.int64]) -> bool:
    """Whether the annotations count their categories from one more or one less than the list does.

    One id is then missing at one end and unused at the other, and all others mean their neighbour.
    """
    used, listed = set(used_ids.tolist()), set(listed_ids.tolist())
    if not listed or not used:
        return False
    first, last = min(listed), max(listed)
    from_more = used - listed == {last + 1} and first not in used and all(one - 1 in listed for one in used)
    from_less = used - listed == {first - 1} and last not in used and all(one + 1 in listed for one in used)
    return from_more or from_less


def note_similar_names(categories: Sequence[Category], findings: Findings) -> None:
    by_key: dict[str, list[str]] = {}
    for category in categories:
        by_key.setdefault(look_of(category.name), []).append(category.name)
    for names in by_key.values():
        if len(set(names)) > 1:
            findings.add("similar_category_names", ", ".join(map(repr, names)))


def are_corners(boxes_xywh_px: npt.NDArray[np.float64], sizes_px: npt.NDArray[np.int64]) -> _Flags:
    """Which boxes reach past the border as they stand and would not if they were corners; none unless most do.

    All have to be possible corners, for a few boxes past the border are nothing special.

    Args:
        boxes_xywh_px: (n, 4)
        sizes_px: (n, 2) width and height.
    """
    upper_left, third = boxes_xywh_px[:, :2], boxes_xywh_px[:, 2:]
    fit = (third > upper_left).all(axis=1) & (upper_left >= 0).all(axis=1) & (third <= sizes_px).all(axis=1)
    past: _Flags = np.logical_or.reduce(upper_left + third > sizes_px + 1, axis=1)
    is_so = len(past) >= _FEWEST and bool(fit.all()) and 2 * int(past.sum()) >= len(past)
    return past if is_so else np.zeros_like(past)


def note_units(
    xyxy_px: npt.NDArray[np.float32],
    usable: _Flags,
    findings: Findings,
    name: Callable[[int], str],
    *,
    is_normalised: bool,
) -> _Flags:
    """Report boxes that pixels are the wrong unit for.

    Args:
        xyxy_px: (n, 4)
        usable: (n,)
        is_normalised: whether the format has fractions, so that pixels were made of them here.
    Returns:
        (n,) which are fractions in a format of pixels: the box ends in the upper left pixel of its image.
    """
    # The whole pixel is a box; that it is the whole image as fractions, other boxes will show.
    is_part = (xyxy_px % 1 != 0).any(axis=1)
    fractions: _Flags = usable & is_part & (xyxy_px[:, 2:] <= 1).all(axis=1) & (not is_normalised)
    note(findings, "normalised_box", fractions, name)
    rest = usable & ~fractions
    larger_side_px = (xyxy_px[:, 2:] - xyxy_px[:, :2]).max(axis=1, initial=0)
    if rest.any() and (larger_side_px[rest] <= 1).all():
        note(findings, "all_boxes_within_one_pixel", rest, name)
    else:
        note(findings, "box_below_one_pixel", rest & (larger_side_px < 1), name)
    return fractions


def note_apart(
    xyxy_px: npt.NDArray[np.float32],
    usable: _Flags,
    outlines_xyxy_px: npt.NDArray[np.float64],
    sizes_px: npt.NDArray[np.int64],
    *,
    findings: Findings,
    name: Callable[[int], str],
    problem: str,
) -> _Flags:
    """Report boxes that do not meet the bounds of their own polygon or mask: more than a pixel lies between the two.

    Args:
        xyxy_px, outlines_xyxy_px: (n, 4); an outline is NaN where there is none.
        usable: (n,)
        sizes_px: (n, 2) width and height. A polygon outside of its image is bad as a mask, and says nothing of the box.
    Returns:
        (n,) which those are.
    """
    gaps = np.maximum(outlines_xyxy_px[:, :2] - xyxy_px[:, 2:], xyxy_px[:, :2] - outlines_xyxy_px[:, 2:])
    is_inside = ((outlines_xyxy_px[:, :2] < sizes_px) & (outlines_xyxy_px[:, 2:] > 0)).all(axis=1)
    apart: _Flags = usable & is_inside & (gaps > 1).any(axis=1)
    note(findings, problem, apart, name)
    return apart


def note_unlike(
    xyxy_px: npt.NDArray[np.float32],
    usable: _Flags,
    outlines_xyxy_px: npt.NDArray[np.float64],
    sizes_px: npt.NDArray[np.int64],
    *,
    findings: Findings,
    name: Callable[[int], str],
) -> None:
    """Report boxes that overlap the bounds of their own polygon by less than half of what both cover.

    Args: as of `note_apart`.
    """
    inside = outlines_xyxy_px.clip(0, np.tile(sizes_px, 2))
    shared = np.minimum(xyxy_px[:, 2:], inside[:, 2:]) - np.maximum(xyxy_px[:, :2], inside[:, :2])
    common = shared.clip(0).prod(axis=1)
    own = (xyxy_px[:, 2:] - xyxy_px[:, :2]).prod(axis=1) + (inside[:, 2:] - inside[:, :2]).prod(axis=1)
    unlike: _Flags = usable & (common < _UNLIKE * (own - common))
    note(findings, "box_unlike_its_polygon", unlike, name)


def note_many(num_objects: npt.NDArray[np.int64], file_names: Sequence[str], findings: Findings) -> None:
    """Report images with more objects than detections count, and what recall they leave.

    Args:
        num_objects: (N,) of each image, without crowd regions.
    """
    crowded = np.flatnonzero(num_objects > COUNTED_DETECTIONS)
    if not len(crowded):
        return
    best = np.minimum(num_objects, COUNTED_DETECTIONS).sum() / num_objects.sum()
    examples = [
        f"{file_names[place]}: {num_objects[place]} objects, recall at most "
        f"{COUNTED_DETECTIONS / num_objects[place]:.1%} there and {best:.1%} in the split"
        for place in crowded[:NUM_EXAMPLES].tolist()
    ]
    findings.add_many("many_objects", examples, num_in_all=len(crowded))
