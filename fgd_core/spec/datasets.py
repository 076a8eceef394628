"""Data sets that a control plane knows by name."""

from datetime import datetime
from typing import Literal, TypeAlias

from fgd_core.spec import notebook
from fgd_core.spec.base import Command, Fact
from fgd_core.spec.data import DatasetName, FileData, Fingerprints
from fgd_core.spec.events import DataSetChecked
from fgd_core.spec.jobs import ProjectName
from fgd_core.spec.results import ErrorReport

DatasetState: TypeAlias = Literal["unchecked", "checking", "checked", "refused", "failed"]
"""`refused`: a training on it would be; `failed`: the check did not come to its end for another reason."""


class NewDataset(Command):
    """POST /v1/datasets"""

    name: DatasetName
    """By which jobs name it; no two of a project have the same."""
    data: FileData
    """Where it lies."""
    project: ProjectName | None = None
    """Whose it is, and whose jobs may name it; left out: the asker's own, or `default`."""


class DatasetSummary(Fact):
    """A row of GET /v1/datasets."""

    dataset_id: str
    name: str
    project: str
    format: str
    """`coco`, `voc`, `yolo` or `shapes`."""
    state: DatasetState
    num_images: dict[str, int]
    """By split; empty until it was checked."""
    num_boxes: dict[str, int]
    num_categories: int | None
    created_at: datetime
    created_by: str
    checked_at: datetime | None
    """When its newest check had counted it."""


class DatasetView(DatasetSummary):
    """GET /v1/datasets/{dataset}"""

    data: FileData
    fingerprints: Fingerprints | None
    """That a run's data is held against; None where it was not checked, or refused."""
    check_job_id: str | None
    """The job of the newest check."""
    outcome: DataSetChecked | None
    """What the newest check that could count found."""
    error: ErrorReport | None
    """What the newest check ended with."""
    page_url: str
    """Counts and drawn samples to look at, relative to the server."""

    def _repr_html_(self) -> str:
        return notebook.facts(
            [
                ("data set", self.name),
                ("id", self.dataset_id),
                ("format", self.format),
                ("state", self.state),
                ("images", ", ".join(f"{split} {count:,}" for split, count in self.num_images.items())),
                ("boxes", ", ".join(f"{split} {count:,}" for split, count in self.num_boxes.items())),
                ("classes", self.num_categories),
                ("error", self.error.message if self.error is not None else None),
            ]
        )


class DatasetPage(Fact):
    items: list[DatasetSummary]
    next_cursor: str | None
