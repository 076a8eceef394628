"""Models: names and versions over the files of jobs."""

from datetime import datetime
from typing import Annotated, TypeAlias

from pydantic import Field

from fgd_core.spec.base import Command, Fact
from fgd_core.spec.events import JobState

ModelName: TypeAlias = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z][A-Za-z0-9._-]*$")]
Alias: TypeAlias = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[a-z][a-z0-9_-]*$")]
"""A stage of a model's life, such as `staging` or `production`."""
FileName: TypeAlias = Annotated[str, Field(min_length=1, max_length=200)]
Version: TypeAlias = Annotated[int, Field(ge=1, lt=2**31)]


class NewModelVersion(Command):
    """POST /v1/models/{name}/versions: give a file of a job the next version of a model."""

    job_id: str = Field(min_length=1, max_length=32)
    """The job that wrote the file. The model belongs to its project."""
    artifact: FileName = "best.pt"
    """The file: a checkpoint, or an export such as `detector.onnx`."""


class NewAlias(Command):
    """PUT /v1/models/{name}/aliases/{alias}: let an alias name a version."""

    version: Version
    """A version that exists."""


class ModelVersion(Fact):
    """A version of a model: one file of one job."""

    version: int
    job_id: str
    artifact: str
    sha256: str
    created_at: datetime
    created_by: str
    aliases: list[str] = []


class ModelView(Fact):
    """A model with its versions, newest first."""

    project: str
    name: str
    versions: list[ModelVersion]


class ModelList(Fact):
    """GET /v1/models."""

    items: list[ModelView]


class LineageJob(Fact):
    """A job that a version comes from, or that uses it."""

    job_id: str
    name: str
    kind: str
    state: JobState
    needs: list[str] = []
    """Ids of the jobs whose files it started from."""
    data: str = ""
    """Its data set: the registered name, else the path, else the type of its data."""


class Lineage(Fact):
    """GET /v1/models/{name}/versions/{version}/lineage: who used what for what, from data set to export."""

    project: str
    name: str
    version: int
    made_by: list[LineageJob]
    """The version's job first, then the jobs that it needed, and those that they needed."""
    used_by: list[LineageJob]
    """Jobs that needed a file of the version's job, such as exports and distillations, and those that needed them."""
