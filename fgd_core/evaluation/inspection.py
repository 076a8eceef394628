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
from fgd_core.spec.events import ArtifactSaved, DataChecked, DataSetChecked, RunEvent
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
    for split in get_args(Split):
        opened[split] = dataset = open_dataset(lenient, split, with_masks=True)
        found = list(dataset.checked.findings)
        if split == "val":
            found += in_both(opened["train"], dataset)
        if asked_to_refuse:
            found = [under_refusal(finding) for finding in found]
        checked.append(dataset.checked.model_copy(update={"findings": found}))
        emit(checked[-1])
        emit(_draw(split, dataset, num_samples, folder))
    emit(DataSetChecked(splits=checked, profiles=[profile(split, dataset) for split, dataset in opened.items()]))
    check_same_categories(opened["train"], opened["val"])
    refusals = [
        refusal for each in checked if (refusal := refusal_of(each.findings, f"the {each.split} split")) is not None
    ]
    if refusals:
        raise _both(refusals)


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
