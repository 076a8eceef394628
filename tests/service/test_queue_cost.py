"""What the queue and the lists read does not depend on how many jobs are stored."""

import itertools
import secrets
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from control_plane import ControlPlane, train_spec
from sqlalchemy import Engine, Executable, event, func, insert, select

from service.api.event_sources import AllEvents, JobEvents
from service.store import all_events, bounded_lists, job_counts, queue, retention, seed_groups
from service.store.tables import Event, Job, columns

pytestmark = pytest.mark.every_database


async def submit_alike(plane: ControlPlane, project: str, number: int) -> list[str]:
    return [await plane.submit(train_spec(project=project)) for _ in range(number)]


class TestStartable:
    async def test_the_oldest_of_each_group_of_alike_jobs_are_read(self, plane: ControlPlane) -> None:
        ours, theirs = await submit_alike(plane, "ours", 3), await submit_alike(plane, "theirs", 1)
        urgent = await plane.submit(train_spec(project="ours", priority=5))
        async with plane.services.database.reading() as session:
            found = await queue.startable(session, plane.clock(), max_alike=2)
        assert [job.job_id for job in found] == [*ours[:2], *theirs, urgent]

    async def test_an_empty_queue_has_none(self, plane: ControlPlane) -> None:
        async with plane.services.database.reading() as session:
            assert await queue.startable(session, plane.clock(), max_alike=2) == []


class TestWaiting:
    async def test_each_tick_executes_the_same_statements_and_builds_none(self, plane: ControlPlane) -> None:
        await plane.started_job()
        for _ in range(2):
            await plane.submit(train_spec(resources={"cpus": 2}))
            await plane.tick()
        assert await executed(plane.tick) == await executed(plane.tick)

    async def test_a_stream_without_new_events_executes_one_statement_a_look(self, plane: ControlPlane) -> None:
        job_id, database = await plane.submit(train_spec()), plane.services.database
        for source in (JobEvents(database, job_id), AllEvents(database)):
            end = (await source.start()).end
            looks = [await executed(partial(source.batch_after, end)) for _ in range(2)]
            assert (looks[0], len(looks[0])) == (looks[1], 1)


async def executed(call: Callable[[], Awaitable[object]]) -> list[Executable]:
    """Return the statements of a call. They are equal if they are the same object, which was built once."""
    found: list[Executable] = []

    def on_execute(_: object, statement: Executable, *more: object) -> None:
        found.append(statement)

    event.listen(Engine, "before_execute", on_execute)
    await call()
    event.remove(Engine, "before_execute", on_execute)
    return found


class TestCounts:
    async def test_they_equal_the_stored_jobs_after_moves_and_deletions(self, plane: ControlPlane) -> None:
        await plane.started_job(train_spec(project="ours"))
        gone, *_ = await submit_alike(plane, "theirs", 3)
        await plane.http.post(f"/v1/jobs/{gone}/cancel")
        await assert_counted(plane)
        assert (await plane.http.delete(f"/v1/jobs/{gone}")).status_code == 204
        await assert_counted(plane)

    async def test_each_kind_has_its_own(self, plane: ControlPlane) -> None:
        await plane.started_job()
        await submit_alike(plane, "ours", 2)
        async with plane.services.database.reading() as session:
            counts = await job_counts.by_kind(session)
        assert {key: number for key, number in counts.items() if number} == {
            ("running", "train"): 1,
            ("queued", "train"): 2,
        }

    async def test_they_are_the_same_after_the_shards_are_merged(self, plane: ControlPlane) -> None:
        await submit_alike(plane, "ours", 2)
        await plane.tick()
        async with plane.services.database.writing() as session:
            await job_counts.merge_shards(session)
        await assert_counted(plane)


async def assert_counted(plane: ControlPlane) -> None:
    async with plane.services.database.reading() as session:
        stored = await session.execute(select(Job.project, func.count()).group_by(Job.project))
        assert await job_counts.by_project(session) == dict(iter(stored))
        waiting = select(Job.project, func.count()).where(Job.state == "queued").group_by(Job.project)
        assert await job_counts.by_project(session, states=["queued"]) == dict(iter(await session.execute(waiting)))


@contextmanager
def statements(plane: ControlPlane) -> Iterator[list[tuple[str, Any]]]:
    """Collect the statements that the control plane sends, with their parameters."""
    sent: list[tuple[str, Any]] = []

    def on_execute(_: object, __: object, statement: str, parameters: Any, *more: object) -> None:
        sent.append((statement, parameters))

    engine = plane.services.database._engine.sync_engine
    event.listen(engine, "before_cursor_execute", on_execute)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", on_execute)


async def plans(plane: ControlPlane, path: str) -> list[tuple[str, list[str]]]:
    """Return the statements of a read, each with the steps in which SQLite executes it."""
    with statements(plane) as sent:
        assert (await plane.http.get(path, headers={"Accept": "application/json"})).status_code == 200
    return await explained(plane, sent)


async def explained(plane: ControlPlane, sent: Sequence[tuple[str, Any]]) -> list[tuple[str, list[str]]]:
    if not plane.services.database.has_one_writer:
        pytest.skip("PostgreSQL scans small tables whatever their indices")
    async with plane.services.database.reading() as session:
        connection = await session.connection()
        return [
            (statement, [row[3] for row in await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", given)])
            for statement, given in sent
            if statement.lstrip().startswith(("SELECT", "WITH"))
        ]


class TestPlans:
    @pytest.mark.parametrize(
        "path",
        [
            *("/v1/queue", "/v1/projects", "/v1/projects/ours", "/v1/jobs", "/v1/jobs?project=none"),
            *("/v1/jobs?kind=export", "/v1/jobs?state=failed", "/v1/jobs?created_after=2027-01-01T00:00:00Z"),
            *("/v1/jobs?sort=best_ap", "/v1/jobs?sort=-priority&state=queued", "/v1/jobs?sort=name&q=no-job"),
            *("/v1/jobs?sort=state&created_after=2020-01-01T00:00:00Z", "/v1/jobs?sort=project&kind=train"),
            *("/v1/jobs?q=no-job", "/v1/jobs?state=queued&state=failed", "/v1/jobs?project=ours&kind=train&q=x"),
            "/v1/seed-groups?project=ours",
        ],
    )
    async def test_a_read_scans_no_table_of_jobs(self, plane: ControlPlane, path: str) -> None:
        await submit_alike(plane, "ours", 2)
        found = await plans(plane, path)
        assert any("FROM jobs" in statement for statement, _ in found) or path == "/v1/projects/ours"
        for statement, steps in found:
            # An index in the order of the list is read until the page is full.
            scans = [step for step in steps if step.startswith(("SCAN jobs", "SCAN attempts"))]
            assert [step for step in scans if "INDEX ix_jobs_created_at_id" not in step] == [], statement

    async def test_the_best_jobs_of_a_project_are_read_in_order(self, plane: ControlPlane) -> None:
        await submit_alike(plane, "ours", 2)
        found = await plans(plane, "/v1/jobs?project=ours&sort=-best_ap")
        scored, *_ = [steps for statement, steps in found if "best_ap IS NOT NULL" in statement]
        assert "USING COVERING INDEX ix_jobs_project_best_ap_created_at_id (project=?" in " ".join(scored)
        assert not [step for step in scored if step == "SCAN jobs" or "SEARCH jobs USING INDEX" in step]

    async def test_a_page_of_events_ends_where_it_examines_no_more(
        self, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(all_events, "EXAMINED", 1)
        await submit_alike(plane, "ours", 2)
        for path in ("/v1/events?after=0&kind=none", "/v1/events?after=0&project=none"):
            *_, (_, steps) = await plans(plane, path)
            assert "(transaction_id,job_id,sequence)<(?,?,?)" in steps[0]


async def instructions(plane: ControlPlane, path: str) -> int:
    """Return how many instructions SQLite's machine executes for a read, in hundreds. Load does not change them."""
    with statements(plane) as sent:
        assert (await plane.http.get(path, headers={"Accept": "application/json"})).status_code == 200
    number = itertools.count()
    database = sqlite3.connect(plane.services.settings.home / "fgd.db")
    database.set_progress_handler(lambda: next(number) and None, 100)
    for statement, given in sent:
        if statement.lstrip().startswith(("SELECT", "WITH")):
            database.execute(statement, given).fetchall()
    database.close()
    return next(number)


async def multiply(plane: ControlPlane, times: int) -> None:
    """Store copies of all jobs and of their events."""
    async with plane.services.database.writing() as session:
        jobs, events = list(await session.scalars(select(Job))), list(await session.scalars(select(Event)))
        for _ in range(times):
            ids = {job.id: secrets.token_hex(6) for job in jobs}
            await session.execute(insert(Job), [columns(job) | {"id": ids[job.id]} for job in jobs])
            await session.execute(insert(Event), [columns(each) | {"job_id": ids[each.job_id]} for each in events])


class TestInstructions:
    async def test_they_do_not_grow_with_the_stored_jobs(
        self, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not plane.services.database.has_one_writer:
            pytest.skip("only SQLite counts its instructions")
        for module in (all_events, bounded_lists):
            monkeypatch.setattr(module, "EXAMINED", 10)
        for name in ("MAX_JOBS", "_EXAMINED"):
            monkeypatch.setattr(seed_groups, name, 10)
        for project in ("ours", "theirs"):
            await submit_alike(plane, project, 10)
        await multiply(plane, 10)  # More of each kind than the dispatcher considers.
        lists = ["/v1/queue?limit=5", "/v1/projects", "/v1/seed-groups", "/v1/events?after=0&kind=none"]
        lists += ["/v1/events?after=0&project=none", "/v1/audit?target=none"]
        queries = [
            "",
            "project=ours",
            "project=none",
            "kind=train",
            "kind=export",
            "kind=export&state=queued",
            "q=none",
        ]
        queries += ["q=no", "state=failed", "created_before=2020-01-01T00:00:00Z"]
        lists += [
            f"/v1/jobs?limit=5&{query}&sort={sort}" for query in queries for sort in ("-created", "name", "-best_ap")
        ]
        before = {path: await instructions(plane, path) for path in lists}
        await multiply(plane, 2)
        grown = {path: (number, await instructions(plane, path)) for path, number in before.items()}
        assert {path: numbers for path, numbers in grown.items() if numbers[1] > 1.2 * numbers[0] + 5} == {}


class TestPreview:
    async def test_a_dry_run_sends_no_more_statements_for_more_ended_jobs(self, plane: ControlPlane) -> None:
        numbers = []
        for _ in range(2):
            for job_id in await submit_alike(plane, "ours", 3):
                await plane.http.post(f"/v1/jobs/{job_id}/cancel")
            plane.clock.forward(400 * 86400)
            with statements(plane) as sent:
                assert (await plane.services.housekeeping.preview()).is_complete
            numbers.append(len(sent))
        assert numbers[0] == numbers[1]

    async def test_a_page_of_jobs_has_only_its_own_points_and_events_read(self, plane: ControlPlane) -> None:
        page = [secrets.token_hex(6) for _ in range(1000)]  # For few jobs, SQLite finds a good plan by itself.
        with statements(plane) as sent:
            async with plane.services.database.reading() as session:
                await retention.long_curves(session, page, 2000)
                await retention.progress_rows(session, page)
                await retention.last_received(session, page)
        for statement, steps in await explained(plane, sent):
            assert [step for step in steps if step.startswith("SCAN ")] in ([], ["SCAN CONSTANT ROW"]), statement[:200]
