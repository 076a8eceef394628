"""An unreachable, killed, restarted, locked or overloaded PostgreSQL gives 503 with Retry-After, never 500."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from control_plane import ControlPlane, ManualClock, train_spec
from memory_cluster import MemoryCluster
from sqlalchemy import text

from service.errors import BusyError, DatabaseAwayError, DatabaseRefusedError
from service.metrics import sampling
from service.settings import Settings
from service.settings.groups import DatabaseSettings
from service.store import migrate
from service.store.engines import Limits
from service.store.session import Database
from tests import postgres as postgresql

PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def mortal() -> Iterator[postgresql.PostgresServer]:
    """A server that tests may kill."""
    why = postgresql.why_unavailable()
    if why is not None:
        pytest.skip(why)
    with postgresql.running(durable=True) as server:
        migrate.upgrade(server.create("fgd"))
        yield server


async def test_requests_get_retry_after_while_it_is_unreachable(
    mortal: postgresql.PostgresServer, tmp_path: Path, cluster: MemoryCluster, clock: ManualClock
) -> None:
    plane = ControlPlane(Settings(home=tmp_path, database=DatabaseSettings(url=mortal.url("fgd"))), cluster, clock)
    job_id, run = await plane.started_job()
    mortal.kill()
    try:
        await plane.dispatcher.run_once()  # Logs, and does not raise.
        answers = [
            await plane.http.post("/v1/jobs", json=train_spec()),
            await plane.http.get(f"/v1/jobs/{job_id}"),
            await plane.http.get("/v1/jobs"),
            await run.post(run.batch({"kind": "log", "message": "lost?"})),
        ]
        assert [answer.status_code for answer in answers] == [503] * 4, [answer.text for answer in answers]
        assert {answer.json()["code"] for answer in answers} == {"database_away"}
        assert {answer.headers["Retry-After"] for answer in answers} == {"2"}
        assert {answer.headers["Content-Type"] for answer in answers} == {PROBLEM}
        assert (await plane.http.get("/readyz")).json()["database"] == "unreachable"
        assert (await plane.http.get("/livez")).status_code == 200
    finally:
        mortal.start()
    assert await plane.state(job_id) == "running"
    await plane.tick()
    await plane.submit(train_spec())
    await plane.close()


async def test_a_scrape_answers_while_all_connections_are_in_use(
    mortal: postgresql.PostgresServer,
    tmp_path: Path,
    cluster: MemoryCluster,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sampling, "_PATIENCE_S", 0.2)
    settings = Settings(home=tmp_path, database=DatabaseSettings(url=mortal.url("fgd"), pool_size=2))
    plane = ControlPlane(settings, cluster, clock)
    reading = plane.services.database.reading
    async with reading() as one, reading() as another:
        for holder in (one, another):
            await holder.execute(text("SELECT 1"))
        async with asyncio.timeout(5):
            answer = await plane.http.get("/metrics")
    assert answer.status_code == 200
    assert "fgd_database_up 0.0" in answer.text
    await plane.close()


async def test_a_transaction_interrupted_by_its_death_stores_nothing(mortal: postgresql.PostgresServer) -> None:
    database = Database(mortal.url("fgd"))
    mortal.execute("CREATE TABLE words (word text)", "fgd")
    with pytest.raises(DatabaseAwayError):
        async with database.writing() as session:
            await session.execute(text("INSERT INTO words VALUES ('half')"))
            mortal.kill()
            mortal.start()
            await session.execute(text("INSERT INTO words VALUES ('whole')"))
    async with database.reading() as session:
        assert await session.scalar(text("SELECT count(*) FROM words")) == 0
    await database.close()


async def test_a_starting_server_waits_for_it_and_reports_it_once(mortal: postgresql.PostgresServer) -> None:
    mortal.stop()
    reported: list[str] = []
    waiting = asyncio.create_task(migrate.upgrade_when_reachable(mortal.url("fgd"), reported.append))
    try:
        while not reported:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert not waiting.done()
        assert reported[0].startswith("waiting for the database")
    finally:
        mortal.start()
    await asyncio.wait_for(waiting, timeout=120)
    assert len(reported) == 1


class TestContention:
    async def test_a_locked_row_is_busy(self, postgres_url: str) -> None:
        patient, hurried = Database(postgres_url), Database(postgres_url, Limits(lock_s=0.1))
        async with patient.writing() as session:
            await session.execute(text("CREATE TABLE words AS SELECT 'one' AS word"))
        async with patient.writing() as holder:
            await holder.execute(text("SELECT * FROM words FOR UPDATE"))
            with pytest.raises(BusyError, match="try again"):
                async with hurried.writing() as session:
                    await session.execute(text("SELECT * FROM words FOR UPDATE"))
        await patient.close()
        await hurried.close()

    async def test_a_statement_that_exceeds_its_timeout_is_busy(self, postgres_url: str) -> None:
        database = Database(postgres_url, Limits(statement_s=0.1))
        with pytest.raises(BusyError):
            async with database.reading() as session:
                await session.execute(text("SELECT pg_sleep(10)"))
        await database.close()

    async def test_an_exhausted_pool_is_busy(self, postgres_url: str) -> None:
        database = Database(postgres_url, Limits(pool_size=1, free_connection_s=0.1))
        async with database.reading() as first:
            await first.execute(text("SELECT 1"))
            with pytest.raises(BusyError, match="connections"):
                async with database.reading() as second:
                    await second.execute(text("SELECT 1"))
        await database.close()

    async def test_one_of_two_deadlocked_transactions_is_busy(self, postgres_url: str) -> None:
        database = Database(postgres_url)
        async with database.writing() as session:
            await session.execute(text("CREATE TABLE words AS SELECT * FROM (VALUES ('a'), ('b')) AS v (word)"))
        both = asyncio.Barrier(2)

        async def lock(*words: str) -> None:
            async with database.writing() as session:
                for word in words:
                    await session.execute(text("SELECT * FROM words WHERE word = :word FOR UPDATE"), {"word": word})
                    if word == words[0]:
                        await both.wait()

        outcomes = await asyncio.gather(lock("a", "b"), lock("b", "a"), return_exceptions=True)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["BusyError", "NoneType"]
        await database.close()

    async def test_a_cancelled_request_is_no_database_error(self, postgres_url: str) -> None:
        database = Database(postgres_url)

        async def sleep() -> None:
            async with database.reading() as session:
                await session.execute(text("SELECT pg_sleep(10)"))

        sleeping = asyncio.create_task(sleep())
        await asyncio.sleep(0.2)
        sleeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeping
        async with database.reading() as session:
            assert await session.scalar(text("SELECT 1")) == 1
        await database.close()


async def test_a_missing_database_fails_at_once(postgres: postgresql.PostgresServer) -> None:
    with pytest.raises(DatabaseRefusedError, match="does not exist"):
        await migrate.upgrade_when_reachable(postgres.url("nowhere"), print)
