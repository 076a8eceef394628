"""What is well formed and yet not what anybody meant, seen from all annotations of a split together."""

import unicodedata
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fgd_core.data.findings import NUM_EXAMPLES, Findings, note
from fgd_core.data.samples import Category

_Flags: TypeAlias = npt.NDArray[np.bool_]

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
        key = " ".join(unicodedata.normalize("NFKC", category.name).casefold().split())
        by_key.setdefault(key, []).append(category.name)
    for names in by_key.values():
        if len(set(names)) > 1:
            findings.add("similar_category_names", ", ".join(map(repr, names)))


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
    tiny: _Flags = rest & ((xyxy_px[:, 2:] - xyxy_px[:, :2]) < 1).all(axis=1)
    are_all = bool(rest.any()) and bool((tiny == rest).all())
    note(findings, "all_boxes_below_one_pixel" if are_all else "box_below_one_pixel", tiny, name)
    return fractions


def note_apart(
    xyxy_px: npt.NDArray[np.float32],
    usable: _Flags,
    outlines_xyxy_px: npt.NDArray[np.float64],
    sizes_px: npt.NDArray[np.int64],
    *,
    findings: Findings,
    name: Callable[[int], str],
) -> _Flags:
    """Report boxes that do not meet the bounds of their own polygon: more than a pixel lies between the two.

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
    note(findings, "box_off_its_polygon", apart, name)
    return apart


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
