"""Selects the annotations that have a usable box and mask; reports the others."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import compress
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fgd_core.data import plausibility
from fgd_core.data.annotations import Annotations, ObjectTable
from fgd_core.data.findings import Findings
from fgd_core.data.masks import Counts
from fgd_core.data.segmentations import read_segmentation
from fgd_core.data.short_rows import all_in_row, any_in_row
from fgd_core.data.usable_images import UsableImages
from fgd_core.stopping import stoppable

_Flags: TypeAlias = npt.NDArray[np.bool_]

_MAX_GAPS = 8
"""At most so many ids that nothing has, for each one that something has, are looked up in a table."""


@dataclass(frozen=True, eq=False)
class UsableBoxes:
    """Holds the usable annotations as columns, in file order."""

    rows: npt.NDArray[np.int64]
    """(n,) indices into the object table."""
    image_indices: npt.NDArray[np.int64]
    """(n,) indices into `UsableImages`."""
    labels: npt.NDArray[np.int64]
    """(n,) indices into the categories."""
    xyxy_px: npt.NDArray[np.float32]
    """(n, 4), inside the image."""
    masks: list[Counts] | None = None
    """None if the caller did not ask for masks, or no annotation has one."""
    keypoints: npt.NDArray[np.float32] | None = None
    """(n, K, 3) x, y and visibility; None if the caller did not ask for keypoints, or no category has any."""

    def only(self, kept: _Flags) -> "UsableBoxes":
        """Return the annotations where `kept`, (n,), is True."""
        return UsableBoxes(
            self.rows[kept],
            self.image_indices[kept],
            self.labels[kept],
            self.xyxy_px[kept],
            None if self.masks is None else [*compress(self.masks, kept)],
            None if self.keypoints is None else self.keypoints[kept],
        )


def usable_boxes(annotations: Annotations, images: UsableImages, findings: Findings) -> UsableBoxes:
    """Select the annotations of usable images that have a listed category and a usable box; clip boxes at borders."""
    objects = annotations.objects
    category_ids = np.array([category.id for category in annotations.categories], dtype=np.int64)
    labels = _places(objects.category_ids, category_ids)
    _report_unknown(annotations, category_ids, labels < 0, findings)
    # Boxes of an image that was left out are left out without a finding: the image already has one.
    image_ids = np.array([entry.image_id for entry in images.entries], dtype=np.int64)
    image_indices = _places(objects.image_ids, image_ids)
    rows = np.flatnonzero((image_indices >= 0) & (labels >= 0))
    image_indices, labels = image_indices[rows], labels[rows]
    corners = objects.boxes_xywh_px[rows]
    corners[:, 2:] += corners[:, :2]
    sizes_px = images.sizes_px[image_indices]
    if annotations.is_normalised:
        corners *= np.tile(sizes_px, 2)
    name = namer(objects, images, rows, image_indices)
    xyxy_px, usable = _clip(corners, sizes_px, findings, name)
    usable &= ~plausibility.report_units(xyxy_px, usable, findings, name, is_normalised=annotations.is_normalised)
    # Boxes that are already reported as corners also differ from their polygons.
    if objects.outlines_xyxy_px is not None and "boxes_as_corners" not in findings:
        outlines = objects.outlines_xyxy_px[rows]
        are_corners = plausibility.are_corners(objects.boxes_xywh_px[rows], sizes_px)
        findings.add_where("boxes_as_corners", are_corners, name)
        if np.isfinite(outlines[:, 0]).any():
            usable &= ~plausibility.report_apart(
                xyxy_px, usable, outlines, sizes_px, findings=findings, name=name, problem="box_off_its_polygon"
            )
            plausibility.report_unlike(xyxy_px, usable, outlines, sizes_px, findings=findings, name=name)
    num_objects = np.bincount(image_indices[usable & ~objects.is_crowd[rows]], minlength=len(images.entries))
    plausibility.report_many(num_objects, [entry.file_name for entry in images.entries], findings)
    return UsableBoxes(rows, image_indices, labels, xyxy_px).only(usable)


def _places(ids: npt.NDArray[np.int64], listed: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the place of each of (n,) ids among (m,) unique ones: (n,), -1 for an id that is not listed."""
    places = np.full(len(ids), -1, dtype=np.int64)
    if not len(listed):
        return places
    first, last = int(listed.min()), int(listed.max())
    is_within = (ids >= first) & (ids <= last)
    if last - first < _MAX_GAPS * (len(ids) + len(listed)):
        # Ids are mostly close together. A table is then several times as fast as a search.
        table = np.full(last - first + 1, -1, dtype=np.int64)
        table[listed - first] = np.arange(len(listed))
        places[is_within] = table[ids[is_within] - first]
        return places
    order = np.argsort(listed)
    found = order[np.searchsorted(listed, ids[is_within], sorter=order)]
    places[is_within] = np.where(listed[found] == ids[is_within], found, -1)
    return places


def _report_unknown(
    annotations: Annotations, category_ids: npt.NDArray[np.int64], lacks_category: _Flags, findings: Findings
) -> None:
    """Report annotations whose image or category is not listed."""
    objects = annotations.objects
    is_known = np.isin(objects.image_ids, np.array(sorted(annotations.listed_ids), dtype=np.int64))
    findings.add_where("unknown_image", ~is_known, lambda row: f"{objects.names[row]}: image {objects.image_ids[row]}")
    findings.add_where(
        "shifted_category_ids" if plausibility.is_shifted(objects.category_ids, category_ids) else "unknown_category",
        lacks_category,
        lambda row: f"{objects.names[row]}: category {objects.category_ids[row]}",
    )


def _clip(
    corners: npt.NDArray[np.float64], sizes_px: npt.NDArray[np.int64], findings: Findings, name: Callable[[int], str]
) -> tuple[npt.NDArray[np.float32], _Flags]:
    """Clip boxes at the borders of their images.

    Args:
        corners: (n, 4) xyxy in pixels.
        sizes_px: (n, 2) width and height of the images.
    Returns:
        (n, 4) xyxy in pixels, inside the image, and (n,) whether the box is valid.
    """
    is_finite = all_in_row(np.isfinite(corners))
    with np.errstate(over="ignore"):
        # In the precision of training: a box whose side rounds to zero has no area.
        xyxy_px = corners.astype(np.float32)
    clipped = xyxy_px.clip(0, np.tile(sizes_px, 2)).astype(np.float32)
    is_negative: _Flags = is_finite & ((corners[:, 2] < corners[:, 0]) | (corners[:, 3] < corners[:, 1]))
    has_area: _Flags = np.logical_and(is_finite, _have_area(xyxy_px))
    usable: _Flags = np.logical_and(has_area, _have_area(clipped))
    is_clipped = any_in_row(clipped != xyxy_px)

    findings.add_where("malformed_box", ~is_finite, name)
    findings.add_where(
        "negative_box_size",
        is_negative,
        lambda index: f"{name(index)}: corners {', '.join(f'{edge:g}' for edge in corners[index])}",
    )
    findings.add_where("box_without_area", is_finite & ~has_area & ~is_negative, name)
    findings.add_where("box_outside_image", has_area & ~usable, name)
    findings.add_where("box_past_border", usable & is_clipped, name)
    return clipped, usable


def _have_area(xyxy_px: npt.NDArray[np.float32]) -> _Flags:
    """(n,) whether each of (n, 4) boxes has a width and a height."""
    both: _Flags = np.logical_and(xyxy_px[:, 2] > xyxy_px[:, 0], xyxy_px[:, 3] > xyxy_px[:, 1])
    return both


def with_usable_masks(
    boxes: UsableBoxes, annotations: Annotations, images: UsableImages, findings: Findings
) -> UsableBoxes:
    """Add the masks and leave out objects whose mask is bad.

    Returns `boxes` unchanged if the caller did not ask for masks, or no object has one.
    """
    objects = annotations.objects
    if objects.segmentations is None:
        return boxes
    sizes_px = images.sizes_px.tolist()
    to_px = _to_px if annotations.is_normalised else lambda segmentation, size_px: segmentation
    masks = [
        read_segmentation(to_px(objects.segmentations[row], sizes_px[image]), sizes_px[image])
        for row, image in stoppable(zip(boxes.rows.tolist(), boxes.image_indices.tolist(), strict=True), every=10_000)
    ]
    if all(mask.problem == "missing_mask" for mask in masks):
        return boxes
    name = namer(objects, images, boxes.rows, boxes.image_indices)
    problems = np.array([mask.problem or "" for mask in masks])
    for problem in np.unique(problems[problems != ""]).tolist():
        findings.add_where(problem, problems == problem, name)
    findings.add_where("mask_past_border", np.array([mask.is_past_border for mask in masks]), name)
    usable: _Flags = problems == ""
    bounds = [mask.bounds_xyxy_px(sizes_px[image]) for mask, image in zip(masks, boxes.image_indices, strict=True)]
    outlines, own_sizes_px = np.array(bounds).reshape(-1, 4), images.sizes_px[boxes.image_indices]
    usable &= ~plausibility.report_apart(
        boxes.xyxy_px, usable, outlines, own_sizes_px, findings=findings, name=name, problem="box_off_its_mask"
    )
    counts = [mask.counts for mask, is_usable in zip(masks, usable, strict=True) if is_usable and mask.counts]
    return replace(boxes.only(usable), masks=counts)


def _to_px(polygons: object, size_px: tuple[int, int]) -> object:
    """Scale polygons from fractions of the image's sides to pixels."""
    if not isinstance(polygons, list):
        return polygons
    return [(np.reshape(polygon, (-1, 2)) * size_px).ravel().tolist() for polygon in polygons]


def namer(
    objects: ObjectTable, images: UsableImages, rows: npt.NDArray[np.int64], image_indices: npt.NDArray[np.int64]
) -> Callable[[int], str]:
    """Return a function from the index of a box to its name in findings.

    Args:
        rows, image_indices: (n,) of each box, as in `UsableBoxes`.
    """
    return lambda index: f"{objects.names[rows[index]]} in {images.entries[image_indices[index]].file_name}"
