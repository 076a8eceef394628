"""A data set, looked through from end to end before anybody trains on it."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

from fgd_core.data import open_dataset
from fgd_core.data.findings import refusal_of, under_refusal
from fgd_core.data.profiling import in_both, profile
from fgd_core.data.samples import DetectionDataset, Split, check_same_categories
from fgd_core.errors import DataError
from fgd_core.evaluation.samples import draw_truths
from fgd_core.spec.data import FileData, Shapes
from fgd_core.spec.events import ArtifactSaved, DataChecked, DataSetChecked, Finding, RunEvent
from fgd_core.storage import write_atomically


def inspect(data: FileData, *, num_samples: int, folder: Path, emit: Callable[[RunEvent], None]) -> None:
    """Count both splits and draw samples of them into `folder`: `samples_train.png`, `samples_val.png`.

    Bad entries are passed over while looking, so that all there is to say is said, and answered afterwards as the data
    asks for.

    Raises:
        DataError: a training on this data would be refused.
        StorageError: a picture could not be written.
    """
    asked_to_refuse = not isinstance(data, Shapes) and data.on_bad == "refuse"
    lenient = data if isinstance(data, Shapes) else data.model_copy(update={"on_bad": "drop"})
    opened: dict[Split, DetectionDataset] = {}
    checked: list[DataChecked] = []
    refusals: list[DataError] = []
    for split in get_args(Split):
        opened[split] = dataset = open_dataset(lenient, split)
        found = list(dataset.checked.findings)
        if split == "val":
            found += in_both(opened["train"], dataset)
        if asked_to_refuse:
            found = [under_refusal(finding) for finding in found]
        refusals += [refusal for refusal in [refusal_of(found, f"the {split} split")] if refusal is not None]
        # Of no weight above: who trains on boxes alone does not mind a mask.
        masked, about_masks = _with_masks(lenient, split, dataset)
        found += [under_refusal(each) if asked_to_refuse else each for each in about_masks]
        prints = {"masks_fingerprint": masked.checked.masks_fingerprint}
        checked.append(dataset.checked.model_copy(update={"findings": found} | prints))
        emit(checked[-1])
        emit(_draw(split, masked, num_samples, folder))
    emit(DataSetChecked(splits=checked, profiles=[profile(split, dataset) for split, dataset in opened.items()]))
    check_same_categories(opened["train"], opened["val"])
    if refusals:
        raise _both(refusals)


def _with_masks(data: FileData, split: Split, plain: DetectionDataset) -> tuple[DetectionDataset, list[Finding]]:
    """The split with its masks, and what is to be said of them; as it is where there are none, or none is sound."""
    try:
        masked = open_dataset(data, split, with_masks=True)
    except DataError:
        return plain, []
    known = {finding.problem for finding in plain.checked.findings}
    return masked, [finding for finding in masked.checked.findings if finding.problem not in known]


def _draw(split: Split, dataset: DetectionDataset, num_samples: int, folder: Path) -> ArtifactSaved:
    picture = draw_truths(dataset, num_samples)
    written = write_atomically(folder / f"samples_{split}.png", lambda file: file.write(picture))
    return ArtifactSaved(
        name=written.path.name,
        uri=written.path.resolve().as_uri(),
        media_type="image/png",
        sha256=written.sha256,
        size_bytes=written.size_bytes,
    )


def _both(refusals: list[DataError]) -> DataError:
    first, *others = refusals
    message = "; ".join([first.message, *(other.message for other in others)])
    return DataError(message, **first.details)
