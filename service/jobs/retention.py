"""What is kept for how long: rules over facts, without a look at the clock, the disk or the database.

Nothing of a job that is not over is ever due, nor of one that a job which is not over still needs.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, NamedTuple, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from fgd_core.errors import ConflictError
from fgd_core.spec.events import JobState
from fgd_core.spec.housekeeping import Kind
from service.jobs.lifecycle import OVER

Days: TypeAlias = Annotated[float, Field(gt=0)] | None
"""None: for good."""

PROGRESS_KINDS = ("progress", "evaluation_progress", "sweep_progressed")
"""Events that only matter while they are news: what they say of training is in the curves, too."""

PARTIAL_DAYS = 1.0


class Policy(BaseModel):
    """Days since a job's end, unless said otherwise."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    every_hours: float | None = Field(default=24.0, gt=0)
    """How often the server puts away what is due by itself; None: only when it is told to."""
    progress_days: Days = 90.0
    """For events of the kinds `progress`, `evaluation_progress` and `sweep_progressed`, and for what trials of a sweep
    say of these kinds. All other events stay as long as their job."""
    curves_days: Days = 365.0
    """After which a curve is thinned to `curve_points`."""
    curve_points: int = Field(default=2000, ge=100)
    """Of a thinned curve; the lowest and the highest of each run of steps are among them."""
    logs_days: Days = 365.0
    """For what the processes of a job printed."""
    succeeded_checkpoints_days: Days = 90.0
    """For what a job that succeeded could be trained on from: `last.pt`."""
    other_checkpoints_days: Days = 365.0
    """The same for one that failed or was cancelled, and may be retried from there."""
    best_checkpoints_days: Days = None
    """For `best.pt`."""
    outboxes_days: Days = 7.0
    """For the files in which a run keeps its events until they are stored; only where all of them are."""
    orphans_days: Annotated[float, Field(ge=1)] | None = 1.0
    """For folders that belong to no job, since they were first seen to."""
    audit_days: Days = 730.0
    """For entries of the audit trail, since they were written."""
    tokens_days: Days = 90.0
    """For API tokens, since they expired or were revoked."""
    deliveries_days: Days = 30.0
    """For deliveries to webhooks that arrived or were given up, since they came up."""


@dataclass(frozen=True, kw_only=True)
class EndedJob:
    job_id: str
    state: JobState
    ended_at: datetime
    is_needed: bool
    """Whether a job that is not over refers to it."""
    is_released: bool
    """Whether the cluster holds nothing of it any more, and its logs are put away."""


class StoredFile(NamedTuple):
    path: str
    """In the job's folder."""
    size_bytes: int
    modified_at: datetime


class Due(NamedTuple):
    file: StoredFile
    kind: Kind
    why: str


def due_files(
    policy: Policy, job: EndedJob, files: Iterable[StoredFile], *, is_stored: Callable[[str], bool], now: datetime
) -> list[Due]:
    """The files of an ended job that are not kept any longer.

    Args:
        is_stored: whether everything in this outbox file is stored; asked only where it would be due otherwise.
    """
    if job.is_needed or not job.is_released:
        return []
    due = []
    for file in files:
        for rule in _RULES:
            if not rule.path.fullmatch(file.path):
                continue
            since = file.modified_at if rule.kind == "partial_file" else job.ended_at
            days = rule.days(policy, job.state)
            if is_due(since, days, now) and (rule.kind != "outbox" or is_stored(file.path)):
                due.append(Due(file, rule.kind, _why(rule.kind, job, days)))
            break
    return due


def is_row_due(job: EndedJob, days: Days, now: datetime) -> bool:
    """Whether what the database keeps of an ended job for `days` may go."""
    return not job.is_needed and job.is_released and is_due(job.ended_at, days, now)


def is_due(since: datetime, days: Days, now: datetime) -> bool:
    return days is not None and now - since >= timedelta(days=days)


def shortest_days(policy: Policy) -> float:
    """A job that ended later than so many days ago has nothing that is due."""
    of_jobs = (
        *(policy.progress_days, policy.curves_days, policy.logs_days, policy.outboxes_days, PARTIAL_DAYS),
        *(policy.succeeded_checkpoints_days, policy.other_checkpoints_days, policy.best_checkpoints_days),
    )
    return min(days for days in of_jobs if days is not None)


def why(job: EndedJob, days: Days) -> str:
    return f"{job.state} on {job.ended_at:%Y-%m-%d}, kept for {days:g} days"


def check_deletable(job_id: str, state: JobState, *, needed_by: Sequence[str], is_released: bool) -> None:
    """
    Raises:
        ConflictError: the job is not over, or another that is not over needs it.
        StillHeldError: it has only just ended.
    """
    if state not in OVER:
        raise ConflictError(
            f"job {job_id} is {state}, and only one that is over can be deleted; cancel it first",
            job_id=job_id,
            state=state,
        )
    if needed_by:
        raise ConflictError(
            f"job {job_id} is needed by {', '.join(needed_by[:5])}; wait until that is over, or cancel it first",
            job_id=job_id,
            needed_by=list(needed_by),
        )
    if not is_released:
        raise StillHeldError(
            f"job {job_id} has ended, but the cluster has yet to let go of it; try again in a moment", job_id=job_id
        )


class StillHeldError(ConflictError):
    code = "still_held"
    retryable = True


class _Rule(NamedTuple):
    kind: Kind
    path: re.Pattern[str]
    days: Callable[[Policy, JobState], Days]


def _checkpoint_days(policy: Policy, state: JobState) -> Days:
    return policy.succeeded_checkpoints_days if state == "succeeded" else policy.other_checkpoints_days


_RULES: Sequence[_Rule] = (
    _Rule("partial_file", re.compile(r"(.*/)?\.[^/]+\.partial"), lambda policy, state: PARTIAL_DAYS),
    _Rule("log", re.compile(r"logs/[^/]+\.log"), lambda policy, state: policy.logs_days),
    _Rule("checkpoint", re.compile(r"attempts/\d+/checkpoints/(last|previous|incoming)\.pt"), _checkpoint_days),
    _Rule(
        "checkpoint",
        re.compile(r"attempts/\d+/checkpoints/best\.pt"),
        lambda policy, state: policy.best_checkpoints_days,
    ),
    _Rule("outbox", re.compile(r"outbox/[^/]+"), lambda policy, state: policy.outboxes_days),
)


def _why(kind: Kind, job: EndedJob, days: Days) -> str:
    return "left by a process that died while it wrote" if kind == "partial_file" else why(job, days)
