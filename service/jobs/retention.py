"""Decides what is kept for how long: rules over facts, without clock, disk or database.

A job that is not over keeps everything, and so does a job that another job, which is not over, needs.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Annotated, NamedTuple, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from fgd_core.errors import ConflictError
from fgd_core.spec.chains import STAGES
from fgd_core.spec.events import JobState
from fgd_core.spec.housekeeping import Kind
from service.jobs.lifecycle import OVER

Days: TypeAlias = Annotated[float, Field(gt=0)] | None
"""None: for ever."""

PROGRESS_KINDS = ("progress", "evaluation_progress", "sweep_progressed")
"""Events that matter only for a short time: the curves hold their values, too."""

PARTIAL_DAYS = 1.0


class Policy(BaseModel):
    """How long things are kept: days since a job's end, unless stated otherwise."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    every_hours: float | None = Field(default=24.0, gt=0)
    """How often the server removes what is due; None: only on request (`fgd gc`)."""
    progress_days: Days = 90.0
    """For events of the kinds `progress`, `evaluation_progress` and `sweep_progressed`, also those of a sweep's trials.
    All other events stay as long as their job."""
    curves_days: Days = 365.0
    """Days after which a curve is thinned to `curve_points`."""
    curve_points: int = Field(default=2000, ge=100)
    """Points of a thinned curve; it keeps the lowest and the highest of each range of steps."""
    logs_days: Days = 365.0
    """For the logs of a job's processes."""
    succeeded_checkpoints_days: Days = 90.0
    """For `last.pt` of a job that succeeded."""
    other_checkpoints_days: Days = 365.0
    """For `last.pt` of a job that failed or was cancelled, and can be retried from there."""
    best_checkpoints_days: Days = None
    """For `best.pt`."""
    outboxes_days: Days = 7.0
    """For a run's outbox files, once all of their events are stored."""
    orphans_days: Annotated[float, Field(ge=1)] | None = 1.0
    """For folders that belong to no job, since they were first found."""
    audit_days: Days = 730.0
    """For entries of the audit trail, since they were written."""
    tokens_days: Days = 90.0
    """For API tokens, since they expired or were revoked."""
    deliveries_days: Days = 30.0
    """For webhook deliveries that succeeded or were given up, since they were created."""


@dataclass(frozen=True, kw_only=True)
class EndedJob:
    """A job that is over, with the facts that the rules need."""

    job_id: str
    state: JobState
    ended_at: datetime
    is_needed: bool
    """Whether a job that is not over refers to this one, or a version of a model is one of its files."""
    is_released: bool
    """Whether the cluster has released everything of it, and its logs are archived."""


class StoredFile(NamedTuple):
    """A file in a job's folder."""

    path: str
    """Relative to the job's folder."""
    size_bytes: int
    modified_at: datetime


class Due(NamedTuple):
    """A file that may be removed, and why."""

    file: StoredFile
    kind: Kind
    why: str


def due_files(
    policy: Policy, job: EndedJob, files: Iterable[StoredFile], *, is_stored: Callable[[str], bool], now: datetime
) -> list[Due]:
    """List the files of an ended job that may be removed.

    Args:
        is_stored: whether all events of an outbox file are stored; called only for a file that is otherwise due.
    """
    if job.is_needed or not job.is_released:
        return []
    due = []
    for file in files:
        rule = _rule(file.path)
        if rule is None:
            continue
        since = file.modified_at if rule.kind == "partial_file" else job.ended_at
        days = rule.days(policy, job.state)
        if is_due(since, days, now) and (rule.kind != "outbox" or is_stored(file.path)):
            due.append(Due(file, rule.kind, _why(rule.kind, job, days)))
    return due


def artifact_name(path: str) -> str:
    """Return the name of the artifact in a file of the job's folder.

    It is the file's name; for a stage of a chain, also its folder: `stages/2/best.pt`.
    """
    *folders, name = path.split("/")
    return "/".join([*folders[2:4], name]) if folders[2:3] == [STAGES] else name


def is_row_due(job: EndedJob, days: Days, now: datetime) -> bool:
    """Whether rows of an ended job, which are kept for `days`, may be removed."""
    return not job.is_needed and job.is_released and is_due(job.ended_at, days, now)


def is_due(since: datetime, days: Days, now: datetime) -> bool:
    """Whether `days` have passed since `since`."""
    return days is not None and now - since >= timedelta(days=days)


def shortest_days(policy: Policy) -> float:
    """The shortest period of all: a job that ended more recently has nothing due."""
    of_jobs = (
        *(policy.progress_days, policy.curves_days, policy.logs_days, policy.outboxes_days, PARTIAL_DAYS),
        *(policy.succeeded_checkpoints_days, policy.other_checkpoints_days, policy.best_checkpoints_days),
    )
    return min(days for days in of_jobs if days is not None)


def why(job: EndedJob, days: Days) -> str:
    """Say why something of the job is due."""
    return f"{job.state} on {job.ended_at:%Y-%m-%d}, kept for {days:g} days"


def check_deletable(
    job_id: str, state: JobState, *, needed_by: Sequence[str], aliases: Sequence[str], is_released: bool
) -> None:
    """Refuse to delete a job that is still needed.

    Args:
        needed_by: jobs that refer to it and are not over.
        aliases: that name its files, such as `street-signs@production`; empty if they may be deleted.
    Raises:
        ConflictError: the job is not over, another job that is not over needs it, or an alias names a file of it.
        StillHeldError: the job has only just ended.
    """
    if state not in OVER:
        raise ConflictError(
            f"job {job_id} is {state}, and only a job that is over can be deleted; cancel it first",
            job_id=job_id,
            state=state,
        )
    if needed_by:
        raise ConflictError(
            f"job {job_id} is needed by {', '.join(needed_by[:5])}; wait until those are over, or cancel them first",
            job_id=job_id,
            needed_by=list(needed_by),
        )
    if aliases:
        raise ConflictError(
            f"job {job_id} has the file that {', '.join(aliases[:5])} names; let the alias name another version, "
            "remove it with `fgd models unalias`, or delete the job with --force (force=true)",
            job_id=job_id,
            aliases=list(aliases),
        )
    if not is_released:
        raise StillHeldError(
            f"job {job_id} has ended, but the cluster has not released it yet; try again in a moment", job_id=job_id
        )


class StillHeldError(ConflictError):
    """The job has only just ended, and the cluster has not released it yet."""

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
    # The students of a chain's stages. That of the last stage is also the chain's own best checkpoint.
    _Rule("checkpoint", re.compile(r"attempts/\d+/stages/[^/]+/checkpoints/[^/]+\.pt"), _checkpoint_days),
    _Rule(
        "checkpoint",
        re.compile(r"attempts/\d+/checkpoints/best\.pt"),
        lambda policy, state: policy.best_checkpoints_days,
    ),
    _Rule("outbox", re.compile(r"outbox/[^/]+"), lambda policy, state: policy.outboxes_days),
)


@lru_cache(10_000)
def _rule(path: str) -> _Rule | None:
    """Return the rule of a file. Most jobs have files of the same names."""
    return next((rule for rule in _RULES if rule.path.fullmatch(path)), None)


def _why(kind: Kind, job: EndedJob, days: Days) -> str:
    return "a process died while it wrote this file" if kind == "partial_file" else why(job, days)
