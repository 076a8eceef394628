"""Opens every kind of data set that `DataSpec` names."""

from collections.abc import Callable, Mapping

import fgd_core.no_compiler  # noqa: F401  # before torchvision is imported
from fgd_core.data.coco import CocoDataset
from fgd_core.data.pictures import Pictures
from fgd_core.data.pool import Pool
from fgd_core.data.samples import DetectionDataset, Split, has_keypoints, has_masks
from fgd_core.data.shapes import ShapesDataset
from fgd_core.data.voc import VocDataset
from fgd_core.data.yolo import YoloDataset
from fgd_core.errors import DataError, SpecError
from fgd_core.spec.data import Coco, DataSpec, FileData, Registered, Shapes, Voc, Yolo, files_of


def open_dataset(
    spec: DataSpec, split: Split, *, with_masks: bool = False, with_keypoints: bool = False
) -> DetectionDataset:
    """Open a split that a run can train or evaluate on.

    Args:
        with_masks: also read the masks of the objects. If no object has a mask, the samples have none.
        with_keypoints: also read the keypoints of the objects. If no class has keypoints, the samples have none.
    Raises:
        DataError: the split is unusable. The message names every problem.
    """
    dataset = inspect_dataset(spec, split, with_masks=with_masks, with_keypoints=with_keypoints)
    if dataset.refusal is not None:
        raise dataset.refusal
    return dataset


def inspect_dataset(
    spec: DataSpec, split: Split, *, with_masks: bool = False, with_keypoints: bool = False
) -> DetectionDataset:
    """Open a split even if it is unusable: `refusal` then says why, and `samples` holds the usable part.

    Args:
        with_masks, with_keypoints: see `open_dataset`.
    Raises:
        DataError: no part of the split can be read.
    """
    return DATASETS[type(spec)](spec, split, with_masks=with_masks, with_keypoints=with_keypoints)


def resolved_data(spec: Registered) -> FileData:
    """Return the data that a registered name stands for.

    Raises:
        SpecError: no control plane has resolved the name.
    """
    data = files_of(spec)
    if data is None:
        raise SpecError(
            "only a control plane knows the names of registered data sets; write the paths of the data into the spec, "
            "or submit the job with `fgd submit`",
            name=spec.name,
        )
    return data


def change_since_check(spec: Registered, split: Split, dataset: DetectionDataset) -> DataError | None:
    """Return an error if the data has changed since its newest check; None if it is the same, or was never checked."""
    checked = spec.resolved.fingerprints if spec.resolved is not None else None
    if checked is None:
        return None
    expected = checked.train if split == "train" else checked.val
    found = dataset.fingerprint
    if found != expected and (has_masks(dataset.samples) or has_keypoints(dataset.samples)):
        # Objects whose masks or keypoints are bad are left out. The check counted the boxes of all objects.
        found = open_dataset(resolved_data(spec), split).fingerprint
    if found == expected:
        return None
    return DataError(
        f"the {split} split of {spec.name!r} has changed since its newest check: images, classes or boxes differ; "
        f"check it again with `fgd data check {spec.name}`, or set data.if_changed to warn",
        name=spec.name,
        split=split,
        checked=expected,
        found=found,
    )


def picture_change_since_check(spec: Registered, split: Split, pictures: Pictures) -> DataError | None:
    """Return an error if pictures have changed since the newest check of their data; None if not, or if unchecked."""
    checked = spec.resolved.fingerprints if spec.resolved is not None else None
    expected = checked.pictures.get(f"{pictures.name}.{split}") if checked is not None else None
    if expected is None or pictures.fingerprint == expected:
        return None
    return DataError(
        f"the pictures {pictures.name!r} of the {split} split of {spec.name!r} have changed since its newest check; "
        f"check it again with `fgd data check {spec.name}`, or set data.if_changed to warn",
        name=spec.name,
        split=split,
        checked=expected,
        found=pictures.fingerprint,
    )


def pool_change_since_check(spec: Registered, pool: Pool) -> DataError | None:
    """Return an error if the pool has changed since the newest check of its data; None if not, or if unchecked."""
    checked = spec.resolved.fingerprints if spec.resolved is not None else None
    if checked is None or checked.pool is None or pool.fingerprint == checked.pool:
        return None
    return DataError(
        f"the pool of {spec.name!r} has changed since its newest check; check it again with "
        f"`fgd data check {spec.name}`, or set data.if_changed to warn",
        name=spec.name,
        checked=checked.pool,
        found=pool.fingerprint,
    )


def _open_registered(
    spec: Registered, split: Split, *, with_masks: bool = False, with_keypoints: bool = False
) -> DetectionDataset:
    dataset = inspect_dataset(resolved_data(spec), split, with_masks=with_masks, with_keypoints=with_keypoints)
    if spec.if_changed == "refuse" and dataset.refusal is None:
        change = change_since_check(spec, split, dataset)
        if change is not None:
            raise change
    return dataset


# type of the spec -> (spec, split, with_masks=..., with_keypoints=...) -> data set of that split
DATASETS: Mapping[type, Callable[..., DetectionDataset]] = {
    Coco: CocoDataset,
    Voc: VocDataset,
    Yolo: YoloDataset,
    Shapes: ShapesDataset,
    Registered: _open_registered,
}
