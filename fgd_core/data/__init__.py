"""Data sets: every kind that `DataSpec` names."""

from collections.abc import Callable, Mapping
from typing import Any

from fgd_core.data.coco import CocoDataset
from fgd_core.data.samples import DetectionDataset, Split
from fgd_core.data.shapes import ShapesDataset
from fgd_core.spec.data import Coco, DataSpec, Shapes

DATASETS: Mapping[type, Callable[[Any, Split], DetectionDataset]] = {Coco: CocoDataset, Shapes: ShapesDataset}


def open_dataset(spec: DataSpec, split: Split) -> DetectionDataset:
    """
    Raises:
        DataError: the split cannot be used as it is; the message names all that is wrong with it.
    """
    return DATASETS[type(spec)](spec, split)
