"""Watches active runs: submits again what was not submitted, stops what has to stop, and ends what is dead.

`service.jobs.cluster.is_lost` decides whether a run is dead.
"""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta

import structlog

from fgd_core.errors import ClusterError
from service.dispatcher.cluster import ClusterAwayError
from service.dispatcher.context import Context
from service.dispatcher.lost_runs import mark_lost
from service.dispatcher.submitting import submit
from service.jobs.cluster import FINAL_BATCH_GRACE_S, ClusterJob, is_lost
from service.jobs.lifecycle import STOPPING
from service.store import attempts, jobs
from service.store.tables import Attempt, Job

ASK_ONE_BY_ONE = 16
"""Up to this number of runs, Ray is asked about each; above it, for its list of all runs."""
_SUBMIT_PATIENCE_S = 300.0
"""How long a submission that Ray refuses is repeated before the attempt is marked lost."""
_REFUSAL_PATIENCE_S = 300.0
"""How long a run may be silent, while Ray answers but not about this run, before it is marked lost."""
_NO_LIST_FOR_S = 60.0
"""Pause after Ray failed to list its runs, or took too long."""

log = structlog.get_logger(__name__)


class WatchRuns:
    """Compares the active attempts with what Ray knows of their runs."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lists_again_at: datetime | None = None
        self._placed: set[str] = set()
        """Ids of attempts that the cluster was seen to run."""
        self._refused_since: dict[str, datetime] = {}
        """Attempt id -> since when the cluster has refused to report its state."""
        self._over_since: dict[str, datetime] = {}
        """Attempt id -> since when the cluster has reported that its run is over."""

    def is_placed(self, attempt_id: str) -> bool:
        """Whether the cluster was seen to run this attempt."""
        return attempt_id in self._placed

    async def run(self) -> None:
        """Raises as `FanOut.each`."""
        async with self._context.database.reading() as session:
            active = await attempts.active(session)
        self._drop_all_but({attempt.id for _, attempt in active})
        doubtful = []
        for job, attempt in active:
            if self._is_healthy(job, attempt):
                self._placed.add(attempt.id)
                self._over_since.pop(attempt.id, None)
            else:
                doubtful.append((job, attempt))
        # People wait for a cancel.
        doubtful.sort(key=lambda each: each[0].state not in STOPPING)
        runs = await self._all_runs() if len(doubtful) > ASK_ONE_BY_ONE else None

        async def watch(each: tuple[Job, Attempt]) -> None:
            await self._watch(*each, runs)

        # The state is part of the key: a request to stop is not delayed by the back-off of an earlier question.
        await self._context.fan_out.each(
            {f"{job.state} {attempt.id}": (job, attempt) for job, attempt in doubtful}, watch
        )

    def _drop_all_but(self, attempt_ids: set[str]) -> None:
        self._placed &= attempt_ids
        self._over_since = {id_: since for id_, since in self._over_since.items() if id_ in attempt_ids}
        self._refused_since = {id_: since for id_, since in self._refused_since.items() if id_ in attempt_ids}

    async def _all_runs(self) -> Mapping[str, ClusterJob] | None:
        """Every run that Ray knows, by submission id; None if Ray does not list them and must be asked about each.

        Two thousand questions take seconds, and one list a fraction of a second.
        """
        if self._lists_again_at is not None and self._context.clock() < self._lists_again_at:
            return None
        try:
            return await self._context.cluster.jobs()
        except ClusterAwayError:
            raise
        except ClusterError as error:
            # This tick waited for the list; the next ticks must not.
            self._lists_again_at = self._context.clock() + timedelta(seconds=_NO_LIST_FOR_S)
            log.warning("cluster_lists_no_runs", error=str(error))
            return None

    async def _watch(self, job: Job, attempt: Attempt, runs: Mapping[str, ClusterJob] | None) -> None:
        submission_id = attempt.submission_id
        try:
            found = runs.get(submission_id) if runs is not None else await self._context.cluster.job(submission_id)
        except ClusterAwayError:
            raise
        except ClusterError as refusal:
            await self._watch_refused(job, attempt, refusal)
            raise
        self._refused_since.pop(attempt.id, None)
        if found is not None and found.status != "PENDING":
            self._placed.add(attempt.id)
        if found is not None and found.is_over:
            self._over_since.setdefault(attempt.id, self._context.clock())
        silent_s = self._context.silent_s(attempt)
        if job.state in STOPPING:
            await self._watch_stopping(job, attempt, found)
        elif found is None and attempt.heartbeat_at is None and silent_s <= _SUBMIT_PATIENCE_S:
            # The control plane stopped between commit and submission, or Ray lost the run before it began.
            await submit(self._context, job, attempt)
        elif self._is_lost(attempt, found):
            await mark_lost(self._context, job, attempt, found)
        elif job.state == "running":
            await self._explain_silence(
                job, attempt, f"the cluster reports {found.status if found is not None else 'nothing'}"
            )

    async def _watch_refused(self, job: Job, attempt: Attempt, refusal: ClusterError) -> None:
        """Handle a run about which Ray gives no answer: show that, and mark it lost if it stays silent as well."""
        context = self._context
        since = self._refused_since.setdefault(attempt.id, context.clock())
        cause = str(refusal.details.get("cause") or refusal.message)
        refused_for_s = (context.clock() - since).total_seconds()
        if job.state in STOPPING and self._waited_for_stop_s(job) >= context.settings.cancel_grace_s:
            with suppress(ClusterError):
                await context.cluster.stop(attempt.submission_id)
        if min(refused_for_s, context.silent_s(attempt)) > _REFUSAL_PATIENCE_S:
            await mark_lost(context, job, attempt, None, f"Ray could not report its state: {cause}")
        elif job.state == "running":
            await self._explain_silence(job, attempt, f"the cluster does not report its state ({cause})")

    async def _watch_stopping(self, job: Job, attempt: Attempt, found: ClusterJob | None) -> None:
        if found is None:
            if attempt.heartbeat_at is None or self._is_lost(attempt, found):
                await mark_lost(self._context, job, attempt, found)
        elif found.is_over:
            # The run's final batch may still be on its way. Ray's FAILED can be false, but its STOPPED is not; and a
            # run that never began sends nothing.
            has_stopped = found.status == "STOPPED" and self._over_for_s(attempt) >= FINAL_BATCH_GRACE_S
            if attempt.heartbeat_at is None or has_stopped or self._is_lost(attempt, found):
                await mark_lost(self._context, job, attempt, found)
        # A run that has not begun has nothing to save.
        elif attempt.heartbeat_at is None or self._waited_for_stop_s(job) >= self._context.settings.cancel_grace_s:
            await self._context.cluster.stop(attempt.submission_id)

    async def _explain_silence(self, job: Job, attempt: Attempt, report: str) -> None:
        """Show that a run is silent. Nothing is decided on silence alone."""
        since = (attempt.heartbeat_at or attempt.created_at).isoformat(timespec="seconds")
        message = f"silent since {since}; {report}"
        if message != job.message:
            async with self._context.leadership.writing() as session:
                await jobs.explain(session, [job.id], "running", message)

    def _is_healthy(self, job: Job, attempt: Attempt) -> bool:
        """Whether the run reported so recently that Ray need not be asked."""
        if job.state != "running" or attempt.heartbeat_at is None:
            return False
        return self._context.silent_s(attempt) <= 2 * self._context.settings.heartbeat_s

    def _waited_for_stop_s(self, job: Job) -> float:
        if job.stop_requested_at is None:
            return 0.0
        return (self._context.clock() - job.stop_requested_at).total_seconds()

    def _is_lost(self, attempt: Attempt, found: ClusterJob | None) -> bool:
        return is_lost(
            found,
            silent_s=self._context.silent_s(attempt),
            over_for_s=self._over_for_s(attempt),
            heartbeat_s=self._context.settings.heartbeat_s,
            heartbeat_timeout_s=self._context.settings.heartbeat_timeout_s,
        )

    def _over_for_s(self, attempt: Attempt) -> float:
        since = self._over_since.get(attempt.id)
        return (self._context.clock() - since).total_seconds() if since is not None else 0.0
