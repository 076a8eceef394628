"""Converts a COCO `segmentation`, which has three forms and some unofficial ones, into compressed run lengths.

Every value is checked before pycocotools reads it: its C code trusts its input, and for inconsistent run lengths it
would read and write outside its memory.
"""

import math
from array import array
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt
from pycocotools import mask as run_lengths

from fgd_core.data.masks import Counts

_MAX_DISTANCE = 16
"""Limit of a coordinate, in longer sides of the image. pycocotools walks along edges in steps of 1/5 px."""
_MAX_COORDINATE = 1e6
_MAX_SYMBOLS_PER_RUN = 7
"""Symbols of 5 bits: enough for an image of 2^32 pixels, and too few to overflow 64 bits."""

MaskProblem: TypeAlias = Literal["missing_mask", "malformed_mask", "mask_of_other_size", "empty_mask"]


class Segmentation(NamedTuple):
    """Holds the mask of an object, or why it has none."""

    counts: Counts | None
    """None if there is a problem."""
    problem: MaskProblem | None = None
    is_past_border: bool = False
    """Whether a part outside the image was cut off."""

    def bounds_xyxy_px(self, size_px: tuple[int, int]) -> tuple[float, float, float, float]:
        """Return the bounds of the covered pixels, in an image of (width, height); NaN if there is a problem."""
        if self.counts is None:
            return (math.nan,) * 4
        left, top, width, height = run_lengths.toBbox({"size": [*size_px[::-1]], "counts": self.counts}).tolist()
        return left, top, left + width, top + height


def read_segmentation(value: object, size_px: tuple[int, int]) -> Segmentation:
    """Read a segmentation.

    Args:
        value: polygons, or run lengths, compressed or not, as in the annotation.
        size_px: (width, height) of the image as annotated.
    """
    if value is None or value in ([], {}, ""):
        return Segmentation(None, "missing_mask")
    if isinstance(value, list):
        return _from_polygons(value, *size_px)
    if isinstance(value, dict):
        return _from_run_lengths(value, *size_px)
    return Segmentation(None, "malformed_mask")


def to_coco_form(value: object) -> tuple[object, bool]:
    """Convert a segmentation to one of COCO's forms; returns other values unchanged.

    Converts polygons that are one flat list of numbers, lists of points, or points with an `x` and a `y`, and
    compressed run lengths in the text form of Python bytes, `b'…'`.

    Returns:
        The segmentation, and whether it was converted.
    """
    if isinstance(value, list) and value:
        if isinstance(value[0], list) and value[0] and isinstance(value[0][0], int | float) and len(value[0]) > 2:
            return value, False
        points = _flat(value)
        polygons = [points] if points is not None else [_flat(part) for part in value]
        return (polygons, True) if all(polygon is not None for polygon in polygons) else (value, False)
    if isinstance(value, dict) and isinstance(value.get("counts"), str) and value["counts"][:2] in ("b'", 'b"'):
        return value | {"counts": value["counts"][2:-1].replace("\\\\", "\\")}, True
    return value, False


def _flat(points: object) -> list[float] | None:
    """Return x and y of each corner in turn, from a list of numbers or of points; None for other values."""
    if not isinstance(points, list) or len(points) < 3:
        return None
    if all(isinstance(number, int | float) for number in points):
        return points if len(points) >= 6 else None
    pairs = [(point.get("x"), point.get("y")) if isinstance(point, dict) else point for point in points]
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        return None
    flat = [number for pair in pairs for number in pair if isinstance(number, int | float)]
    return flat if len(flat) == 2 * len(pairs) else None


def bounds_of(segmentation: object) -> tuple[float, float, float, float] | None:
    """Return left, top, right and bottom of polygons; None for other values, including run lengths."""
    if not isinstance(segmentation, list) or not segmentation:
        return None
    if not all(_is_polygon(polygon, _MAX_COORDINATE) for polygon in segmentation):
        return None
    return (
        min(min(polygon[0::2]) for polygon in segmentation),
        min(min(polygon[1::2]) for polygon in segmentation),
        max(max(polygon[0::2]) for polygon in segmentation),
        max(max(polygon[1::2]) for polygon in segmentation),
    )


def bounding_box(segmentation: object, size_px: tuple[int, int] | None) -> tuple[float, float, float, float] | None:
    """Return left, top, width and height of a segmentation; None if it is invalid or covers nothing.

    Args:
        size_px: (width, height) of the image; None if unknown. Run lengths cannot be read without it.
    """
    bounds = bounds_of(segmentation)
    if bounds is not None:
        left, top, right, bottom = bounds
        return left, top, right - left, bottom - top
    if not isinstance(segmentation, dict) or size_px is None:
        return None
    left, top, right, bottom = read_segmentation(segmentation, size_px).bounds_xyxy_px(size_px)
    return None if math.isnan(left) else (left, top, right - left, bottom - top)


def _from_polygons(polygons: Sequence[object], width: int, height: int) -> Segmentation:
    max_coordinate = _MAX_DISTANCE * max(width, height)
    is_past_border = False
    for polygon in polygons:
        if not _is_polygon(polygon, max_coordinate):
            return Segmentation(None, "malformed_mask")
        x, y = polygon[0::2], polygon[1::2]
        is_past_border |= min(x) < 0 or min(y) < 0 or max(x) > width or max(y) > height
    # Clips at the border.
    parts = run_lengths.frPyObjects(polygons, height, width)
    whole = parts[0] if len(parts) == 1 else run_lengths.merge(parts)
    if not run_lengths.area(whole):
        return Segmentation(None, "empty_mask")
    return Segmentation(whole["counts"], is_past_border=is_past_border)


def _is_polygon(polygon: object, max_coordinate: float) -> TypeGuard[list[float]]:
    """Return whether this is x and y in turn of at least three corners: pycocotools reads four numbers as a box."""
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        return False
    try:
        array("d", polygon)  # the fastest check that all are numbers; booleans pass it
    except (TypeError, OverflowError):
        return False
    if bool in map(type, polygon):
        return False
    # A sum is NaN if any number is; a comparison would not show it.
    return math.isfinite(sum(polygon)) and -max_coordinate <= min(polygon) and max(polygon) <= max_coordinate


def _from_run_lengths(value: Mapping[str, object], width: int, height: int) -> Segmentation:
    size, counts = value.get("size"), value.get("counts")
    if not isinstance(size, list) or len(size) != 2 or not isinstance(counts, str | list):
        return Segmentation(None, "malformed_mask")
    runs = _compressed(counts) if isinstance(counts, str) else _uncompressed(counts)
    if runs is None or (runs < 0).any():
        return Segmentation(None, "malformed_mask")
    if size != [height, width]:
        return Segmentation(None, "mask_of_other_size")
    if runs.sum() != height * width:
        return Segmentation(None, "malformed_mask")
    if not runs[1::2].any():
        return Segmentation(None, "empty_mask")
    if isinstance(counts, str):
        return Segmentation(counts.encode("ascii"))
    return Segmentation(run_lengths.frPyObjects({"size": size, "counts": counts}, height, width)["counts"])


def _uncompressed(counts: Sequence[object]) -> npt.NDArray[np.int64] | None:
    """Return (n,) run lengths in pixels; None if a count is not an integer of 32 bits."""
    if not counts or not all(type(count) is int and abs(count) < 2**32 for count in counts):
        return None
    return np.array(counts, dtype=np.int64)


def _compressed(counts: str) -> npt.NDArray[np.int64] | None:
    """Return the (n,) run lengths in pixels of a compressed text; None if it is invalid.

    Each character is 48 plus 6 bits: one bit says whether the number continues, five are its next digits, lowest
    first. The highest bit of the last digits is the sign. From the fourth run on, each number is the difference from
    the run two places before.
    """
    try:
        symbols = np.frombuffer(counts.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    except UnicodeEncodeError:
        return None
    if not len(symbols) or symbols.min() < 0 or symbols.max() > 63 or symbols[-1] & 32:
        return None
    lasts = np.flatnonzero((symbols & 32) == 0)
    firsts = np.concatenate([[0], lasts[:-1] + 1])
    lengths = lasts - firsts + 1
    if lengths.max() > _MAX_SYMBOLS_PER_RUN:
        return None
    shifts = 5 * (np.arange(len(symbols)) - np.repeat(firsts, lengths))
    runs: npt.NDArray[np.int64] = np.add.reduceat((symbols & 31) << shifts, firsts)
    runs -= np.where(symbols[lasts] & 16, 1 << (5 * lengths), 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs
