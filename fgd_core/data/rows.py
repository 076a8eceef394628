"""Objects as they are read one by one, before they are columns."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fgd_core.data.annotations import ObjectTable


@dataclass(frozen=True, kw_only=True)
class ObjectRow:
    name: str
    """For findings."""
    image_id: int
    category_id: int
    box_xywh: tuple[float, ...]
    """Four numbers, in whatever unit the table is; NaN where the box is none."""
    is_crowd: bool = False
    polygon: tuple[float, ...] = ()
    """Its outline, x and y in turn; empty where nothing tells it."""


def columns(rows: Sequence[ObjectRow], *, with_masks: bool = False) -> ObjectTable:
    """The table of `rows`, in their order, of objects that have no area but that of their box."""
    return ObjectTable(
        names=[row.name for row in rows],
        image_ids=np.array([row.image_id for row in rows], dtype=np.int64),
        category_ids=np.array([row.category_id for row in rows], dtype=np.int64),
        boxes_xywh_px=np.array([row.box_xywh for row in rows], dtype=np.float64).reshape(-1, 4),
        areas_px2=np.full(len(rows), np.nan),
        is_crowd=np.array([row.is_crowd for row in rows], dtype=np.bool_),
        segmentations=[[list(row.polygon)] if row.polygon else None for row in rows] if with_masks else None,
    )
