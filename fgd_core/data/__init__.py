"""Data sets: every kind that `DataSpec` names."""

from collections.abc import Callable, Mapping

from fgd_core.data.coco import CocoDataset
from fgd_core.data.samples import DetectionDataset, Split
from fgd_core.data.shapes import ShapesDataset
from fgd_core.data.voc import VocDataset
from fgd_core.data.yolo import YoloDataset
from fgd_core.spec.data import Coco, DataSpec, Shapes, Voc, Yolo

# (the data's spec, split, with_masks=whether) -> the split
DATASETS: Mapping[type, Callable[..., DetectionDataset]] = {
    Coco: CocoDataset,
    Voc: VocDataset,
    Yolo: YoloDataset,
    Shapes: ShapesDataset,
}


def open_dataset(spec: DataSpec, split: Split, *, with_masks: bool = False) -> DetectionDataset:
    """
    Args:
        with_masks: read the objects' masks too; where the data set has none at all, its samples have none.
    Raises:
        DataError: the split cannot be used as it is; the message names all that is wrong with it.
    """
    return DATASETS[type(spec)](spec, split, with_masks=with_masks)
