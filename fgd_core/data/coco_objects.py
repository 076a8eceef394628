"""Reads the annotations of a COCO file into columns."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar, overload

import numpy as np
import numpy.typing as npt

from fgd_core.data.annotations import AnnotatedKeypoints, ObjectTable
from fgd_core.data.coco_annotations import AnnotationList
from fgd_core.data.coco_values import (
    NO_BOX,
    Box,
    Fields,
    Id,
    IdNumbers,
    fits_int64,
    is_missing_box,
    read_box,
    read_flag,
    read_id,
    read_number,
    rotation_deg,
    show_fields,
)
from fgd_core.data.findings import Findings
from fgd_core.data.plain_annotations import PlainColumns
from fgd_core.data.segmentations import bounding_box, bounds_of, to_coco_form
from fgd_core.data.short_rows import all_in_row, largest_in_row
from fgd_core.stopping import stoppable

_Scalar = TypeVar("_Scalar", bound=np.generic)

_ROWS_PER_STOP_CHECK = 10_000
_AREA_TOLERANCE = 0.01
"""By what share an area may differ because of rounding."""
_NAN = float("nan")


def read_objects(
    annotations: AnnotationList,
    images: IdNumbers,
    categories: IdNumbers,
    findings: Findings,
    *,
    sizes_px: Mapping[Id, tuple[int, int] | None],
    with_masks: bool,
    with_keypoints: bool = False,
) -> ObjectTable:
    """Read the usable annotations and report the others.

    Args:
        sizes_px: (width, height) of each listed image; None if the file does not give it.
    """
    is_plain = _are_plain(annotations, images, categories)
    rows = _Rows(findings, images, categories, sizes_px, with_masks=with_masks, with_keypoints=with_keypoints)
    for place, entry in stoppable(annotations.entries(~is_plain), every=_ROWS_PER_STOP_CHECK):
        rows.add(place, entry)
    table = rows.table()
    if is_plain.any():
        table = _merged(annotations.columns, np.flatnonzero(is_plain), table, rows.places)
    _report_corners(table, findings)
    return table


def _are_plain(annotations: AnnotationList, images: IdNumbers, categories: IdNumbers) -> npt.NDArray[np.bool_]:
    """Return which annotations are plain also among the others: (n,). Their ids are unique, and their images' and
    categories' ids are the numbers that stand for them."""
    columns = annotations.columns
    if images.is_renumbered or categories.is_renumbered:
        return np.zeros_like(columns.is_plain)
    others = (read_id(entry.get("id"), set()) for _, entry in annotations.entries(~columns.is_plain))
    taken = np.array([each for each in others if isinstance(each, int) and fits_int64(each)], dtype=np.int64)
    ids, counts = np.unique(columns.ids[columns.is_plain], return_counts=True)
    is_known = (columns.image_ids != images.unknown) & (columns.category_ids != categories.unknown)
    is_taken = np.isin(columns.ids, np.concatenate([ids[counts > 1], taken]))
    are_plain: npt.NDArray[np.bool_] = columns.is_plain & is_known & ~is_taken
    return are_plain


def _merged(
    columns: PlainColumns, plain: npt.NDArray[np.int64], table: ObjectTable, places: Sequence[int]
) -> ObjectTable:
    """Return a table of the plain annotations and of those in `table`, in file order.

    Args:
        plain: (m,) places of the plain annotations in the file's list.
        places: of the annotations in `table`.
    """
    assert table.outlines_xyxy_px is not None
    order = np.argsort(np.concatenate([plain, np.array(places, dtype=np.int64)]), kind="stable")

    def merge(column: npt.NDArray[_Scalar], own: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
        return column if len(plain) == len(column) else np.concatenate([column[plain], own])[order]

    return ObjectTable(
        names=_Names(columns.ids[plain], table.names, order),
        image_ids=merge(columns.image_ids, table.image_ids),
        category_ids=merge(columns.category_ids, table.category_ids),
        boxes_xywh_px=merge(columns.boxes_xywh_px, table.boxes_xywh_px),
        outlines_xyxy_px=merge(columns.outlines_xyxy_px, table.outlines_xyxy_px),
        areas_px2=merge(columns.areas_px2, table.areas_px2),
        is_crowd=merge(columns.is_crowd, table.is_crowd),
    )


class _Names(Sequence[str]):
    """Names annotations only when a finding shows them."""

    def __init__(self, plain_ids: npt.NDArray[np.int64], others: Sequence[str], order: npt.NDArray[np.int64]) -> None:
        self._plain_ids, self._others, self._order = plain_ids, others, order

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [self[each] for each in range(len(self))[index]]
        row = int(self._order[index])
        number = len(self._plain_ids)
        return f"annotation {self._plain_ids[row]}" if row < number else self._others[row - number]


class _Row(NamedTuple):
    image_id: int
    category_id: int
    box: Box
    outline: Box
    """Left, top, right and bottom of the polygons; NaN if there are none."""
    is_crowd: bool
    segmentation: object


class _Rows:
    """Collects annotations one by one."""

    def __init__(
        self,
        findings: Findings,
        images: IdNumbers,
        categories: IdNumbers,
        sizes_px: Mapping[Id, tuple[int, int] | None],
        *,
        with_masks: bool,
        with_keypoints: bool,
    ) -> None:
        self._findings, self._images, self._categories, self._sizes_px = findings, images, categories, sizes_px
        self.places: list[int] = []
        """Indices in the file's list of the annotations that were not left out."""
        self._names: list[str] = []
        self._rows: list[_Row] = []
        self._areas: list[float] = []
        self._keypoints: list[AnnotatedKeypoints] = []
        self._with_masks, self._with_keypoints = with_masks, with_keypoints
        self._row_of_id: dict[object, int] = {}

    def add(self, place: int, fields: Fields) -> None:
        """Add an annotation, or report why it is left out.

        Args:
            place: index in the file's list.
        """
        odd: set[str] = set()
        annotation_id = read_id(fields.get("id"), odd)
        name = f"annotations[{place}]" if annotation_id is None else f"annotation {fields['id']}"
        row = self._read(name, fields, odd)
        if row is None:
            return
        if self._images.unknown == row.image_id or self._categories.unknown == row.category_id:
            # The number that stands for an unknown id would tell the user nothing.
            name = f"{name} ({show_fields(fields, 'image_id', 'category_id')})"
        if annotation_id is None:
            odd.add("annotation_without_id")
        elif (first := self._row_of_id.setdefault(annotation_id, len(self._rows))) != len(self._rows):
            if self._rows[first][:3] == row[:3]:
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
        self.places.append(place)
        self._names.append(name)
        self._rows.append(row if self._with_masks else row._replace(segmentation=None))
        self._areas.append(area_px2)
        if self._with_keypoints:
            self._keypoints.append(AnnotatedKeypoints(fields.get("keypoints"), fields.get("num_keypoints")))

    def _read(self, name: str, fields: Fields, odd: set[str]) -> _Row | None:
        """Read an annotation; None if it must be left out, which is then reported."""
        image_id, category_id = read_id(fields.get("image_id"), odd), read_id(fields.get("category_id"), odd)
        segmentation, is_converted = to_coco_form(fields.get("segmentation"))
        outline = bounds_of(segmentation)
        box = self._box(fields.get("bbox"), segmentation, image_id, odd)
        if image_id is None or category_id is None or box is None:
            shown = show_fields(fields, "image_id", "category_id", "bbox")
            self._findings.add("malformed_annotation", f"{name}: {shown}")
            return None
        if not all(map(math.isfinite, box)):
            self._findings.add("malformed_box", f"{name}: {show_fields(fields, 'bbox')}")
            return None
        angle_deg = rotation_deg(fields)
        if angle_deg and not _is_upright(box, segmentation, outline):
            self._findings.add("rotated_box", f"{name}: {angle_deg:g}°")
            return None
        is_crowd = read_flag(fields.get("iscrowd"), odd)
        if fields.get("iscrowd") in (None, ""):
            odd.add("annotation_without_iscrowd")
        elif is_crowd is None:
            self._findings.add("malformed_iscrowd", f"{name}: {show_fields(fields, 'iscrowd')}")
            return None
        if is_converted:
            odd.add("segmentation_in_other_form")
        image, category = self._images.number_of(image_id), self._categories.number_of(category_id)
        return _Row(image, category, box, outline or NO_BOX, bool(is_crowd), segmentation)

    def _box(self, bbox: object, segmentation: object, image_id: Id | None, odd: set[str]) -> Box | None:
        """Return the box, or the one around the segmentation if the annotation has none; None without either."""
        box = read_box(bbox, odd)
        if is_missing_box(bbox) and image_id is not None:
            around = bounding_box(segmentation, self._sizes_px.get(image_id))
            if around is not None:
                odd.add("annotation_without_bbox")
                return around
        return None if bbox is None else box

    def table(self) -> ObjectTable:
        """Return the collected annotations as columns."""
        rows = self._rows
        return ObjectTable(
            names=self._names,
            image_ids=np.array([row.image_id for row in rows], dtype=np.int64),
            category_ids=np.array([row.category_id for row in rows], dtype=np.int64),
            boxes_xywh_px=np.array([row.box for row in rows], dtype=np.float64).reshape(-1, 4),
            outlines_xyxy_px=np.array([row.outline for row in rows], dtype=np.float64).reshape(-1, 4),
            areas_px2=np.array(self._areas, dtype=np.float64),
            is_crowd=np.array([row.is_crowd for row in rows], dtype=np.bool_),
            segmentations=[row.segmentation for row in rows] if self._with_masks else None,
            keypoints=self._keypoints if self._with_keypoints else None,
        )


def _is_upright(box: Box, segmentation: object, outline: Box | None) -> bool:
    """Return whether a box is already the upright one around a rotated polygon: CVAT writes both."""
    if outline is None or not isinstance(segmentation, list):
        return False
    if all(len(set(polygon[0::2])) <= 2 for polygon in segmentation):
        return False
    left, top, width, height = box
    corners = (left, top, left + width, top + height)
    return all(abs(edge - other) <= 1 for edge, other in zip(corners, outline, strict=True))


def _report_corners(table: ObjectTable, findings: Findings) -> None:
    """Report boxes that are [left, top, right, bottom] according to their area or their polygon.

    Only if most boxes look so: the mask of a single object may have that area by chance. The whole file is then wrong,
    so the problem is always refused.
    """
    x, y, third, fourth = table.boxes_xywh_px.T
    with np.errstate(over="ignore", invalid="ignore"):
        sides = np.stack([third - x, fourth - y])
        as_corners, as_sizes = sides[0] * sides[1], third * fourth
        # Some tools include the last pixel.
        inclusive = (sides[0] + 1) * (sides[1] + 1)
        areas = table.areas_px2
        by_area = (_is_close(areas, as_corners) | _is_close(areas, inclusive)) & ~_is_close(areas, as_sizes)
        outlines = table.outlines_xyxy_px
        assert outlines is not None
        boxes = table.boxes_xywh_px
        error_as_corners = largest_in_row(np.abs(outlines - boxes))
        error_as_sizes = largest_in_row(np.abs(outlines[:, 2:] - (boxes[:, :2] + boxes[:, 2:])))
        by_outline = (error_as_corners <= 1) & (error_as_sizes > 1)
    looks_so = (by_area | by_outline) & all_in_row(sides.T > 0)
    is_decidable = np.isfinite(areas) | all_in_row(np.isfinite(outlines))
    if looks_so.sum() * 2 > is_decidable.sum():
        rows = np.flatnonzero(looks_so)
        examples = [f"{table.names[row]}: {table.boxes_xywh_px[row].tolist()}" for row in rows[:5].tolist()]
        findings.add_many("boxes_as_corners", examples, count=len(rows))


def _is_close(areas: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    close: npt.NDArray[np.bool_] = np.abs(areas - others) <= _AREA_TOLERANCE * np.abs(others)
    return close
