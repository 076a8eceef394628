"""Decides what the numbers after the class mean, from all rows of a data set: one row often fits several layouts.

Four numbers are a box. More numbers can be a polygon, the four corners of a rotated box, a box with keypoints, or a
prediction: a box with a confidence, a track id, or both. Reading a polygon as keypoints, or keypoints as a polygon,
would silently give a wrong box.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from fgd_core.data.yolo_yaml import DataYaml

Numbers: TypeAlias = tuple[float, ...]
_Rows: TypeAlias = npt.NDArray[np.float64]
_Flags: TypeAlias = npt.NDArray[np.bool_]
_Point: TypeAlias = list[float]
Shape: TypeAlias = Literal["box", "polygon", "box with keypoints"]
RowProblem: TypeAlias = Literal[
    "malformed_label", "label_with_extra_number", "other_num_keypoints", "keypoints_or_polygon"
]

TOLERANCE = 0.01
"""How far outside of 0 to 1 a normalised number may be: tools round, and boxes extend past the border."""

_BOX = 4
_TRIANGLE = 6
_FOUR_CORNERS = 8
_SAMPLE_ROWS = 500
_ALMOST_ALL = 0.9
_MOST = 0.8
_FEW = 0.1
_MANY = 0.25
_MIN_CORNER_BOXES = 3
_MANY_CORNERS = 12
_MAX_CORNERS = 64
_MAX_OUTLINES = 100
"""The check compares each side with each other side, which is slow for many corners."""
_MANY_ROWS = 20
"""Fewer rows may fit both keypoints and polygons by chance."""
_AROUND_BOX = 0.25
"""How far keypoints may lie outside their box, as a share of its sides."""
_FAR = 2.0
"""How far a corner must be from all others to count as far, in extents of the others."""
_VISIBILITIES = (0.0, 1.0, 2.0)


@dataclass(frozen=True)
class Layout:
    """Says what the rows of a data set contain."""

    long_rows: Literal["polygon", "keypoints", "prediction", "unclear"]
    """What a row of more than four numbers contains."""
    keypoints_length: int = 0
    """How many numbers a box with keypoints has; 0 if there are no keypoints."""
    is_guessed: bool = False
    """Whether keypoints are inferred from the numbers, and data.yaml does not declare them."""

    def shape_of(self, numbers: Numbers) -> Shape | RowProblem:
        """Return what a row contains, or what is wrong with it."""
        length = len(numbers)
        if length == _BOX:
            return "box"
        match self.long_rows:
            case "keypoints":
                return "box with keypoints" if length == self.keypoints_length else "other_num_keypoints"
            case "prediction":
                return "label_with_extra_number"
            case "unclear":
                return "keypoints_or_polygon"
        if length % 2:
            return "label_with_extra_number"
        return "polygon" if length >= _TRIANGLE else "malformed_label"


_POLYGONS = Layout("polygon")


def declared_layout(data: DataYaml) -> Layout | None:
    """Return the layout that data.yaml declares; None if it declares none."""
    if data.kpt_shape is not None:
        return Layout("keypoints", _BOX + data.kpt_shape[0] * data.kpt_shape[1])
    return _POLYGONS if data.task in ("segment", "obb") else None


def decides_layout(rows: Sequence[Numbers]) -> bool:
    """Return whether these rows alone decide the layout, so that other splits need not be read."""
    lengths = _lengths(rows)
    return not lengths or (len(lengths) > 1 and not _is_uniform(lengths) and not set(lengths) <= {5, 6})


def infer_layout(rows: Sequence[Numbers]) -> Layout:
    """Infer the layout from the rows of all splits."""
    lengths = _lengths(rows)
    if not lengths:
        return _POLYGONS
    longer = [numbers for numbers in dict.fromkeys(rows) if len(numbers) != _BOX]
    if set(lengths) <= {5, 6} and all(map(_is_prediction, longer)):
        return Layout("prediction")
    # All objects have the same number of keypoints, but polygons have different numbers of corners.
    if not _is_uniform(lengths):
        return _POLYGONS
    length = max(lengths, key=lambda each: lengths[each])
    uniform = [numbers for numbers in longer if len(numbers) == length]
    sample = np.array(uniform[:: len(uniform) // _SAMPLE_ROWS + 1])
    layout = _uniform_layout(sample, with_boxes=len(rows) > lengths.total())
    return _POLYGONS if layout.long_rows == "unclear" and len(lengths) > 1 else layout


def are_corners(boxes: Sequence[Numbers]) -> bool:
    """Return whether boxes contain corners in place of centre and size.

    The second corner is then right of and below the first in every box, and read as centre and size, many boxes would
    leave the image.
    """
    rows = np.array([*dict.fromkeys(boxes)]).reshape(-1, _BOX)
    first, second = rows[:, :2], rows[:, 2:]
    leaves = ((first - second / 2 < -TOLERANCE) | (first + second / 2 > 1 + TOLERANCE)).any(axis=1)
    return len(rows) >= _MIN_CORNER_BOXES and bool((second > first).all()) and leaves.mean() >= _MANY


def _lengths(rows: Sequence[Numbers]) -> Counter[int]:
    """Count the rows of each length, without boxes."""
    return Counter(len(numbers) for numbers in rows if len(numbers) != _BOX)


def _is_uniform(lengths: Counter[int]) -> bool:
    return max(lengths.values()) >= _ALMOST_ALL * lengths.total()


def _uniform_layout(rows: _Rows, *, with_boxes: bool) -> Layout:
    """Infer the layout of rows that all have the same length.

    Args:
        rows: (n, length) without duplicates.
        with_boxes: whether the data set also has rows that are only a box.
    """
    num_rows, length = rows.shape
    if length == _FOUR_CORNERS and _are_parallelograms(rows):
        return _POLYGONS
    keypoints = Layout("keypoints", length, is_guessed=True)
    boxes = _begin_with_box(rows)
    has_visibilities = (length - _BOX) % 3 == 0 and bool(np.isin(rows[:, 6::3], _VISIBILITIES).all())
    if has_visibilities and boxes.mean() >= _ALMOST_ALL:
        return keypoints
    if length % 2:
        return _POLYGONS
    around = float((boxes & _lie_around_box(rows)).mean())
    outlines = _share_of_outlines(rows) if length <= 2 * _MAX_CORNERS else float(around < 0.5)
    far = float(_second_is_far(rows).mean())
    is_sure = num_rows >= _MANY_ROWS
    if around >= _ALMOST_ALL and (outlines < 0.5 or (far >= 0.5 and is_sure)):
        return keypoints
    only_polygons = around < 0.5 or with_boxes or is_sure or length >= 2 * _MANY_CORNERS
    if outlines >= _MOST and far <= _FEW and only_polygons:
        return _POLYGONS
    return Layout("unclear")


def _is_prediction(numbers: Numbers) -> bool:
    """Return whether a row is a box and one number, or a box, a confidence and a track id."""
    if len(numbers) == _BOX + 1:
        return True
    confidence, track = numbers[_BOX:]
    return 0 <= confidence <= 1 and track >= 1 and track.is_integer()


def _are_parallelograms(rows: _Rows) -> bool:
    """Return whether almost all rows are parallelograms: a rotated rectangle becomes one when it is normalised."""
    points = rows.reshape(-1, 4, 2)
    gaps = np.abs(points[:, 0] - points[:, 1] + points[:, 2] - points[:, 3]).max(axis=1)
    return bool((gaps <= TOLERANCE).mean() >= _ALMOST_ALL)


def _begin_with_box(rows: _Rows) -> _Flags:
    """(n,) whether the first four numbers are the centre and the size of a box inside the image."""
    centres, sides = rows[:, :2], rows[:, 2:4]
    fits = (sides > 0) & (centres - sides / 2 >= -TOLERANCE) & (centres + sides / 2 <= 1 + TOLERANCE)
    found: _Flags = np.logical_and.reduce(fits, axis=1)
    return found


def _lie_around_box(rows: _Rows) -> _Flags:
    """(n,) whether all points after the box lie in it or near it; a point at 0, 0 is hidden and not considered."""
    centres, sides = rows[:, None, :2], rows[:, None, 2:4]
    points = rows[:, 4:].reshape(len(rows), -1, 2)
    near = np.logical_and.reduce(np.abs(points - centres) <= sides * (0.5 + _AROUND_BOX), axis=2)
    found: _Flags = np.logical_and.reduce(near | ~points.any(axis=2), axis=1)
    return found


def _second_is_far(rows: _Rows) -> _Flags:
    """(n,) whether the second point is far from all others: the size of a box is, but not the corner of a polygon."""
    points = rows.reshape(len(rows), -1, 2)
    second, others = points[:, 1], np.delete(points, 1, axis=1)
    low, high = others.min(axis=1), others.max(axis=1)
    reach = _FAR * (high - low).max(axis=1, keepdims=True)
    found: _Flags = np.logical_or.reduce((second < low - reach) | (second > high + reach), axis=1)
    return found


def _share_of_outlines(rows: _Rows) -> float:
    """Return the share of (n, length) rows that are valid outlines of an object."""
    some = rows[:: len(rows) // _MAX_OUTLINES + 1]
    return float(np.mean([_is_outline(row.reshape(-1, 2).tolist()) for row in some]))


def _is_outline(points: list[_Point]) -> bool:
    """Return whether a polygon has an area and its sides neither cross nor touch."""
    points = [point for place, point in enumerate(points) if point != points[place - 1]]
    if len(points) < 3:
        return False
    edges = [*pairwise([*points, points[0]])]
    if abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in edges)) < 1e-7:
        return False
    last = len(edges) - 1
    apart = (
        (first, other)
        for place, first in enumerate(edges)
        for later, other in enumerate(edges[place + 2 :], start=place + 2)
        if not (place == 0 and later == last)
    )
    return not any(_touch(*first, *other) for first, other in apart)


def _touch(a: _Point, b: _Point, c: _Point, d: _Point) -> bool:
    """Return whether the lines from a to b and from c to d share a point; False if both lie on one line."""
    first, other = _orientation(a, b, c) * _orientation(a, b, d), _orientation(c, d, a) * _orientation(c, d, b)
    return (first <= 0 and other < 0) or (first < 0 and other <= 0)


def _orientation(a: _Point, b: _Point, c: _Point) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
