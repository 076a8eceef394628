"""Checks both splits of a data set completely before a training uses them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, get_args

from pydantic import JsonValue

from fgd_core.data import inspect_dataset
from fgd_core.data.keypoints import names_of_keypoints
from fgd_core.data.pictures import picture_folder
from fgd_core.data.pool import Pool
from fgd_core.data.profiling import in_both_splits, profile
from fgd_core.data.samples import DetectionDataset, Split, check_same_categories
from fgd_core.data.training_examples import TrainingExamples
from fgd_core.errors import DataError
from fgd_core.evaluation.samples import draw_annotations, draw_augmented
from fgd_core.spec.data import FileData, Fingerprint, InputSpec
from fgd_core.spec.events import ArtifactSaved, DataChecked, DataSetChecked, Finding, PoolChecked, RunEvent
from fgd_core.storage import write_atomically


class Training(NamedTuple):
    """The settings of a training whose images are to be drawn."""

    input_spec: InputSpec
    seed: int


def inspect(
    data: FileData,
    *,
    num_samples: int,
    folder: Path,
    emit: Callable[[RunEvent], None],
    training: Training | None = None,
) -> None:
    """Count both splits and draw samples into `folder`: `samples_train.png`, `samples_val.png`.

    Emits the findings of both splits before it raises an error about either of them.

    Args:
        training: if given, `samples_augmented.png` shows images as its first epoch does.
    Raises:
        DataError: a training would refuse this data, or the training's changes of images do not suit it.
        StorageError: a picture could not be written.
    """
    opened: dict[Split, DetectionDataset] = {}
    checked: list[DataChecked] = []
    refusals: list[DataError] = []
    for split in get_args(Split):
        try:
            dataset = inspect_dataset(data, split)
        except DataError as error:
            refusals.append(error)
            continue
        opened[split] = dataset
        if dataset.refusal is not None:
            refusals.append(dataset.refusal)
        whole, more_findings = _with_masks_and_keypoints(data, split, dataset)
        found = [*dataset.checked.findings, *more_findings]
        if split == "val" and "train" in opened:
            found += in_both_splits(opened["train"], dataset)
        prints = _more_fingerprints(data, split, whole)
        checked.append(dataset.checked.model_copy(update={"findings": found} | prints))
        emit(checked[-1])
        if whole.samples:
            emit(_saved(folder, split, draw_annotations(whole, num_samples)))
    if opened:
        profiles = [profile(split, dataset) for split, dataset in opened.items()]
        pictures = _pictures(data, opened, refusals)
        pool = _pool(data, opened, refusals)
        emit(DataSetChecked(splits=checked, profiles=profiles, pictures=pictures, pool=pool))
    if len(opened) == len(get_args(Split)):
        try:
            check_same_categories(opened["train"], opened["val"])
        except DataError as error:
            refusals.append(error)
    if refusals:
        raise _join(refusals)
    if training is not None:
        emit(_saved(folder, "augmented", _augmented(data, training, num_samples)))


def _pictures(
    data: FileData, opened: Mapping[Split, DetectionDataset], refusals: list[DataError]
) -> dict[str, Fingerprint]:
    """Return the fingerprints of all other pictures; adds to `refusals` what is missing."""
    found = {}
    for name, folders in data.pictures.items():
        for split, dataset in opened.items():
            if getattr(folders, split) is None:
                continue
            try:
                found[f"{name}.{split}"] = picture_folder(data, name, split, dataset.samples).fingerprint
            except DataError as error:
                refusals.append(error)
    return found


def _pool(data: FileData, opened: Mapping[Split, DetectionDataset], refusals: list[DataError]) -> PoolChecked | None:
    """Return what is in the pool; adds to `refusals` what is wrong with it. It is compared with both splits."""
    if data.pool is None or len(opened) < len(get_args(Split)):
        return None
    try:
        return Pool(data.pool, opened["train"], opened["val"]).event
    except DataError as error:
        refusals.append(error)
        return None


def _with_masks_and_keypoints(
    data: FileData, split: Split, plain: DetectionDataset
) -> tuple[DetectionDataset, list[Finding]]:
    """Return the split with its masks and keypoints, and the findings about them; `plain` if all objects are bad.

    Bad masks and keypoints do not fail the check, because a training on boxes alone does not need them.
    """
    whole = inspect_dataset(data, split, with_masks=True, with_keypoints=True)
    known = {finding.problem for finding in plain.checked.findings}
    findings = [finding for finding in whole.checked.findings if finding.problem not in known]
    return (whole if whole.checked.num_boxes else plain), findings


def _more_fingerprints(data: FileData, split: Split, whole: DetectionDataset) -> dict[str, str | None]:
    """Return the fingerprints of masks and of keypoints, each as a training that reads only these computes it."""
    if not names_of_keypoints(whole.categories):
        return {"masks_fingerprint": whole.checked.masks_fingerprint}
    return {
        "masks_fingerprint": inspect_dataset(data, split, with_masks=True).checked.masks_fingerprint,
        "keypoints_fingerprint": inspect_dataset(data, split, with_keypoints=True).checked.keypoints_fingerprint,
    }


def _augmented(data: FileData, training: Training, num_samples: int) -> bytes:
    with_keypoints = all(each.suits_keypoints for each in training.input_spec.augment)
    dataset = inspect_dataset(data, "train", with_masks=True, with_keypoints=with_keypoints)
    return draw_augmented(dataset, TrainingExamples(dataset, training.input_spec, training.seed), num_samples)


def _saved(folder: Path, what: str, picture: bytes) -> ArtifactSaved:
    written = write_atomically(folder / f"samples_{what}.png", lambda file: file.write(picture))
    return written.artifact("image/png")


def _join(refusals: list[DataError]) -> DataError:
    """Join several errors into one that keeps the findings of each."""
    details: dict[str, JsonValue] = {}
    findings: list[JsonValue] = []
    for refusal in refusals:
        details = refusal.details | details
        own = refusal.details.get("findings")
        findings += own if isinstance(own, list) else []
    message = "; ".join(dict.fromkeys(refusal.message for refusal in refusals))
    return DataError(message, **(details | ({"findings": findings} if findings else {})))
