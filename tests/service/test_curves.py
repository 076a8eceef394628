"""Curves show the stored points, whatever the order of writes, overwrites and roll-ups."""

import asyncio
import secrets
from typing import Any

import pytest
from control_plane import ControlPlane, Run, logged, progress
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from service.jobs.points import MAX_STEP, Column
from service.store import buckets, curves, jobs, metrics
from service.store.metrics import BUCKET_STEPS
from service.store.tables import MetricBucket, MetricPoint, MetricSeries

# Steps near the ends of buckets, and very large ones.
STEPS = st.integers(0, 9 * BUCKET_STEPS) | st.sampled_from(
    [0, BUCKET_STEPS - 1, BUCKET_STEPS, 2 * BUCKET_STEPS - 1, 2 * BUCKET_STEPS, 10**9, MAX_STEP]
)
# Few values, so that the minimum and the maximum often occur twice.
VALUES = st.integers(-4, 4).map(float)
RUNS_OF_STEPS = st.builds(
    lambda first, num_steps, values: {first + index: values[index % len(values)] for index in range(num_steps)},
    st.integers(0, 3 * BUCKET_STEPS),
    st.integers(1, 3 * BUCKET_STEPS),
    st.lists(VALUES, min_size=1, max_size=5),
)
SPIKES = st.dictionaries(STEPS, VALUES.map(lambda value: 10 * value), min_size=1, max_size=4)
WRITES = st.tuples(st.just("write"), RUNS_OF_STEPS | SPIKES)
ROLL_UPS = st.tuples(st.just("roll up"), st.none())


async def curve(plane: ControlPlane, job_id: str, name: str = "loss", **query: Any) -> list[tuple[int, float]]:
    answer = await plane.http.get(f"/v1/jobs/{job_id}/metrics", params={"name": name, **query})
    assert answer.status_code == 200, answer.text
    return [(point["step"], point["value"]) for point in answer.json()["items"][0]["points"]]


async def series_id(plane: ControlPlane, job_id: str) -> int:
    async with plane.services.database.reading() as session:
        query = select(MetricSeries.id).where(MetricSeries.job_id == job_id, MetricSeries.name == "loss")
        found: int = (await session.scalars(query)).one()
        return found


async def count(plane: ControlPlane, table: type[MetricPoint | MetricBucket]) -> int:
    async with plane.services.database.reading() as session:
        return await session.scalar(select(func.count()).select_from(table)) or 0


async def long_curve(plane: ControlPlane, num_steps: int) -> tuple[str, Run]:
    job_id, run = await plane.started_job()
    # A sawtooth of a length that does not divide a bucket, so that no two buckets are the same.
    await run.reports(logged(range(num_steps), loss=[float(step % 701) for step in range(num_steps)]))
    return job_id, run


class TestConsistency:
    @pytest.fixture
    async def job_id(self, plane: ControlPlane) -> str:
        job_id, _ = await plane.started_job()
        return job_id

    @hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        history=st.lists(WRITES | ROLL_UPS, min_size=1, max_size=10),
        max_points=st.integers(2, 12),
        ends=st.just((0, MAX_STEP)) | st.tuples(STEPS, STEPS),
    )
    async def test_minimum_and_maximum_are_those_of_the_stored_points(
        self,
        plane: ControlPlane,
        job_id: str,
        history: list[tuple[str, dict[int, float] | None]],
        max_points: int,
        ends: tuple[int, int],
    ) -> None:
        database = plane.services.database
        # A new curve for each example, because all examples share the test's database.
        name = secrets.token_hex(8)
        expected: dict[int, float] = {}
        for _, points in history:
            if points is None:
                await buckets.roll_up_all(database)
                continue
            expected |= points
            async with database.writing() as session:
                await jobs.get(session, job_id, lock=True)
                await metrics.record(session, job_id, {name: Column(list(points), list(points.values()))})
        from_step, to_step = sorted(ends)
        wanted = {step: value for step, value in expected.items() if from_step <= step <= to_step}
        async with database.reading() as session:
            found = await curves.read(
                session, job_id, names=[name], from_step=from_step, to_step=to_step, max_points=max_points
            )
        drawn = [(point.step, point.value) for curve in found for point in curve.points]
        points = dict(drawn)
        assert points.items() <= wanted.items()
        assert drawn == sorted(points.items())
        assert len(drawn) <= max_points
        if wanted:
            assert (min(points.values()), max(points.values())) == (min(wanted.values()), max(wanted.values()))
        if len(wanted) <= max_points:
            assert points == wanted

    async def test_a_spike_that_a_resumed_run_overwrites_disappears(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        steps = range(4 * BUCKET_STEPS)
        await run.reports(logged(steps, loss=[1000.0 if step == 1500 else 1.0 for step in steps]))
        await buckets.roll_up_all(plane.services.database)
        await run.reports(logged(range(1400, 1600), loss=[2.0] * 200))
        assert max(value for _, value in await curve(plane, job_id, max_points=4)) == 2.0
        await buckets.roll_up_all(plane.services.database)
        assert max(value for _, value in await curve(plane, job_id, max_points=4)) == 2.0

    async def test_a_point_written_during_the_roll_up_is_visible(self, plane: ControlPlane) -> None:
        job_id, run = await long_curve(plane, 3 * BUCKET_STEPS)
        number = await series_id(plane, job_id)
        async with plane.services.database.writing() as session:
            await buckets.roll_up(session, number)
            spike = asyncio.create_task(run.reports(logged([7], loss=[5000.0])))
            # It must wait for this transaction. The timeout gives it time to do so wrongly.
            assert not (await asyncio.wait([spike], timeout=0.3))[0]
        await spike
        assert max(value for _, value in await curve(plane, job_id, max_points=4)) == 5000.0

    async def test_concurrent_writers_and_roll_ups_lose_no_point(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        await run.reports(logged([10**6], loss=[0.0]))
        number = await series_id(plane, job_id)
        is_over = asyncio.Event()

        async def roll_up() -> None:
            while not is_over.is_set():
                async with plane.services.database.writing() as session:
                    await buckets.roll_up(session, number, max_points=BUCKET_STEPS)
                await asyncio.sleep(0)

        rollers = [asyncio.create_task(roll_up()) for _ in range(2)]
        # Backwards, so that each batch is below the steps that are already rolled up.
        for first in range(20_000, 0, -2000):
            await run.reports(logged(range(first, first + 2000), loss=[float(first)] * 2000))
        is_over.set()
        await asyncio.gather(*rollers)
        await buckets.roll_up_all(plane.services.database)
        drawn = [value for step, value in await curve(plane, job_id, to_step=999_999, max_points=200)]
        assert (min(drawn), max(drawn)) == (2000.0, 20_000.0)
        assert await count(plane, MetricPoint) == 20_001


class TestRange:
    async def test_a_short_range_returns_every_point(self, plane: ControlPlane) -> None:
        job_id, _ = await long_curve(plane, 5000)
        await buckets.roll_up_all(plane.services.database)
        found = await curve(plane, job_id, from_step=1020, to_step=1030, max_points=100)
        assert found == [(step, float(step % 701)) for step in range(1020, 1031)]

    async def test_a_long_curve_is_read_from_its_buckets(self, plane: ControlPlane) -> None:
        job_id, _ = await long_curve(plane, 5000)
        await buckets.roll_up_all(plane.services.database)
        assert await count(plane, MetricBucket) == 5000 // BUCKET_STEPS
        async with plane.services.database.writing() as session:
            # No point has this value: if it appears, it comes from a bucket.
            await session.execute(MetricBucket.__table__.update().values(max_value=9000.0))
        assert 9000.0 in [value for _, value in await curve(plane, job_id, max_points=16)]
        assert 9000.0 not in [value for _, value in await curve(plane, job_id, max_points=1000)]

    async def test_max_points_1_returns_the_newest_point_and_0_none(self, plane: ControlPlane) -> None:
        job_id, _ = await long_curve(plane, 300)
        assert await curve(plane, job_id, max_points=1) == [(299, float(299 % 701))]
        assert await curve(plane, job_id, max_points=0) == []

    async def test_curves_of_an_unknown_job_are_not_found(self, plane: ControlPlane) -> None:
        answer = await plane.http.get("/v1/jobs/nobody/metrics")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


class TestPoints:
    async def test_they_are_stored_as_curves_and_not_as_events(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        before = (await plane.job(job_id))["last_sequence"]
        reply = await run.reports(logged([1, 2, 3], loss=[3.0, None, 1.0]), progress(3, loss=2.0))
        assert reply["acknowledged"] == 3
        events = await plane.events(job_id)
        assert [event.kind for event in events if event.sequence > before] == ["progress"]
        assert await curve(plane, job_id) == [(1, 3.0), (3, 1.0)]

    async def test_the_later_value_of_a_step_counts(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        await run.reports(progress(3, loss=2.0), logged([2, 3, 3], loss=[4.0, 5.0, 6.0]))
        assert await curve(plane, job_id) == [(2, 4.0), (3, 6.0)]

    async def test_values_that_no_curve_can_show_are_dropped(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        odd = logged([-1, 2**60, 5, 6], loss=[1.0, 1.0, float("nan"), 1.0]) | {"note": "x"}
        odd["values"] |= {"": [1.0], "x" * 300: [1.0], "nul\x00 and \ud800": [1.0, 1.0, 7.0], "none": []}
        await run.reports(odd)
        assert await curve(plane, job_id) == [(6, 1.0)]
        page = (await plane.http.get(f"/v1/jobs/{job_id}/metrics")).json()
        assert [item["name"] for item in page["items"]] == ["loss", "nul and ?"]

    async def test_unreadable_points_are_stored_as_an_event(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        await run.reports({"kind": "metrics_logged", "steps": "many"})
        assert (await plane.events(job_id))[-1].data == {"kind": "metrics_logged", "steps": "many"}

    async def test_an_ended_attempt_stores_no_point(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job()
        await run.succeeds()
        answer = await run.post(run.batch(logged([1], loss=[1.0])))
        assert (answer.status_code, answer.json()["code"]) == (409, "stale_attempt")
        assert await count(plane, MetricPoint) == 0
