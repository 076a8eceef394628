"""Data sets: every kind that `DataSpec` names."""

from collections.abc import Callable, Mapping

from fgd_core.data.coco import CocoDataset
from fgd_core.data.registered import change, looked_up
from fgd_core.data.samples import DetectionDataset, Split
from fgd_core.data.shapes import ShapesDataset
from fgd_core.data.voc import VocDataset
from fgd_core.data.yolo import YoloDataset
from fgd_core.spec.data import Coco, DataSpec, Registered, Shapes, Voc, Yolo


def _open_registered(spec: Registered, split: Split, *, with_masks: bool = False) -> DetectionDataset:
    dataset = open_dataset(looked_up(spec), split, with_masks=with_masks)
    changed = change(spec, split, dataset)
    if changed is not None and spec.if_changed == "refuse":
        raise changed
    return dataset


# (the data's spec, split, with_masks=whether) -> the split
DATASETS: Mapping[type, Callable[..., DetectionDataset]] = {
    Coco: CocoDataset,
    Voc: VocDataset,
    Yolo: YoloDataset,
    Shapes: ShapesDataset,
    Registered: _open_registered,
}


def open_dataset(spec: DataSpec, split: Split, *, with_masks: bool = False) -> DetectionDataset:
    """
    Args:
        with_masks: read the objects' masks too; where the data set has none at all, its samples have none.
    Raises:
        DataError: the split cannot be used as it is; the message names all that is wrong with it.
    """
    return DATASETS[type(spec)](spec, split, with_masks=with_masks)
