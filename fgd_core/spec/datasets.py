"""Requests and views of data sets that are registered on a server."""

from datetime import datetime
from typing import Literal, TypeAlias

from fgd_core.spec import notebook
from fgd_core.spec.base import Command, Fact
from fgd_core.spec.data import DatasetName, FileData, Fingerprints
from fgd_core.spec.events import DataSetChecked, JobState
from fgd_core.spec.kinds.base import ProjectName
from fgd_core.spec.results import ErrorReport

DatasetState: TypeAlias = Literal["unchecked", "checking", "checked", "refused", "failed"]
"""`refused`: the newest check found that a training on the data set would be refused. `failed`: the check ended with
another error."""


class NewDataset(Command):
    """POST /v1/datasets"""

    name: DatasetName
    """The name that jobs use; unique within its project."""
    data: FileData
    """Where the data set is."""
    project: ProjectName | None = None
    """The project that owns it; only jobs of this project may use it. Default: the project of the request's token, or
    `default`."""


class DatasetSummary(Fact):
    """A row of GET /v1/datasets."""

    dataset_id: str
    name: str
    project: str
    format: str
    """`coco`, `voc`, `yolo` or `shapes`."""
    state: DatasetState
    num_images: dict[str, int]
    """By split; empty until the data set has been checked."""
    num_boxes: dict[str, int]
    num_categories: int | None
    created_at: datetime
    created_by: str
    checked_at: datetime | None
    """When the newest check counted it."""


class DatasetView(DatasetSummary):
    """GET /v1/datasets/{dataset}"""

    data: FileData
    fingerprints: Fingerprints | None
    """Each run compares its data with these; None if the data set was not checked or was refused."""
    check_job_id: str | None
    """Id of the job that did the newest check."""
    outcome: DataSetChecked | None
    """Findings of the newest check that could count the data set."""
    error: ErrorReport | None
    """The error with which the newest check ended."""
    page_url: str
    """Page with counts and samples with drawn boxes, relative to the server's URL."""

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


class DatasetJob(Fact):
    """A job that uses, or has used, a data set."""

    job_id: str
    name: str
    kind: str
    state: JobState
    created_at: datetime
    best_ap: float | None


class DatasetJobs(Fact):
    """GET /v1/datasets/{dataset}/jobs"""

    items: list[DatasetJob]
    """Newest first."""
    num_jobs: int
    """Of all jobs; `items` may hold only the newest ones."""


class DatasetPage(Fact):
    """GET /v1/datasets"""

    items: list[DatasetSummary]
    next_cursor: str | None
