"""Carries the intent in the database out on the cluster, and takes note of runs that died without a word.

Decides nothing itself: what to start, what is lost and what follows from it are rules in `service.jobs`. The network
is never awaited inside a transaction: load, close, act, reopen, apply, guarded by state and attempt.
"""

import asyncio
import os
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from functools import partial

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import ClusterError, LostRunError, StorageError
from fgd_core.spec.readable import environment
from fgd_core.spec.results import ErrorReport
from fgd_core.spec.tracing import for_run
from service import links
from service.clock import Clock
from service.dispatcher import salvage
from service.dispatcher.archiving import Archiving
from service.dispatcher.capacity import CapacityMemory
from service.dispatcher.cluster import Cluster, ClusterAwayError, Submission
from service.dispatcher.excerpts import Excerpt
from service.dispatcher.forgetting import Forgetting
from service.dispatcher.holder import Holder
from service.dispatcher.side_by_side import PATIENCE_S, SideBySide
from service.dispatcher.starting import Start, lease, make_way, unblock
from service.errors import DatabaseError
from service.jobs import scheduling
from service.jobs.cluster import FINAL_BATCH_GRACE_S, ClusterJob, is_lost
from service.jobs.lifecycle import ON_CLUSTER, STOPPING
from service.jobs.outcome import after_loss
from service.metrics import Metrics
from service.settings import Settings
from service.storage.base import Storage
from service.store import attempts, jobs, leases, queue, recording
from service.store.leases import Lease, StaleLeaseError
from service.store.session import Database
from service.store.tables import Attempt, Job
from service.store.tokens import TokenMint
from service.tracing import OFF, Tracing

log = structlog.get_logger(__name__)

_LAST_LINES = 20
_MIN_PAUSE_S = 0.1
_SUBMIT_PATIENCE_S = 300.0
"""How long a submission that Ray refuses is repeated, before the attempt is given up."""
_REFUSAL_PATIENCE_S = 300.0
"""How long a run may be silent while Ray answers, but not about this run, before it is given up."""
_ASK_ONE_BY_ONE = 16
"""Ray is asked about so many runs one by one, and for its list of all runs where there are more."""
_NO_LIST_FOR_S = 60.0
"""A Ray that does not list its runs, or takes too long for it, is not asked for that again so soon."""
_MAX_STARTS = 32
"""In one tick."""
_MAX_EXPLAINED = 100
"""So many waiting jobs are told why in each tick; GET /v1/queue tells it of all of them."""
_CLUSTER_AWAY = "waits for the Ray cluster, which cannot be reached"


class Dispatcher:
    """One of several may run beside it: only the holder of the lease acts, and an old holder can write nothing.

    Args:
        holder: who this is, beside other control planes on the same database; None: a new one of the home, whose lock
            the caller holds.
        patience_s: how long a tick waits for a step of one run, which goes on beside the ticks that follow.
    """

    def __init__(
        self,
        database: Database,
        cluster: Cluster,
        settings: Settings,
        clock: Clock,
        *,
        storage: Storage,
        mint: TokenMint,
        capacity: CapacityMemory | None = None,
        wake: asyncio.Event | None = None,
        holder: Holder | None = None,
        tracing: Tracing = OFF,
        metrics: Metrics | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._database = database
        self._cluster = cluster
        self._storage = storage
        self._settings = settings
        self._clock = clock
        self._mint = mint
        self._run_page = partial(links.run_page, settings.lasting_url)
        self._capacity = capacity or CapacityMemory(cluster, clock)
        self._wake = wake or asyncio.Event()
        self._tracing = tracing
        self._metrics = metrics or Metrics()
        self._holder = holder or Holder.at(settings.home)
        self._lease: Lease | None = None
        self._side_by_side = SideBySide(clock, patience_s=patience_s)
        self._forgetting = Forgetting(database, cluster, clock, keep_runs=settings.ray_keep_runs)
        self._archiving = Archiving(
            database,
            cluster,
            settings,
            clock,
            storage=storage,
            writing=self._writing,
            side_by_side=self._side_by_side,
            wake=self._wake.set,
        )
        self._is_cluster_away = False
        self._is_database_away = False
        self._does_storage_fail = False
        # Only hints: after a restart they are gathered anew.
        self._lists_again_at: datetime | None = None
        self._leasing = asyncio.Lock()
        """Leases come one after the other, as the database takes them; submissions go side by side."""
        self._placed: set[str] = set()
        """Attempts that the cluster was seen to run."""
        self._refused_since: dict[str, datetime] = {}
        """Since when the cluster has been refusing to say how an attempt is."""
        self._over_since: dict[str, datetime] = {}
        """Since when the cluster has been saying that an attempt is over."""

    async def run(self) -> None:
        """Tick until cancelled. A tick that raises is logged, and the next one comes."""
        while True:
            self._wake.clear()
            await self._tick_or_log()
            # A burst of submissions is one tick, not one each.
            await asyncio.sleep(min(_MIN_PAUSE_S, self._settings.tick_s))
            try:
                async with asyncio.timeout(self._settings.tick_s):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def tick(self) -> None:
        """One round, if the lease can be had. A cluster that is away ends it and changes nothing."""
        if not await self._hold_lease():
            return
        with self._metrics.tick.time():
            await self._take_steps()

    async def _take_steps(self) -> None:
        steps: Sequence[Callable[[], Awaitable[None]]] = (
            # First, so that a burst of starts holds up no cancel.
            self._watch,
            self._unblock,
            self._start,
            self._archiving.step,
            self._forget,
            self._archiving.copy_logs,
        )
        is_away, storage_fails = False, ""
        fault: Exception | None = None
        for step in steps:
            try:
                await step()
            except ClusterAwayError as error:
                self._metrics.ray_errors.labels("away").inc()
                if not self._is_cluster_away:
                    log.warning("cluster_away", error=str(error))
                is_away = True
                break
            except ClusterError as error:
                self._metrics.ray_errors.labels("refused").inc()
                log.warning("cluster_refuses", error=str(error))
            except StorageError as error:
                storage_fails = str(error)
            except (StaleLeaseError, DatabaseError):
                raise
            except Exception as error:
                # A fault of our own in one step must not keep the others from their turn, tick after tick.
                fault = fault or error
        if self._is_cluster_away and not is_away:
            log.info("cluster_back")
        self._is_cluster_away = is_away
        self._tell_of_storage(storage_fails)
        if fault is not None:
            raise fault

    async def close(self) -> None:
        """Let others take over at once."""
        await self._side_by_side.close()
        if self._lease is not None:
            async with self._database.writing() as session:
                await leases.release(session, self._lease, self._clock())
            self._lease = None

    async def _tick_or_log(self) -> None:
        try:
            await self.tick()
        except StaleLeaseError:
            self._lease = None
            self._metrics.dispatches.set(0)
        except DatabaseError as error:
            self._metrics.dispatches.set(0)
            # It may be away for a while; nothing is lost, for nothing was done. Said once, and not at each tick.
            if not self._is_database_away:
                log.warning("database_away", error=str(error))
            self._is_database_away = True
            return
        except Exception:
            log.exception("tick_failed")
        if self._is_database_away:
            log.info("database_back")
        self._is_database_away = False

    def _tell_of_storage(self, fault: str) -> None:
        """Logs that cannot be put away stay with the cluster, and are looked at again at each tick. Said once."""
        if fault and not self._does_storage_fail:
            log.warning("storage_fails", error=fault)
        elif self._does_storage_fail and not fault:
            log.info("storage_back")
        self._does_storage_fail = bool(fault)

    async def _hold_lease(self) -> bool:
        held_before = self._lease
        async with self._database.writing() as session:
            self._lease = await self._acquire(session)
        self._metrics.dispatches.set(self._lease is not None)
        if self._lease != held_before:
            log.info("dispatching" if self._lease is not None else "standing_by", holder=self._holder.name)
        return self._lease is not None

    async def _acquire(self, session: AsyncSession) -> Lease | None:
        held = await leases.acquire(
            session,
            leases.DISPATCHER,
            self._holder.name,
            ttl_s=self._settings.lease_ttl_s,
            now=self._clock(),
            former=self._holder.former,
        )
        if held is not None:
            # Once: from now on the former name is nobody's.
            self._holder = Holder(self._holder.name)
        return held

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncSession]:
        """A transaction that is committed only if the lease is still ours."""
        assert self._lease is not None
        async with self._database.writing() as session:
            # Kept and checked in one: a tick may take longer than the lease lives.
            held = await self._acquire(session)
            if held != self._lease:
                raise StaleLeaseError("another control plane dispatches now", holder=self._holder.name)
            yield session

    async def _unblock(self) -> None:
        async with self._database.reading() as session:
            decided = await queue.decidable(session)
        await self._side_by_side.each({f"unblocking of {job_id}": job_id for job_id in decided}, self._unblock_one)

    async def _unblock_one(self, job_id: str) -> None:
        async with self._writing() as session:
            await unblock(session, job_id, self._clock())

    async def _start(self) -> None:
        now = self._clock()
        async with self._database.reading() as session:
            queued = await queue.startable(session, now, max_alike=_MAX_EXPLAINED)
        if not queued:
            return
        try:
            capacity = await self._capacity.fresh()
        except ClusterError:
            await self._explain({job.job_id: _CLUSTER_AWAY for job in queued[:_MAX_EXPLAINED]})
            raise
        async with self._database.reading() as session:
            active = await attempts.active(session)
            limits = await queue.limits(session)
        choice = scheduling.choose(
            queued,
            active=[queue.active_of(job, attempt, is_placed=attempt.id in self._placed) for job, attempt in active],
            capacity=capacity,
            limits=limits,
            max_waits=_MAX_EXPLAINED,
        )
        # The rest of a burst starts in the ticks that follow at once, each of which looks at the cancels first.
        now_due, later = choice.start[:_MAX_STARTS], choice.start[_MAX_STARTS:]
        if later:
            self._wake.set()
        await self._side_by_side.each({f"start of {job_id}": job_id for job_id in now_due}, self._start_one)
        await self._side_by_side.each({f"pause of {each[0]}": each for each in choice.pause.items()}, self._pause_one)
        await self._explain({job_id: wait.message for job_id, wait in list(choice.wait.items())[:_MAX_EXPLAINED]})

    async def _pause_one(self, each: tuple[str, str]) -> None:
        job_id, urgent_id = each
        async with self._writing() as session:
            await make_way(session, job_id, urgent_id, self._clock())

    async def _start_one(self, job_id: str) -> None:
        # One transaction a start: what was read before may have changed, and one that cannot start any more must not
        # hold the others up.
        async with self._leasing, self._writing() as session:
            # Not earlier: the wait for the others is none of this one.
            leasing_at = self._clock()
            start = await lease(session, job_id, self._mint, self._run_page, leasing_at)
        if start is not None:
            self._metrics.leased(start.queued_at, leasing_at)
            self._trace_lease(start, leasing_at)
            await self._submit(start)
            self._metrics.dispatch.labels("submitted").observe((self._clock() - leasing_at).total_seconds())

    async def _explain(self, messages: Mapping[str, str]) -> None:
        """Tell jobs why they wait, where that is news."""
        async with self._database.reading() as session:
            told = await queue.wait_reasons(session, list(messages))
        news: dict[str, list[str]] = {}
        for job_id, message in messages.items():
            if told.get(job_id, message) != message:
                news.setdefault(message, []).append(job_id)
        if news:
            async with self._writing() as session:
                for message, job_ids in news.items():
                    await jobs.explain(session, job_ids, "queued", message)

    def _trace_lease(self, start: Start, leasing_at: datetime) -> None:
        if start.traceparent is None:
            return
        record = partial(self._tracing.record, parent=start.traceparent, attributes=start.traced_as)
        if start.queued_at is not None:
            record("wait in the queue", start.queued_at, leasing_at)
        record("lease", leasing_at, self._clock())

    async def _submit(self, start: Start) -> None:
        # Nobody asked for a trace of a job that has none.
        tracing = self._tracing if start.traceparent is not None else OFF
        about = start.traced_as
        with tracing.span("submit to Ray", kind="client", parent=start.traceparent, attributes=about) as span:
            await self._cluster.submit(
                Submission(
                    submission_id=start.submission_id,
                    entrypoint=f"{shlex.quote(self._settings.python)} -m workers",
                    environment={
                        "FGD_URL": self._settings.public_url,
                        "FGD_ATTEMPT_ID": start.attempt_id,
                        "FGD_ATTEMPT_CLAIM": self._mint.claim(start.attempt_id),
                        **environment(self._settings.data_roots, self._settings.jobs_of_others),
                        **for_run(span.traceparent or start.traceparent, os.environ),
                    },
                    cpus=start.cpus,
                    gpus=start.gpus,
                    metadata=start.metadata,
                )
            )
            log.info("run_submitted", job_id=start.job_id, submission_id=start.submission_id)

    async def _watch(self) -> None:
        async with self._database.reading() as session:
            active = await attempts.active(session)
        known = {attempt.id for _, attempt in active}
        self._placed &= known
        self._over_since = {id_: since for id_, since in self._over_since.items() if id_ in known}
        self._refused_since = {id_: since for id_, since in self._refused_since.items() if id_ in known}
        asked = []
        for job, attempt in active:
            if self._is_healthy(job, attempt):
                self._placed.add(attempt.id)
                self._over_since.pop(attempt.id, None)
            else:
                asked.append((job, attempt))
        # People wait for a cancel.
        asked.sort(key=lambda each: each[0].state not in STOPPING)
        runs = await self._all_runs() if len(asked) > _ASK_ONE_BY_ONE else None

        async def watch(each: tuple[Job, Attempt]) -> None:
            await self._watch_one(*each, runs)

        # A request to stop is a new step: it does not rest because an earlier question failed.
        await self._side_by_side.each({f"{job.state} {attempt.id}": (job, attempt) for job, attempt in asked}, watch)

    async def _all_runs(self) -> Mapping[str, ClusterJob] | None:
        """Every run that Ray knows, by submission id; None where Ray does not list them, and has to be asked for each.

        Two thousand questions take Ray and us seconds, and its list of them a fraction of one.
        """
        if self._lists_again_at is not None and self._clock() < self._lists_again_at:
            return None
        try:
            return await self._cluster.jobs()
        except ClusterAwayError:
            raise
        except ClusterError as error:
            # The tick has waited for it, and the next ones should not.
            self._lists_again_at = self._clock() + timedelta(seconds=_NO_LIST_FOR_S)
            log.warning("cluster_lists_no_runs", error=str(error))
            return None

    async def _watch_one(self, job: Job, attempt: Attempt, runs: Mapping[str, ClusterJob] | None) -> None:
        try:
            if runs is not None:
                word = runs.get(attempt.submission_id)
            else:
                word = await self._cluster.job(attempt.submission_id)
        except ClusterAwayError:
            raise
        except ClusterError as refusal:
            await self._watch_refused(job, attempt, refusal)
            raise
        self._refused_since.pop(attempt.id, None)
        if word is not None and word.status != "PENDING":
            self._placed.add(attempt.id)
        if word is not None and word.is_over:
            self._over_since.setdefault(attempt.id, self._clock())
        if job.state in STOPPING:
            await self._watch_stopping(job, attempt, word)
        elif word is None and attempt.heartbeat_at is None and self._silent_s(attempt) <= _SUBMIT_PATIENCE_S:
            # We stopped between the commit and the submission, or Ray forgot it before it began.
            await self._submit(Start.again(job, attempt))
        elif self._is_lost(attempt, word):
            await self._lose(job, attempt, word)
        elif job.state == "running":
            says = word.status if word is not None else "nothing"
            await self._tell_silence(job, attempt, f"the cluster says {says}")

    async def _watch_refused(self, job: Job, attempt: Attempt, refusal: ClusterError) -> None:
        """Ray answers, but not about this run: that is said, and a run that stays silent as well is lost in the end."""
        since = self._refused_since.setdefault(attempt.id, self._clock())
        cause = str(refusal.details.get("cause") or refusal.message)
        refused_for_s = (self._clock() - since).total_seconds()
        if job.state in STOPPING and self._waited_for_stop_s(job) >= self._settings.cancel_grace_s:
            with suppress(ClusterError):
                await self._cluster.stop(attempt.submission_id)
        if min(refused_for_s, self._silent_s(attempt)) > _REFUSAL_PATIENCE_S:
            await self._lose(job, attempt, None, said=f"Ray could not say how it is: {cause}")
        elif job.state == "running":
            await self._tell_silence(job, attempt, f"the cluster does not say how it is ({cause})")

    async def _tell_silence(self, job: Job, attempt: Attempt, says: str) -> None:
        """Nothing is decided on silence alone, but nobody has to wonder either."""
        since = (attempt.heartbeat_at or attempt.created_at).isoformat(timespec="seconds")
        message = f"silent since {since}; {says}"
        if message == job.message:
            return
        async with self._writing() as session:
            await jobs.explain(session, [job.id], "running", message)

    def _is_healthy(self, job: Job, attempt: Attempt) -> bool:
        """Whether the run's own word is fresh enough to spare Ray the question."""
        if job.state != "running" or attempt.heartbeat_at is None:
            return False
        return self._silent_s(attempt) <= 2 * self._settings.heartbeat_s

    async def _watch_stopping(self, job: Job, attempt: Attempt, word: ClusterJob | None) -> None:
        if word is None and (attempt.heartbeat_at is None or self._is_lost(attempt, word)):
            await self._lose(job, attempt, word)
            return
        if word is None:
            return
        if word.is_over:
            # Its final batch may still be under way. Ray's FAILED can be false, but not its word that it did as we
            # asked; and a run that never began has nothing to say.
            has_stopped = word.status == "STOPPED" and self._over_for_s(attempt) >= FINAL_BATCH_GRACE_S
            if attempt.heartbeat_at is None or has_stopped or self._is_lost(attempt, word):
                await self._lose(job, attempt, word)
            return
        # A run that has not begun has nothing to save.
        if attempt.heartbeat_at is None or self._waited_for_stop_s(job) >= self._settings.cancel_grace_s:
            await self._cluster.stop(attempt.submission_id)

    def _waited_for_stop_s(self, job: Job) -> float:
        return (self._clock() - job.stop_requested_at).total_seconds() if job.stop_requested_at is not None else 0.0

    async def _lose(
        self, job: Job, attempt: Attempt, word: ClusterJob | None, said: str = "the cluster does not know it"
    ) -> None:
        """End an attempt whose run is gone, unless it has spoken in the meantime."""
        output = Excerpt()
        with suppress(ClusterError):
            # Logs are best effort: they may be gone with the node.
            output = await self._cluster.logs(attempt.submission_id) if word is not None else output
        said = word.message if word is not None else said
        error = ErrorReport(
            code=LostRunError.code,
            message=f"the run ended without a last word; Ray says: {said or (word.status if word else '')}",
            details={
                "submission_id": attempt.submission_id,
                "cluster_status": word.status if word is not None else None,
                "cluster_message": said,
                "last_lines": list(output.last_lines(_LAST_LINES)),
            },
            retryable=LostRunError.retryable,
        )
        now = self._clock()
        undelivered = await asyncio.to_thread(salvage.read, self._storage, attempt)
        async with self._writing() as session:
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
            end = await recording.store_undelivered(session, current, latest, undelivered, now=now)
            if end is None:
                await attempts.end(session, attempt.id, "lost", error, now)
                steps = after_loss(current.state, error, jobs.budgets(current), resumes_itself=current.resumes_itself)
                for step in steps:
                    await jobs.move(session, current, step, now=now, attempt=attempt.number)
        # Only now that it is committed: what is rolled back happens again, and would be counted twice.
        self._metrics.attempts_ended.labels(end or "lost").inc()
        if end is None:
            log.warning("run_lost", job_id=job.id, submission_id=attempt.submission_id, became=steps[-1].to)
        else:
            log.info("last_word_salvaged", job_id=job.id, submission_id=attempt.submission_id)
        self._wake.set()

    async def _forget(self) -> None:
        # As a step like those of runs: a run that Ray does not answer about must not hold up the tick.
        await self._side_by_side.each({"forgetting": self._forgetting}, Forgetting.step)

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
