"""Concurrent writers share commits, or a database, and do not disturb each other."""

import asyncio
from typing import Any

import pytest
from control_plane import ControlPlane, Run, progress, train_spec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import ConflictError
from fgd_core.spec.control_events import CancelRequested
from fgd_core.spec.results import ErrorReport
from service.clock import utc_now
from service.jobs.cluster import Capacity, Node
from service.jobs.outcome import after_loss
from service.store import attempts, events, jobs
from service.store.session import Database
from service.store.tables import Event, MetricPoint

pytestmark = pytest.mark.every_database

NUM_RUNS = 6


def logged(step: int) -> dict[str, Any]:
    return {"kind": "metrics_logged", "steps": [step], "values": {"loss": [1.0], "task/box": [2.0]}}


async def count(plane: ControlPlane, table: type[Event | MetricPoint]) -> int:
    async with plane.services.database.reading() as session:
        return await session.scalar(select(func.count()).select_from(table)) or 0


@pytest.fixture
async def runs(plane: ControlPlane) -> list[Run]:
    plane.cluster.largest = Capacity((Node(node_id="here", cpus_total=99, cpus_free=99),))
    return [(await plane.started_job())[1] for _ in range(NUM_RUNS)]


class TestManyWriters:
    async def test_acknowledged_events_are_stored_once_and_in_order(self, plane: ControlPlane, runs: list[Run]) -> None:
        before = await count(plane, Event)

        async def report(run: Run) -> None:
            for step in range(15):
                await run.reports(progress(step), logged(step))

        await asyncio.gather(*(report(run) for run in runs))
        assert await count(plane, Event) == before + NUM_RUNS * 15
        # Points of each step: two loss terms, the learning rate and the images per second.
        assert await count(plane, MetricPoint) == NUM_RUNS * 15 * 4
        for run in runs:
            stored = await plane.events(run.attempt_id.partition("-")[0])
            assert [event.sequence for event in stored] == list(range(1, len(stored) + 1))
            assert [event.data["step"] for event in stored if event.kind == "progress"] == list(range(15))

    async def test_a_batch_sent_twice_at_once_is_stored_once(self, plane: ControlPlane, runs: list[Run]) -> None:
        before = await count(plane, Event)
        batch = runs[0].batch(progress(1), progress(2))
        answers = await asyncio.gather(*(runs[0].post(batch) for _ in range(8)))
        assert {answer.json()["acknowledged"] for answer in answers} == {3}
        assert await count(plane, Event) == before + 2

    async def test_a_rejected_batch_does_not_fail_the_others(self, plane: ControlPlane, runs: list[Run]) -> None:
        gap = runs[0].batch(progress(1))
        gap["events"][0]["sequence"] = 99
        stranger = Run(plane, runs[1].submission_id)
        stranger.headers = {"Authorization": "Bearer wrong"}
        answers = await asyncio.gather(
            runs[0].post(gap), stranger.post({}), *(run.post(run.batch(progress(1))) for run in runs[2:])
        )
        assert [answer.status_code for answer in answers] == [422, 401, *[200] * (NUM_RUNS - 2)]

    async def test_transaction_numbers_increase(self, plane: ControlPlane) -> None:
        job_ids = [await plane.submit(train_spec()) for _ in range(3)]
        async with plane.services.database.writing() as session:
            for job_id in job_ids:
                await events.append(session, job_id, None, [(utc_now(), CancelRequested())] * 2)
        async with plane.services.database.reading() as session:
            rows = (await session.execute(select(Event.job_id, Event.sequence, Event.transaction_id))).all()
        submitted = [number for job_id, sequence, number in rows if sequence == 1]
        together = {number for _, sequence, number in rows if sequence > 1}
        assert len(set(submitted)) == 3
        assert len(together) == 1 and together.pop() > max(submitted)


class TestFencing:
    async def test_a_batch_that_races_with_the_end_of_its_attempt_stores_nothing(
        self, plane: ControlPlane, runs: list[Run]
    ) -> None:
        run = runs[0]
        job_id = run.attempt_id.partition("-")[0]
        error = ErrorReport(code="lost_run", message="gone", retryable=True)
        async with plane.services.database.writing() as session:
            job = await jobs.get(session, job_id, lock=True)
            late = asyncio.create_task(run.post(run.batch(logged(1), progress(1))))
            # By now it has read what it can and waits for the lock on the job.
            assert not (await asyncio.wait([late], timeout=0.3))[0]
            await attempts.end(session, run.attempt_id, "lost", error, utc_now())
            attempt = await attempts.find(session, run.attempt_id)
            assert attempt is not None
            for step in after_loss(job.state, error, jobs.budgets(job, attempt), resumes_itself=False):
                await jobs.move(session, job, step, now=utc_now(), attempt=1)
        answer = await late
        assert (answer.status_code, answer.json()["code"]) == (409, "stale_attempt")
        assert await count(plane, MetricPoint) == 0
        assert "progress" not in [event.kind for event in await plane.events(job_id)]


class TestSharedTransaction:
    async def test_results_and_wake_ups_come_after_the_commit(self, plane: ControlPlane) -> None:
        job_id = await plane.submit(train_spec())
        database: Database = plane.services.database

        async def append(session: AsyncSession) -> int:
            return await events.append(session, job_id, None, [(utc_now(), CancelRequested())])

        with database.notifier.subscribe(job_id) as woken:
            sequence = await database.write_together(append)
            assert woken.is_set()
        elsewhere = Database(plane.settings.database.url)
        async with elsewhere.reading() as session:
            assert [event.sequence for event in await events.after(session, job_id, 0, limit=9)] == [1, sequence]
        await elsewhere.close()

    async def test_failed_work_stores_nothing(self, plane: ControlPlane) -> None:
        job_id = await plane.submit(train_spec())
        database: Database = plane.services.database

        async def breaks(session: AsyncSession) -> None:
            await events.append(session, job_id, None, [(utc_now(), CancelRequested())])
            raise ConflictError("no")

        async def appends(session: AsyncSession) -> None:
            await events.append(session, job_id, None, [(utc_now(), CancelRequested())])

        results = await asyncio.gather(
            *(database.write_together(work) for work in (appends, breaks, appends)), return_exceptions=True
        )
        assert [type(result) for result in results] == [type(None), ConflictError, type(None)]
        assert [event.sequence for event in await plane.events(job_id)] == [1, 2, 3]
