"""The contents of annotation files in one form for all formats, before the images are read from disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fgd_core.data.image_headers import HeadersAhead
from fgd_core.data.samples import Category


class ImageEntry(NamedTuple):
    """Holds what an annotation file says about one image."""

    image_id: int
    file_name: str
    size_px: tuple[int, int] | None
    """(width, height); None if the file gives no valid size."""
    has_bad_size: bool = False
    """Whether the file gives a size that is invalid."""
    original_path: str = ""
    """Path of the image on the annotator's machine; empty if the file does not give it."""


class AnnotatedKeypoints(NamedTuple):
    """Holds what a file says about the keypoints of one object, unchecked."""

    points: object
    """Meant to be x, y and visibility of each keypoint in turn."""
    num_labelled: object
    """Meant to be the number of keypoints that are labelled."""


@dataclass(frozen=True, eq=False)
class ObjectTable:
    """Holds the annotated objects as columns, one row for each annotation, in file order."""

    names: Sequence[str]
    """How findings name each object."""
    image_ids: npt.NDArray[np.int64]
    category_ids: npt.NDArray[np.int64]
    boxes_xywh_px: npt.NDArray[np.float64]
    """(n, 4); NaN if the box is not four numbers."""
    areas_px2: npt.NDArray[np.float64]
    """(n,); NaN if the annotation has no area."""
    is_crowd: npt.NDArray[np.bool_]
    outlines_xyxy_px: npt.NDArray[np.float64] | None = None
    """(n, 4) bounding boxes of the polygons, NaN for an annotation without polygons; None if the format has none."""
    segmentations: list[object] | None = None
    """One for each annotation, as the file has it, or None; None as a whole if the caller did not ask for masks."""
    keypoints: list[AnnotatedKeypoints] | None = None
    """One for each annotation; None if the caller did not ask for keypoints, or the format has none."""


@dataclass(frozen=True, kw_only=True)
class ObjectRow:
    """Holds one annotated object, for formats that are read object by object."""

    name: str
    """How findings name the object."""
    image_id: int
    category_id: int
    box_xywh: tuple[float, ...]
    """Four numbers, in pixels or as fractions of the image's sides; NaN if the box is invalid."""
    is_crowd: bool = False
    polygon: tuple[float, ...] = ()
    """x and y of each corner in turn, in the unit of the box; empty if the object has no polygon."""


def object_table(rows: Sequence[ObjectRow], *, with_masks: bool = False) -> ObjectTable:
    """Return `rows` as a table in the same order. Areas are NaN, so each object gets the area of its box."""
    return ObjectTable(
        names=[row.name for row in rows],
        image_ids=np.array([row.image_id for row in rows], dtype=np.int64),
        category_ids=np.array([row.category_id for row in rows], dtype=np.int64),
        boxes_xywh_px=np.array([row.box_xywh for row in rows], dtype=np.float64).reshape(-1, 4),
        areas_px2=np.full(len(rows), np.nan),
        is_crowd=np.array([row.is_crowd for row in rows], dtype=np.bool_),
        segmentations=[[list(row.polygon)] if row.polygon else None for row in rows] if with_masks else None,
    )


@dataclass(frozen=True)
class Annotations:
    """Holds the annotations of one split."""

    categories: tuple[Category, ...]
    """In the order of their ids."""
    images: Sequence[ImageEntry]
    """One for each id; images with ambiguous ids are left out."""
    listed_ids: frozenset[int]
    """Ids of all images in the file, including ambiguous ids."""
    objects: ObjectTable
    is_normalised: bool = False
    """Whether boxes are fractions of the image's sides. Such files do not give image sizes."""
    headers: HeadersAhead | None = None
    """Of the images, if other processes already read them."""
