"""Reads and checks the keypoints of the usable annotations; reports the others."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from fgd_core.data.annotations import AnnotatedKeypoints, Annotations
from fgd_core.data.coco_values import read_number
from fgd_core.data.findings import Findings
from fgd_core.data.keypoints import names_of_keypoints
from fgd_core.data.usable_boxes import UsableBoxes, namer
from fgd_core.data.usable_images import UsableImages
from fgd_core.stopping import stoppable

_Points: TypeAlias = npt.NDArray[np.float64]
_Sizes: TypeAlias = npt.NDArray[np.int64]

_ROWS_PER_STOP_CHECK = 10_000


class _Read(NamedTuple):
    points: _Points
    """(K, 3) x, y and visibility; zeros if there are none."""
    problems: frozenset[str] = frozenset()


def with_usable_keypoints(
    boxes: UsableBoxes, annotations: Annotations, images: UsableImages, findings: Findings
) -> UsableBoxes:
    """Add the keypoints, and leave out objects whose keypoints are malformed.

    Returns `boxes` unchanged if the caller did not ask for keypoints, or no category has any.
    """
    objects, names = annotations.objects, names_of_keypoints(annotations.categories)
    # If categories differ, the file is refused, and each of its objects would also be reported.
    if objects.keypoints is None or "differing_keypoint_names" in findings:
        return boxes
    has_names = [bool(category.keypoints) for category in annotations.categories]
    columns = (boxes.rows.tolist(), boxes.labels.tolist())
    read = [
        _read(objects.keypoints[row], len(names) if has_names[label] else 0, is_crowd=bool(objects.is_crowd[row]))
        for row, label in stoppable(zip(*columns, strict=True), every=_ROWS_PER_STOP_CHECK)
    ]
    name = namer(objects, images, boxes.rows, boxes.image_indices)
    for problem in sorted(frozenset[str]().union(*(each.problems for each in read))):
        findings.add_where(problem, np.array([problem in each.problems for each in read]), name)
    if not names:
        return boxes
    points = _stack([each.points for each in read], len(names))
    is_outside = _are_outside(points, images.sizes_px[boxes.image_indices])
    findings.add_where("keypoint_outside_image", np.logical_or.reduce(is_outside, axis=1), name)
    # A point that is not labelled is 0, 0, whatever the file says, so that equal annotations have equal fingerprints.
    points[is_outside | (points[..., 2] == 0)] = 0
    usable = np.array(["malformed_keypoints" not in each.problems for each in read], dtype=np.bool_)
    return replace(boxes, keypoints=points.astype(np.float32)).only(usable)


def _read(keypoints: AnnotatedKeypoints, num_keypoints: int, *, is_crowd: bool) -> _Read:
    """Read the keypoints of one annotation.

    Args:
        num_keypoints: of its category; 0 if that has none.
    """
    nothing, points = np.zeros((num_keypoints, 3)), keypoints.points
    if points in (None, []):
        is_lacking = num_keypoints > 0 and not is_crowd
        return _Read(nothing, frozenset({"annotation_without_keypoints"} if is_lacking else ()))
    if num_keypoints == 0:
        return _Read(nothing, frozenset({"keypoints_without_names"}))
    odd: set[str] = set()
    if not isinstance(points, list) or len(points) != 3 * num_keypoints:
        return _Read(nothing, frozenset({"malformed_keypoints"}))
    read = np.array([read_number(value, odd) for value in points]).reshape(-1, 3)
    if not (np.isfinite(read).all() and np.isin(read[:, 2], (0, 1, 2)).all()):
        return _Read(nothing, frozenset({"malformed_keypoints"}))
    stated = keypoints.num_labelled
    if stated is not None and read_number(stated, odd) != np.count_nonzero(read[:, 2]):
        odd.add("other_num_labelled_keypoints")
    return _Read(read, frozenset(odd))


def _stack(points: Sequence[_Points], num_keypoints: int) -> _Points:
    """Stack the points of n objects to (n, K, 3); an object of a category without keypoints gets zeros."""
    stacked = np.zeros((len(points), num_keypoints, 3))
    for row, own in zip(stacked, points, strict=True):
        row[: len(own)] = own
    return stacked


def _are_outside(points: _Points, sizes_px: _Sizes) -> npt.NDArray[np.bool_]:
    """Return for (n, K, 3) points of objects in images of (n, 2) width and height: (n, K) labelled and outside."""
    places, limits = points[..., :2], sizes_px[:, None]
    outside: npt.NDArray[np.bool_] = ((places < 0) | (places > limits)).any(axis=-1) & (points[..., 2] > 0)
    return outside
