"""What annotations list, as columns, before anything is joined or looked up on disk."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fgd_core.data.samples import Category


@dataclass(frozen=True)
class ImageEntry:
    image_id: int
    file_name: str
    size_px: tuple[int, int] | None
    """(width, height), None where the file does not say."""
    has_bad_size: bool = False
    """Whether the file says a size that is none."""
    also_at: str = ""
    """Where the file lay on the annotator's machine; empty where nothing says it."""


@dataclass(frozen=True, eq=False)
class ObjectTable:
    """One row an annotation, in the order of the file."""

    names: list[str]
    """For findings."""
    image_ids: npt.NDArray[np.int64]
    category_ids: npt.NDArray[np.int64]
    boxes_xywh_px: npt.NDArray[np.float64]
    """(n, 4); NaN where the box is not four numbers."""
    areas_px2: npt.NDArray[np.float64]
    """NaN where the annotation has none."""
    is_crowd: npt.NDArray[np.bool_]
    outlines_xyxy_px: npt.NDArray[np.float64] | None = None
    """(n, 4) the bounds of the polygons, NaN where an annotation has none; None where the format has none."""
    segmentations: list[Any] | None = None
    """As the file has them, None where an annotation has none; None where nobody asked for masks."""


@dataclass(frozen=True)
class AnnotationFile:
    categories: tuple[Category, ...]
    """In the order of their ids."""
    images: list[ImageEntry]
    """Each id once; those whose id is ambiguous are left out."""
    listed_ids: frozenset[int]
    """Of all images in the file, ambiguous ones among them."""
    objects: ObjectTable
    is_normalised: bool = False
    """Whether boxes are fractions of their image's sides, so that nothing says what size the images have."""
