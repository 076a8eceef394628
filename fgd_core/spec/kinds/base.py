"""The settings that all kinds of jobs have."""

from typing import Annotated, TypeAlias

from pydantic import Field

from fgd_core.spec.base import Command
from fgd_core.spec.resources import Resources, RetryPolicy

JobName: TypeAlias = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")]
ProjectName: TypeAlias = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9._-]*$")]
Priority: TypeAlias = Annotated[int, Field(ge=-100, le=100)]


class AnyJob(Command):
    """The settings that all kinds of jobs have."""

    name: JobName
    """A name for people; several jobs may have the same name."""
    project: ProjectName = "default"
    """The project that the job belongs to. Its share of the cluster, its quotas and its tokens apply."""
    priority: Priority = 0
    """Jobs of higher priority start first. Can be changed while the job waits."""
    preemptible: bool = False
    """Whether a job of higher priority may pause this job. The job resumes by itself when resources are free."""
    resources: Resources = Resources()
    retry: RetryPolicy = RetryPolicy()
    seed: int = Field(default=0, ge=0)
    """Seed of the initial weights, the order of images and the augmentation. The same seed gives the same run."""
