"""Data sets: every kind that `DataSpec` names."""

from collections.abc import Callable, Mapping

from fgd_core.data.coco import CocoDataset
from fgd_core.data.registered import changed, is_as_checked, looked_up
from fgd_core.data.samples import DetectionDataset, Split, has_masks
from fgd_core.data.shapes import ShapesDataset
from fgd_core.data.voc import VocDataset
from fgd_core.data.yolo import YoloDataset
from fgd_core.errors import DataError
from fgd_core.spec.data import Coco, DataSpec, Registered, Shapes, Voc, Yolo


def change_since_check(spec: Registered, split: Split, dataset: DetectionDataset) -> DataError | None:
    """What to say of data that is not what its newest check found; None where it is, or was never checked."""
    fingerprint = dataset.fingerprint
    if not is_as_checked(spec, split, fingerprint) and has_masks(dataset.samples):
        # Objects whose masks are bad are not among its boxes; a check looks at the boxes of all.
        fingerprint = open_dataset(looked_up(spec), split).fingerprint
    return None if is_as_checked(spec, split, fingerprint) else changed(spec, split, fingerprint)


def _open_registered(spec: Registered, split: Split, *, with_masks: bool = False) -> DetectionDataset:
    dataset = look_through(looked_up(spec), split, with_masks=with_masks)
    is_asked = spec.if_changed == "refuse" and dataset.refusal is None
    refusal = change_since_check(spec, split, dataset) if is_asked else None
    if refusal is not None:
        raise refusal
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
    dataset = look_through(spec, split, with_masks=with_masks)
    if dataset.refusal is not None:
        raise dataset.refusal
    return dataset


def look_through(spec: DataSpec, split: Split, *, with_masks: bool = False) -> DetectionDataset:
    """As `open_dataset`, also where the split cannot be used: its `refusal` says why, and its samples are what is left.

    Raises:
        DataError: nothing can be read of it.
    """
    return DATASETS[type(spec)](spec, split, with_masks=with_masks)
