"""Carries the intent in the database out on the cluster, and takes note of runs that died without a word.

Decides nothing itself: what to start, what is lost and what follows from it are rules in `service.jobs`. The network
is never awaited inside a transaction: load, close, act, reopen, apply, guarded by state and attempt.
"""

import asyncio
import shlex
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import structlog

from fgd_core.errors import ClusterError, LostRunError
from fgd_core.spec.events import ErrorReport
from service.clock import Clock
from service.dispatcher import driver_log
from service.dispatcher.capacity import CapacityMemory
from service.dispatcher.cluster import Cluster, ClusterJob, Submission
from service.dispatcher.starting import Start, lease, unblock
from service.jobs import scheduling
from service.jobs.lifecycle import ON_CLUSTER
from service.jobs.liveness import FINAL_BATCH_GRACE_S, is_lost
from service.jobs.outcome import after_loss
from service.settings import Settings
from service.store import attempts, jobs
from service.store.session import Database
from service.store.tables import Attempt, Job
from service.store.tokens import TokenMint

log = structlog.get_logger(__name__)

_LAST_LINES = 20


class Dispatcher:
    def __init__(
        self,
        database: Database,
        cluster: Cluster,
        settings: Settings,
        clock: Clock,
        *,
        mint: TokenMint,
        capacity: CapacityMemory | None = None,
        wake: asyncio.Event | None = None,
    ) -> None:
        self._database = database
        self._cluster = cluster
        self._settings = settings
        self._clock = clock
        self._mint = mint
        self._capacity = capacity or CapacityMemory(cluster, clock)
        self._wake = wake or asyncio.Event()
        self._is_cluster_away = False
        # Only hints: after a restart they are gathered anew.
        self._placed: set[str] = set()
        """Attempts that the cluster was seen to run."""
        self._over_since: dict[str, datetime] = {}
        """Since when the cluster has been saying that an attempt is over."""

    async def run(self) -> None:
        """Tick until cancelled. A tick that raises is logged, and the next one comes."""
        while True:
            self._wake.clear()
            try:
                await self.tick()
            except Exception:
                log.exception("tick_failed")
            try:
                async with asyncio.timeout(self._settings.tick_s):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def tick(self) -> None:
        """One round. An unreachable cluster ends a step and changes nothing."""
        steps: Sequence[Callable[[], Awaitable[None]]] = (self._unblock, self._start, self._watch, self._archive)
        try:
            for step in steps:
                await step()
        except ClusterError as error:
            if not self._is_cluster_away:
                log.warning("cluster_away", error=str(error))
            self._is_cluster_away = True
        else:
            if self._is_cluster_away:
                log.info("cluster_back")
            self._is_cluster_away = False

    async def _unblock(self) -> None:
        async with self._database.reading() as session:
            blocked = await jobs.in_state(session, "blocked")
        for job in blocked:
            async with self._database.writing() as session:
                await unblock(session, job.id, self._clock())

    async def _start(self) -> None:
        now = self._clock()
        async with self._database.reading() as session:
            waiting = await jobs.startable(session, now)
        if not waiting:
            return
        try:
            capacity = await self._capacity.fresh()
        except ClusterError:
            async with self._database.writing() as session:
                for job in await jobs.startable(session, now):
                    await jobs.explain(session, job, "waits for the Ray cluster, which cannot be reached")
            raise
        starts: list[Start] = []
        async with self._database.writing() as session:
            active = await attempts.active(session)
            queued = await jobs.startable(session, now)
            choice = scheduling.choose(
                [_needs(job) for job in queued],
                active=[_needs(job) for job, _ in active],
                pending=[_needs(job) for job, attempt in active if attempt.id not in self._placed],
                capacity=capacity,
            )
            for job in queued:
                if job.id in choice.start:
                    start = await lease(session, job.id, self._mint, self._cluster.dashboard_url, now)
                    starts.extend([start] if start is not None else [])
                else:
                    await jobs.explain(session, job, choice.wait[job.id])
        for start in starts:
            await self._submit(start)

    async def _submit(self, start: Start) -> None:
        await self._cluster.submit(
            Submission(
                submission_id=start.submission_id,
                entrypoint=f"{shlex.quote(self._settings.python)} -m workers",
                environment={
                    "FGD_URL": self._settings.public_url,
                    "FGD_ATTEMPT_ID": start.attempt_id,
                    "FGD_ATTEMPT_TOKEN": self._mint.token(start.attempt_id),
                },
                cpus=start.cpus,
                gpus=start.gpus,
                metadata={
                    "job_id": start.job_id,
                    "name": start.name,
                    "kind": start.kind,
                    "attempt": str(start.number),
                },
            )
        )
        log.info("run_submitted", job_id=start.job_id, submission_id=start.submission_id)

    async def _watch(self) -> None:
        async with self._database.reading() as session:
            active = await attempts.active(session)
        known = {attempt.id for _, attempt in active}
        self._placed &= known
        self._over_since = {id_: since for id_, since in self._over_since.items() if id_ in known}
        for job, attempt in active:
            if self._is_healthy(job, attempt):
                self._placed.add(attempt.id)
                self._over_since.pop(attempt.id, None)
                continue
            word = await self._cluster.job(attempt.submission_id)
            if word is not None and word.status != "PENDING":
                self._placed.add(attempt.id)
            if word is not None and word.is_over:
                self._over_since.setdefault(attempt.id, self._clock())
            if job.state == "cancelling":
                await self._watch_cancelling(job, attempt, word)
            elif word is None and attempt.heartbeat_at is None:
                # We stopped between the commit and the submission, or Ray forgot it before it began.
                await self._submit(Start.again(job, attempt))
            elif self._is_lost(attempt, word):
                await self._lose(job, attempt, word)

    def _is_healthy(self, job: Job, attempt: Attempt) -> bool:
        """Whether the run's own word is fresh enough to spare Ray the question."""
        if job.state != "running" or attempt.heartbeat_at is None:
            return False
        return self._silent_s(attempt) <= 2 * self._settings.heartbeat_s

    async def _watch_cancelling(self, job: Job, attempt: Attempt, word: ClusterJob | None) -> None:
        if word is None and (attempt.heartbeat_at is None or self._is_lost(attempt, word)):
            await self._lose(job, attempt, word)
            return
        if word is None:
            return
        if word.is_over:
            # The final batch may still be under way; without it the job would lose its last checkpoint.
            if attempt.heartbeat_at is None or self._over_for_s(attempt) >= FINAL_BATCH_GRACE_S:
                await self._lose(job, attempt, word)
            return
        asked_at = job.stop_requested_at or self._clock()
        waited_s = (self._clock() - asked_at).total_seconds()
        # A run that has not begun has nothing to save.
        if attempt.heartbeat_at is None or waited_s >= self._settings.cancel_grace_s:
            await self._cluster.stop(attempt.submission_id)

    async def _lose(self, job: Job, attempt: Attempt, word: ClusterJob | None) -> None:
        """End an attempt whose run is gone, unless it has spoken in the meantime."""
        output = await self._cluster.logs(attempt.submission_id) if word is not None else ""
        said = word.message if word is not None else "the cluster does not know it"
        error = ErrorReport(
            code=LostRunError.code,
            message=f"the run ended without a last word; Ray says: {said or (word.status if word else '')}",
            details={
                "submission_id": attempt.submission_id,
                "cluster_status": word.status if word is not None else None,
                "cluster_message": said,
                "last_lines": output.splitlines()[-_LAST_LINES:],
            },
            retryable=LostRunError.retryable,
        )
        now = self._clock()
        async with self._database.writing() as session:
            current = await jobs.get(session, job.id, lock=True)
            latest = await attempts.find(session, attempt.id)
            if (
                latest is None
                or latest.ended_at is not None
                or latest.heartbeat_at != attempt.heartbeat_at
                or current.current_attempt_id != attempt.id
                or current.state not in ON_CLUSTER
            ):
                return
            await attempts.end(session, attempt.id, "lost", error, now)
            steps = after_loss(current.state, error, jobs.budgets(current), resumes_itself=current.resumes_itself)
            for step in steps:
                await jobs.move(session, current, step, now=now, attempt=attempt.number)
        log.warning("run_lost", job_id=job.id, submission_id=attempt.submission_id, became=steps[-1].to)
        self._wake.set()

    async def _archive(self) -> None:
        async with self._database.reading() as session:
            ended = await attempts.unarchived(session)
        for attempt in ended:
            word = await self._cluster.job(attempt.submission_id)
            if word is not None and not word.is_over:
                # It has said its last word and will end by itself; one that does not is holding resources.
                assert attempt.ended_at is not None
                if (self._clock() - attempt.ended_at).total_seconds() >= self._settings.cancel_grace_s:
                    await self._cluster.stop(attempt.submission_id)
                continue
            if word is not None:
                saved = await driver_log.keep(self._cluster, attempt, self._settings.storage_dir)
                await driver_log.register(self._database, attempt.job_id, saved, self._clock())
                await self._cluster.delete(attempt.submission_id)
            async with self._database.writing() as session:
                await attempts.archive(session, attempt.id, self._clock())
            # What it held may be free now.
            self._wake.set()

    def _is_lost(self, attempt: Attempt, word: ClusterJob | None) -> bool:
        return is_lost(
            word,
            silent_s=self._silent_s(attempt),
            over_for_s=self._over_for_s(attempt),
            heartbeat_s=self._settings.heartbeat_s,
            heartbeat_timeout_s=self._settings.heartbeat_timeout_s,
        )

    def _silent_s(self, attempt: Attempt) -> float:
        return (self._clock() - (attempt.heartbeat_at or attempt.created_at)).total_seconds()

    def _over_for_s(self, attempt: Attempt) -> float:
        since = self._over_since.get(attempt.id)
        return (self._clock() - since).total_seconds() if since is not None else 0.0


def _needs(job: Job) -> scheduling.Needs:
    return scheduling.Needs(job_id=job.id, cpus=job.cpus, gpus=job.gpus)
