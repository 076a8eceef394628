"""The runs of a study as the API lists them, and as the study's own run receives them."""

from pydantic import JsonValue

from fgd_core.spec.base import Fact
from fgd_core.spec.events import JobState
from fgd_core.spec.results import ErrorReport, RunResult


class StudyRunView(Fact):
    """A run of a study: a job of its own."""

    job_id: str
    arm: str
    """The runs of an arm differ only in the seed."""
    seed: int
    state: JobState


class PartOfStudy(Fact):
    """The study that a job is a run of."""

    job_id: str
    name: str
    arm: str


class EndedStudyRun(StudyRunView):
    """A run of a study that has ended, with what it left."""

    result: RunResult | None
    """None unless it succeeded."""
    error: ErrorReport | None = None
    """Why it failed."""
    changes: dict[str, JsonValue] = {}
    """What its last attempt changed in its spec, by path: a smaller batch, after it ran out of memory."""
