"""Identifies the run of an attempt by its token, and checks that it may still write."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Self

from sqlalchemy import ColumnElement, bindparam, select

from fgd_core.errors import StaleAttemptError
from fgd_core.spec.events import JobState
from service.errors import UnauthorizedError
from service.jobs.lifecycle import ON_CLUSTER
from service.store import attempts, jobs, tokens
from service.store.statements import core
from service.store.tables import Attempt, Job, table_of
from service.store.tables.json_values import JsonObject
from service.store.write_session import WriteSession

# Read without the ORM, which would take half of the time of a batch.
_JOBS = table_of(Job)
_ATTEMPTS = table_of(Attempt)


@dataclass(frozen=True)
class Run:
    """Holds the columns of an attempt and its job that decide about a batch, read under the lock on the job's row."""

    COLUMNS: ClassVar[Sequence[ColumnElement[Any]]] = (
        *(_ATTEMPTS.c.id, _ATTEMPTS.c.number, _ATTEMPTS.c.created_at, _ATTEMPTS.c.ended_at, _ATTEMPTS.c.heartbeat_at),
        *(_JOBS.c.id, _JOBS.c.state, _JOBS.c.current_attempt_id, _JOBS.c.last_sequence, _JOBS.c.progress),
    )

    attempt_id: str
    number: int
    created_at: datetime
    ended_at: datetime | None
    heartbeat_at: datetime | None
    job_id: str
    state: JobState
    current_attempt_id: str | None
    last_sequence: int
    progress: JsonObject

    @classmethod
    def of(cls, job: Job, attempt: Attempt) -> Self:
        of_attempt = (attempt.id, attempt.number, attempt.created_at, attempt.ended_at, attempt.heartbeat_at)
        of_job = (job.id, job.state, job.current_attempt_id, job.last_sequence, job.progress)
        return cls(*of_attempt, *of_job)

    @property
    def may_write(self) -> bool:
        """Whether the attempt is the job's current one and has not ended."""
        return self.current_attempt_id == self.attempt_id and self.ended_at is None and self.state in ON_CLUSTER


async def authenticate(session: WriteSession, attempt_id: str, token: str, *, lock: bool = True) -> tuple[Job, Attempt]:
    """Return the job and the attempt that `token` belongs to; by default with the job's row locked.

    Raises:
        UnauthorizedError: the token belongs to another attempt, or to none.
    """
    attempt = await attempts.find(session, attempt_id)
    if attempt is None or not tokens.matches(token, attempt.token_sha256):
        raise _unauthorized(attempt_id)
    return await jobs.get(session, attempt.job_id, lock=lock), attempt


async def lock(session: WriteSession, attempt_id: str, token: str) -> Run:
    """Authenticate, and keep all other writers out of the job until this transaction ends.

    The lock is on the job's row alone, and the values that change are read from that row alone: after a wait for a
    lock, the columns of other rows would still be those from before the wait.

    Raises:
        UnauthorizedError: the token belongs to another attempt, or to none.
    """
    found = await (await core(session)).execute(_RUN, {"attempt_id": attempt_id, "token_sha256": tokens.digest(token)})
    row = found.one_or_none()
    if row is None:
        raise _unauthorized(attempt_id)
    return Run(*row)


def check_may_write(run: Run) -> None:
    """Raises StaleAttemptError if another attempt has replaced this one, or the job is over."""
    if run.may_write:
        return
    if run.current_attempt_id != run.attempt_id:
        raise StaleAttemptError(
            f"attempt {run.current_attempt_id} has replaced attempt {run.attempt_id}; stop", attempt_id=run.attempt_id
        )
    raise StaleAttemptError(
        f"attempt {run.attempt_id} has ended and its job is {run.state}; stop",
        attempt_id=run.attempt_id,
        state=run.state,
    )


_RUN = (
    select(*Run.COLUMNS)
    .join_from(_ATTEMPTS, _JOBS, _JOBS.c.id == _ATTEMPTS.c.job_id)
    .where(_ATTEMPTS.c.id == bindparam("attempt_id"), _ATTEMPTS.c.token_sha256 == bindparam("token_sha256"))
    .with_for_update(of=_JOBS)
)


def _unauthorized(attempt_id: str) -> UnauthorizedError:
    return UnauthorizedError("the token does not belong to this attempt", attempt_id=attempt_id)
