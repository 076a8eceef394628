"""Detects annotations that are well formed but probably wrong, by looking at all annotations of a split together."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fgd_core.data.findings import NUM_EXAMPLES, Findings
from fgd_core.data.samples import Category, visible_form
from fgd_core.data.short_rows import all_in_row, any_in_row, largest_in_row, product_of_row

_Flags: TypeAlias = npt.NDArray[np.bool_]

_MIN_BOXES = 3
"""Fewer boxes are not enough to judge a whole file."""
_MIN_IOU = 0.5
"""Rounding cannot reduce the overlap of a box with the bounds of its polygon below this intersection over union."""

MAX_DETECTIONS = 100
"""Per image: the default number of detections, and the most that AP counts for each class."""


def is_shifted(used_ids: npt.NDArray[np.int64], listed_ids: npt.NDArray[np.int64]) -> bool:
    """Return whether annotations count their categories from one more or one less than the list of categories.

    At one end an id is then not listed, at the other end an id is unused, and every other id means its neighbour.

    Args:
        used_ids: (n,) category of each annotation.
        listed_ids: (number of categories,)
    """
    used, listed = set(used_ids.tolist()), set(listed_ids.tolist())
    if not listed or not used:
        return False
    first, last = min(listed), max(listed)
    from_more = used - listed == {last + 1} and first not in used and all(each - 1 in listed for each in used)
    from_less = used - listed == {first - 1} and last not in used and all(each + 1 in listed for each in used)
    return from_more or from_less


def report_similar_names(categories: Sequence[Category], findings: Findings) -> None:
    """Report names of categories that a person cannot tell apart."""
    names_by_form: dict[str, list[str]] = {}
    for category in categories:
        names_by_form.setdefault(visible_form(category.name), []).append(category.name)
    for names in names_by_form.values():
        if len(set(names)) > 1:
            findings.add("similar_category_names", ", ".join(map(repr, names)))


def are_corners(boxes_xywh_px: npt.NDArray[np.float64], sizes_px: npt.NDArray[np.int64]) -> _Flags:
    """Find boxes that leave the image if read as [left, top, width, height], but not if read as corners.

    A few boxes past the border are normal. Boxes are only found if at least half leave the image, and all are possible
    corners.

    Args:
        boxes_xywh_px: (n, 4)
        sizes_px: (n, 2) width and height of the images.
    Returns:
        (n,)
    """
    top_left, third = boxes_xywh_px[:, :2], boxes_xywh_px[:, 2:]
    fit = all_in_row((third > top_left) & (top_left >= 0) & (third <= sizes_px))
    past = any_in_row(top_left + third > sizes_px + 1)
    is_decided = len(past) >= _MIN_BOXES and bool(fit.all()) and 2 * int(past.sum()) >= len(past)
    return past if is_decided else np.zeros_like(past)


def report_units(
    xyxy_px: npt.NDArray[np.float32],
    usable: _Flags,
    findings: Findings,
    name: Callable[[int], str],
    *,
    is_normalised: bool,
) -> _Flags:
    """Report boxes that are too small to be in pixels.

    Args:
        xyxy_px: (n, 4)
        usable: (n,)
        name: index of a box -> its name in findings.
        is_normalised: whether the annotations have fractions, which were converted to pixels.
    Returns:
        (n,) boxes that are fractions in a format of pixels: they end within the top left pixel of the image.
    """
    # The box of one whole pixel may also be the whole image in fractions; other boxes decide that.
    fractions = usable & all_in_row(xyxy_px[:, 2:] <= 1) & (not is_normalised)
    fractions[fractions] = any_in_row(xyxy_px[fractions] % 1 != 0)
    findings.add_where("normalised_box", fractions, name)
    rest = usable & ~fractions
    larger_side_px = largest_in_row(xyxy_px[:, 2:] - xyxy_px[:, :2])
    if rest.any() and (larger_side_px[rest] <= 1).all():
        findings.add_where("all_boxes_within_one_pixel", rest, name)
    else:
        findings.add_where("box_below_one_pixel", rest & (larger_side_px < 1), name)
    return fractions


def report_apart(
    xyxy_px: npt.NDArray[np.float32],
    usable: _Flags,
    outlines_xyxy_px: npt.NDArray[np.float64],
    sizes_px: npt.NDArray[np.int64],
    *,
    findings: Findings,
    name: Callable[[int], str],
    problem: str,
) -> _Flags:
    """Report boxes that lie more than a pixel away from the bounds of their own polygon or mask.

    Args:
        xyxy_px, outlines_xyxy_px: (n, 4); an outline is NaN if the object has none.
        usable: (n,)
        sizes_px: (n, 2) width and height. An outline outside its image is a bad mask, but does not show a bad box.
        name: index of a box -> its name in findings.
    Returns:
        (n,) the reported boxes.
    """
    gaps = np.maximum(outlines_xyxy_px[:, :2] - xyxy_px[:, 2:], xyxy_px[:, :2] - outlines_xyxy_px[:, 2:])
    is_inside = all_in_row((outlines_xyxy_px[:, :2] < sizes_px) & (outlines_xyxy_px[:, 2:] > 0))
    apart = usable & is_inside & any_in_row(gaps > 1)
    findings.add_where(problem, apart, name)
    return apart


def report_unlike(
    xyxy_px: npt.NDArray[np.float32],
    usable: _Flags,
    outlines_xyxy_px: npt.NDArray[np.float64],
    sizes_px: npt.NDArray[np.int64],
    *,
    findings: Findings,
    name: Callable[[int], str],
) -> None:
    """Report boxes whose intersection over union with the bounds of their own polygon is below 0.5.

    Args: see `report_apart`.
    """
    inside = outlines_xyxy_px.clip(0, np.tile(sizes_px, 2))
    shared = np.minimum(xyxy_px[:, 2:], inside[:, 2:]) - np.maximum(xyxy_px[:, :2], inside[:, :2])
    intersection = product_of_row(shared.clip(0))
    areas = product_of_row(xyxy_px[:, 2:] - xyxy_px[:, :2]) + product_of_row(inside[:, 2:] - inside[:, :2])
    unlike: _Flags = usable & (intersection < _MIN_IOU * (areas - intersection))
    findings.add_where("box_unlike_its_polygon", unlike, name)


def report_many(num_objects: npt.NDArray[np.int64], file_names: Sequence[str], findings: Findings) -> None:
    """Report images with more objects than evaluation counts detections, and the recall that is then possible.

    Args:
        num_objects: (N,) in each image, without crowd regions.
    """
    crowded = np.flatnonzero(num_objects > MAX_DETECTIONS)
    if not len(crowded):
        return
    best = np.minimum(num_objects, MAX_DETECTIONS).sum() / num_objects.sum()
    examples = [
        f"{file_names[place]}: {num_objects[place]} objects, recall at most "
        f"{MAX_DETECTIONS / num_objects[place]:.1%} in this image and {best:.1%} in the split"
        for place in crowded[:NUM_EXAMPLES].tolist()
    ]
    findings.add_many("many_objects", examples, count=len(crowded))
