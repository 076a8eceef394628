"""The annotations of a COCO file as columns."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fgd_core.data.annotations import ObjectTable
from fgd_core.data.coco_ids import Numbers
from fgd_core.data.coco_values import (
    NO_BOX,
    Box,
    Id,
    is_no_box,
    read_box,
    read_flag,
    read_id,
    read_number,
    shown,
    turned_by_deg,
)
from fgd_core.data.findings import Findings
from fgd_core.data.segmentations import bounds_of, box_around, in_coco_form
from fgd_core.stopping import stoppable

_ROWS_A_QUESTION = 10_000
_NAN = float("nan")


def read_objects(
    entries: Sequence[Mapping[str, Any]],
    images: Numbers,
    categories: Numbers,
    findings: Findings,
    *,
    sizes_px: Mapping[Id, tuple[int, int] | None],
    with_masks: bool,
) -> ObjectTable:
    """
    Args:
        sizes_px: (width, height) of each listed image, None where the file does not say.
    """
    rows = _Rows(findings, images, categories, sizes_px, with_masks=with_masks)
    for place, entry in enumerate(stoppable(entries, every=_ROWS_A_QUESTION)):
        rows.add(place, entry)
    table = rows.table()
    _note_corners(table, findings)
    return table


class _Rows:
    """Rows as they are read, before they are columns."""

    def __init__(
        self,
        findings: Findings,
        images: Numbers,
        categories: Numbers,
        sizes_px: Mapping[Id, tuple[int, int] | None],
        *,
        with_masks: bool,
    ) -> None:
        self._findings, self._images, self._categories, self._sizes_px = findings, images, categories, sizes_px
        self._names: list[str] = []
        self._image_ids: list[int] = []
        self._category_ids: list[int] = []
        self._boxes: list[Box] = []
        self._outlines: list[Box] = []
        self._areas: list[float] = []
        self._crowds: list[bool] = []
        self._segmentations: list[Any] | None = [] if with_masks else None
        self._row_of_id: dict[object, int] = {}

    def add(self, place: int, fields: Mapping[str, Any]) -> None:
        odd: set[str] = set()
        annotation_id = read_id(fields.get("id"), odd)
        name = f"annotations[{place}]" if annotation_id is None else f"annotation {fields['id']}"
        read = self._read(name, fields, odd)
        if read is None:
            return
        image_id, category_id, box, outline, segmentation, is_crowd = read
        if self._images.unknown == image_id or self._categories.unknown == category_id:
            # The number that stands for it says nothing.
            name = f"{name} ({shown(fields, 'image_id', 'category_id')})"
        if annotation_id is None:
            odd.add("annotation_without_id")
        elif (twin := self._row_of_id.setdefault(annotation_id, len(self._names))) != len(self._names):
            if (self._image_ids[twin], self._category_ids[twin], self._boxes[twin]) == (image_id, category_id, box):
                self._findings.add("repeated_annotation", name)
                return
            odd.add("duplicate_annotation_id")
        if annotation_id == 0:
            odd.add("annotation_id_zero")
        area = fields.get("area")
        area_px2 = read_number(area, odd)
        if not area_px2 > 0:
            odd.add("annotation_without_area" if area is None else "malformed_area")
            area_px2 = _NAN
        for problem in sorted(odd):
            self._findings.add(problem, name)
        self._names.append(name)
        self._image_ids.append(image_id)
        self._category_ids.append(category_id)
        self._boxes.append(box)
        self._outlines.append(outline)
        self._areas.append(area_px2)
        self._crowds.append(is_crowd)
        if self._segmentations is not None:
            self._segmentations.append(segmentation)

    def _read(self, name: str, fields: Mapping[str, Any], odd: set[str]) -> tuple[int, int, Box, Box, Any, bool] | None:
        """Image, category, box, bounds of the outline, segmentation, crowd; None where the annotation is left out."""
        image_id, category_id = read_id(fields.get("image_id"), odd), read_id(fields.get("category_id"), odd)
        segmentation, is_other_form = in_coco_form(fields.get("segmentation"))
        outline = bounds_of(segmentation)
        told = fields.get("bbox")
        box = read_box(told, odd)
        if is_no_box(told) and image_id is not None:
            around = box_around(segmentation, self._sizes_px.get(image_id))
            if around is not None:
                odd.add("annotation_without_bbox")
                box = around
        if image_id is None or category_id is None or (told is None and box is NO_BOX):
            self._findings.add("malformed_annotation", f"{name}: {shown(fields, 'image_id', 'category_id', 'bbox')}")
            return None
        if not all(map(math.isfinite, box)):
            self._findings.add("malformed_box", f"{name}: {shown(fields, 'bbox')}")
            return None
        angle_deg = turned_by_deg(fields)
        if angle_deg and not _stands_around(box, segmentation, outline):
            self._findings.add("rotated_box", f"{name}: {angle_deg:g}°")
            return None
        is_crowd = read_flag(fields.get("iscrowd"), odd)
        if fields.get("iscrowd") in (None, ""):
            odd.add("annotation_without_iscrowd")
        elif is_crowd is None:
            self._findings.add("malformed_iscrowd", f"{name}: {shown(fields, 'iscrowd')}")
            return None
        if is_other_form:
            odd.add("segmentation_in_other_form")
        return (
            self._images.of(image_id),
            self._categories.of(category_id),
            box,
            outline or NO_BOX,
            segmentation,
            bool(is_crowd),
        )

    def table(self) -> ObjectTable:
        return ObjectTable(
            names=self._names,
            image_ids=np.array(self._image_ids, dtype=np.int64),
            category_ids=np.array(self._category_ids, dtype=np.int64),
            boxes_xywh_px=np.array(self._boxes, dtype=np.float64).reshape(-1, 4),
            outlines_xyxy_px=np.array(self._outlines, dtype=np.float64).reshape(-1, 4),
            areas_px2=np.array(self._areas, dtype=np.float64),
            is_crowd=np.array(self._crowds, dtype=np.bool_),
            segmentations=self._segmentations,
        )


def _stands_around(box: Box, segmentation: Any, outline: Box | None) -> bool:
    """Whether a box is the upright one around a polygon that is turned itself, as CVAT writes both."""
    if outline is None or all(len(set(polygon[0::2])) <= 2 for polygon in segmentation):
        return False
    left, upper, width, height = box
    corners = (left, upper, left + width, upper + height)
    return all(abs(edge - other) <= 1 for edge, other in zip(corners, outline, strict=True))


_CLOSE = 0.01
"""By what share an area may differ that was rounded."""


def _note_corners(table: ObjectTable, findings: Findings) -> None:
    """Report boxes that are corners by their area or their outline: wrong as a whole, so that none is to be dropped.

    Most have to look so: a mask of a single object may have just that area.
    """
    x, y, third, fourth = table.boxes_xywh_px.T
    with np.errstate(over="ignore", invalid="ignore"):
        sides = np.stack([third - x, fourth - y])
        as_corners, as_sizes = sides[0] * sides[1], third * fourth
        # Some count the last pixel too.
        inclusive = (sides[0] + 1) * (sides[1] + 1)
        areas = table.areas_px2
        by_area = (_is_close(areas, as_corners) | _is_close(areas, inclusive)) & ~_is_close(areas, as_sizes)
        outlines = table.outlines_xyxy_px
        assert outlines is not None
        corners = table.boxes_xywh_px
        edges = np.abs(outlines - corners).max(axis=1, initial=0)
        other_edges = np.abs(outlines[:, 2:] - (corners[:, :2] + corners[:, 2:])).max(axis=1, initial=0)
        by_outline = (edges <= 1) & (other_edges > 1)
    looks_so = (by_area | by_outline) & (sides > 0).all(axis=0)
    tells = np.isfinite(areas) | np.isfinite(outlines).all(axis=1)
    if looks_so.sum() * 2 > tells.sum():
        where = np.flatnonzero(looks_so)
        first = [f"{table.names[row]}: {table.boxes_xywh_px[row].tolist()}" for row in where[:5].tolist()]
        findings.add_many("boxes_as_corners", first, num_in_all=len(where))


def _is_close(areas: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    close: npt.NDArray[np.bool_] = np.abs(areas - others) <= _CLOSE * np.abs(others)
    return close
