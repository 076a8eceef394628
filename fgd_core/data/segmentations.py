"""A COCO `segmentation`, which comes in three forms and some more, as run lengths.

Everything is looked at before pycocotools sees it: its C code trusts its input, and would read and write beyond its
memory for run lengths that do not add up.
"""

import math
from array import array
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from pycocotools import mask as run_lengths

from fgd_core.data.masks import Counts

_MAX_DISTANCE = 16
"""A corner may lie so many times the image's longer side from the origin: its edges are walked in fifths of a pixel."""
_FARTHEST = 1e6
_MAX_SYMBOLS_PER_RUN = 7
"""Of 5 bits each: more than an image of 2^32 pixels needs, and less than overflows 64 bits."""

MaskProblem: TypeAlias = Literal["missing_mask", "malformed_mask", "mask_of_other_size", "empty_mask"]


class Segmentation(NamedTuple):
    counts: Counts | None
    """None where there is a problem."""
    problem: MaskProblem | None = None
    is_past_border: bool = False
    """Whether a part of it was cut off."""

    def bounds_xyxy_px(self, size_px: tuple[int, int]) -> tuple[float, float, float, float]:
        """Of the pixels that it covers, in an image of (width, height); NaN where there is a problem."""
        if self.counts is None:
            return (math.nan,) * 4
        left, upper, width, height = run_lengths.toBbox({"size": [*size_px[::-1]], "counts": self.counts}).tolist()
        return left, upper, left + width, upper + height


def read_segmentation(value: Any, size_px: tuple[int, int]) -> Segmentation:
    """
    Args:
        value: as the annotation has it: polygons, or run lengths, compressed or not.
        size_px: (width, height) of the image that the object's box was drawn on.
    """
    if value is None or value in ([], {}, ""):
        return Segmentation(None, "missing_mask")
    if isinstance(value, list):
        return _of_polygons(value, *size_px)
    if isinstance(value, dict):
        return _of_run_lengths(value, *size_px)
    return Segmentation(None, "malformed_mask")


def in_coco_form(value: Any) -> tuple[Any, bool]:
    """A segmentation in one of COCO's forms, and whether it had to be brought there; what cannot be is left as it is.

    Polygons come also as one flat list of numbers, as lists of points, and as points with an `x` and a `y`; compressed
    run lengths as the text that Python makes of bytes, `b'…'`.
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


def _flat(points: Any) -> list[Any] | None:
    """Numbers, x and y in turn, of numbers or of points; None where they are neither."""
    if not isinstance(points, list) or len(points) < 3:
        return None
    if all(isinstance(number, int | float) for number in points):
        return points if len(points) >= 6 else None
    pairs = [(point.get("x"), point.get("y")) if isinstance(point, dict) else point for point in points]
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        return None
    flat = [number for pair in pairs for number in pair]
    return flat if all(isinstance(number, int | float) for number in flat) else None


def bounds_of(segmentation: Any) -> tuple[float, float, float, float] | None:
    """Left, upper, right and lower edge of polygons; None where they are none, run lengths among them."""
    if not isinstance(segmentation, list) or not segmentation:
        return None
    if not all(_is_polygon(polygon, _FARTHEST) for polygon in segmentation):
        return None
    return (
        min(min(polygon[0::2]) for polygon in segmentation),
        min(min(polygon[1::2]) for polygon in segmentation),
        max(max(polygon[0::2]) for polygon in segmentation),
        max(max(polygon[1::2]) for polygon in segmentation),
    )


def box_around(segmentation: Any, size_px: tuple[int, int] | None) -> tuple[float, float, float, float] | None:
    """Left, upper, width and height of what it covers; None where it is none, or covers nothing.

    Args:
        size_px: (width, height) of its image. Run lengths say nothing without it, and nothing that holds for another.
    """
    bounds = bounds_of(segmentation)
    if bounds is not None:
        left, upper, right, lower = bounds
        return left, upper, right - left, lower - upper
    if not isinstance(segmentation, dict) or size_px is None:
        return None
    left, upper, right, lower = read_segmentation(segmentation, size_px).bounds_xyxy_px(size_px)
    return None if math.isnan(left) else (left, upper, right - left, lower - upper)


def _of_polygons(polygons: list[Any], width: int, height: int) -> Segmentation:
    far = _MAX_DISTANCE * max(width, height)
    is_past_border = False
    for polygon in polygons:
        if not _is_polygon(polygon, far):
            return Segmentation(None, "malformed_mask")
        x, y = polygon[0::2], polygon[1::2]
        is_past_border |= min(x) < 0 or min(y) < 0 or max(x) > width or max(y) > height
    # Cuts at the border by itself.
    parts = run_lengths.frPyObjects(polygons, height, width)
    whole = parts[0] if len(parts) == 1 else run_lengths.merge(parts)
    if not run_lengths.area(whole):
        return Segmentation(None, "empty_mask")
    return Segmentation(whole["counts"], is_past_border=is_past_border)


def _is_polygon(polygon: Any, far: float) -> bool:
    """Whether it is at least three corners, x and y in turn. With fewer, pycocotools would take it for a box."""
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        return False
    try:
        array("d", polygon)  # the quickest test that all of it are numbers; or booleans
    except (TypeError, OverflowError):
        return False
    if bool in map(type, polygon):
        return False
    # A sum shows NaN, which no comparison does.
    return math.isfinite(sum(polygon)) and -far <= min(polygon) and max(polygon) <= far


def _of_run_lengths(value: Mapping[str, Any], width: int, height: int) -> Segmentation:
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


def _uncompressed(counts: list[Any]) -> npt.NDArray[np.int64] | None:
    if not counts or not all(type(count) is int and abs(count) < 2**32 for count in counts):
        return None
    return np.array(counts, dtype=np.int64)


def _compressed(counts: str) -> npt.NDArray[np.int64] | None:
    """The runs in a compressed string; None where it is none.

    Each character is 48 and 6 bits: one says whether the number goes on, five are its next digits, lowest first, and
    the highest bit of the last is the sign. From the fourth on, a run is told as the difference from the one before
    the last.
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
