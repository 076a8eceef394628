"""Starts queued jobs, preempts runs for urgent jobs, asks for nodes, and records why the other jobs wait.

`service.jobs.scheduling` decides; this step carries the decision out.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial

from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import ClusterError
from fgd_core.spec.control_events import PauseRequested
from service import links
from service.dispatcher.capacity import CapacityMemory
from service.dispatcher.context import Context
from service.dispatcher.growing import GrowCluster
from service.dispatcher.leasing import lease
from service.dispatcher.submitting import span_attributes, submit
from service.jobs import scheduling
from service.jobs.lifecycle import Reason
from service.jobs.outcome import Step
from service.store import attempts, jobs, projects, queue
from service.store.tables import Attempt, Job

MAX_STARTS = 32
"""In one tick."""
MAX_EXPLAINED = 100
"""Waiting jobs whose reason is stored in one tick; GET /v1/queue computes the reasons of all of them."""
_CLUSTER_AWAY = "waits for the Ray cluster, which cannot be reached"


class StartJobs:
    """Starts the queued jobs that fit the free resources.

    Args:
        is_placed: True for the id of an attempt that Ray was seen to run.
    """

    def __init__(self, context: Context, capacity: CapacityMemory, is_placed: Callable[[str], bool]) -> None:
        self._context = context
        self._capacity = capacity
        self._is_placed = is_placed
        self._growing = GrowCluster(context)
        self._run_page = partial(links.run_page, context.settings.lasting_url)
        self._leasing = asyncio.Lock()
        """Leases are taken one after the other, because the database serialises them; submissions run concurrently."""

    async def run(self) -> None:
        """Raises as `FanOut.each`."""
        context = self._context
        async with context.database.reading() as session:
            queued = await queue.startable(session, context.clock(), max_alike=MAX_EXPLAINED)
        if not queued:
            await self._growing.ask((), ())
            return
        try:
            capacity = await self._capacity.fresh()
        except ClusterError:
            await self._explain({job.job_id: _CLUSTER_AWAY for job in queued[:MAX_EXPLAINED]})
            raise
        async with context.database.reading() as session:
            active = await attempts.active(session)
            limits = await projects.limits(session)
        choice = scheduling.choose(
            queued,
            active=[queue.active_of(job, attempt, is_placed=self._is_placed(attempt.id)) for job, attempt in active],
            capacity=capacity,
            limits=limits,
            max_waits=MAX_EXPLAINED,
        )
        # The rest of a burst starts in the next ticks, which follow at once; each of them handles cancels first.
        now_due, later = choice.start[:MAX_STARTS], choice.start[MAX_STARTS:]
        if later:
            context.wake.set()
        await context.fan_out.each({f"start of {job_id}": job_id for job_id in now_due}, self._start)
        await context.fan_out.each({f"pause of {each[0]}": each for each in choice.pause.items()}, self._preempt)
        await self._explain({job_id: wait.message for job_id, wait in list(choice.wait.items())[:MAX_EXPLAINED]})
        await self._growing.ask(capacity.nodes, choice.new_nodes)

    async def _start(self, job_id: str) -> None:
        context = self._context
        # One transaction for each start: the job may have changed since it was read, and a job that cannot start any
        # more must not delay the others.
        async with self._leasing, context.leadership.writing() as session:
            # Read here and not earlier: the wait for the lock is not part of this start.
            leasing_at = context.clock()
            leased = await lease(session, job_id, context.mint, self._run_page, leasing_at)
        if leased is not None:
            context.metrics.leased(leased[0].queued_at, leasing_at)
            self._trace_lease(*leased, leasing_at)
            await submit(context, *leased)
            context.metrics.dispatch.labels("submitted").observe((context.clock() - leasing_at).total_seconds())

    def _trace_lease(self, job: Job, attempt: Attempt, leasing_at: datetime) -> None:
        if job.traceparent is None:
            return
        attributes = span_attributes(job, attempt)
        record = partial(self._context.tracing.record, parent=job.traceparent, attributes=attributes)
        if job.queued_at is not None:
            record("wait in the queue", job.queued_at, leasing_at)
        record("lease", leasing_at, self._context.clock())

    async def _preempt(self, each: tuple[str, str]) -> None:
        job_id, urgent_id = each
        async with self._context.leadership.writing() as session:
            await preempt(session, job_id, urgent_id, self._context.clock())

    async def _explain(self, messages: Mapping[str, str]) -> None:
        """Store why jobs wait, for the jobs whose reason changed."""
        async with self._context.database.reading() as session:
            stored = await queue.wait_reasons(session, list(messages))
        changed: dict[str, list[str]] = {}
        for job_id, message in messages.items():
            if stored.get(job_id, message) != message:
                changed.setdefault(message, []).append(job_id)
        if changed:
            async with self._context.leadership.writing() as session:
                for message, job_ids in changed.items():
                    await jobs.explain(session, job_ids, "queued", message)


async def preempt(session: AsyncSession, job_id: str, urgent_id: str, now: datetime) -> None:
    """Ask a run to pause for a job of higher priority; its job is queued again once the run has stopped."""
    job = await jobs.get(session, job_id, lock=True)
    if job.state != "running" or not job.preemptible:
        return
    step = Step(to="pausing", reason=Reason.PREEMPTED, message=f"makes room for {urgent_id}")
    request = PauseRequested(for_job=urgent_id)
    await jobs.move(session, job, step, now=now, extra=[request], columns={Job.resumes_itself: True})
