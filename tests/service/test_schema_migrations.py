import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.ext.asyncio import create_async_engine

import migrations
from migrations.rebuilding import altering
from service.errors import SchemaTooNewError
from service.store import migrate
from tests.tiers import slow

pytestmark = pytest.mark.every_database


def tables(url: str) -> set[str]:
    async def names() -> set[str]:
        engine = create_async_engine(url)
        async with engine.connect() as connection:
            found = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
        await engine.dispose()
        return set(found)

    return asyncio.run(names())


def run(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Execute all statements in one transaction; returns the rows of the last one."""

    async def execute() -> list[tuple[Any, ...]]:
        engine = create_async_engine(url)
        async with engine.begin() as connection:
            for statement in statements:
                result = await connection.execute(text(statement))
            rows = [tuple(row) for row in result] if result.returns_rows else []
        await engine.dispose()
        return rows

    return asyncio.run(execute())


def contents(url: str) -> dict[str, list[tuple[Any, ...]]]:
    return {name: sorted(run(url, f"SELECT * FROM {name}"), key=str) for name in tables(url)}


def test_migrations_match_the_tables_and_can_be_reverted(empty_url: str) -> None:
    migrate.upgrade(empty_url)
    migrate.check(empty_url)
    migrate.downgrade(empty_url, "base")
    assert tables(empty_url) == {"alembic_version"}
    migrate.upgrade(empty_url)
    migrate.check(empty_url)


def test_upgrading_a_current_database_changes_nothing(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/fgd.db"
    migrate.upgrade(url)
    with sqlite3.connect(tmp_path / "fgd.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = (tmp_path / "fgd.db").read_bytes()
    migrate.upgrade(url)
    assert (tmp_path / "fgd.db").read_bytes() == before


@pytest.mark.parametrize("floor", ["UPDATE schema_floor SET revision = '9998'", "DROP TABLE schema_floor"])
def test_a_newer_schema_is_rejected_and_not_changed(empty_url: str, floor: str) -> None:
    migrate.upgrade(empty_url)
    run(empty_url, "UPDATE alembic_version SET version_num = '9999'", floor)
    with pytest.raises(SchemaTooNewError, match=r"'9999'.*newer"):
        migrate.upgrade(empty_url)
    assert "jobs" in tables(empty_url)


def test_an_older_version_starts_on_a_newer_schema_that_only_added(empty_url: str) -> None:
    migrate.upgrade(empty_url)
    run(empty_url, "UPDATE alembic_version SET version_num = '9999'")
    migrate.upgrade(empty_url)
    assert run(empty_url, "SELECT version_num FROM alembic_version") == [("9999",)]


NOW = "'2026-01-01 12:00:00+00:00'"
JOB = (
    "INSERT INTO jobs (id, name, kind, spec, spec_version, cpus, gpus, idempotency_key, spec_sha256, state, message, "
    "created_at, cancel_requested_at, current_attempt_id, retries, progress, last_sequence) VALUES "
)
OLD_ROWS = (
    JOB
    + f"""('j1', 'one', 'train', '{{"kind": "train"}}', 1, 2, 1, 'key', 's', 'cancelling', '', {NOW}, {NOW}, 'a1', 2,
    '{{}}', 2)""",
    JOB + f"""('j2', 'two', 'train', '{{}}', 1, 1, 0, NULL, 's', 'running', '', {NOW}, NULL, NULL, 0, '{{}}', 0)""",
    f"""INSERT INTO attempts (id, job_id, number, token_sha256, submission_id, created_at)
    VALUES ('a1', 'j1', 1, 't', 's1', {NOW})""",
    f"""INSERT INTO events (job_id, sequence, at, attempt, kind, data)
    VALUES ('j1', 1, {NOW}, NULL, 'submitted', '{{"kind": "submitted"}}'), ('j1', 2, {NOW}, 1, 'log', '{{}}')""",
    "INSERT INTO attempt_streams (attempt_id, stream, last_sequence) VALUES ('a1', 'run', 7)",
    """INSERT INTO metric_points (job_id, trial, name, step, value)
    VALUES ('j1', '', 'loss', 1, 0.5), ('j1', '', 'loss', 2, 0.25), ('j1', 't1', 'loss', 1, 9), ('j2', '', 'ap', 1, 0)
    """,
)
OLD_POINTS = [
    ("j1", "", "loss", 1, 0.5),
    ("j1", "", "loss", 2, 0.25),
    ("j1", "t1", "loss", 1, 9.0),
    ("j2", "", "ap", 1, 0.0),
]


@pytest.fixture
def old_url(empty_url: str) -> str:
    """A database of the first version with rows in each table."""
    migrate.upgrade(empty_url, "0001")
    run(empty_url, *OLD_ROWS)
    return empty_url


class TestWithRows:
    def test_upgrading_keeps_all_rows(self, old_url: str) -> None:
        migrate.upgrade(old_url)
        migrate.check(old_url)
        assert run(old_url, "SELECT id, project, failures, losses, version, priority FROM jobs ORDER BY id") == [
            ("j1", "default", 2, 0, 1, 0),
            ("j2", "default", 0, 0, 1, 0),
        ]
        assert run(old_url, "SELECT id FROM jobs WHERE stop_requested_at IS NOT NULL") == [("j1",)]
        assert run(old_url, "SELECT job_id, sequence, kind, transaction_id FROM events ORDER BY sequence") == [
            ("j1", 1, "submitted", 0),
            ("j1", 2, "log", 0),
        ]
        assert run(old_url, "SELECT last_sequence FROM attempt_streams") == [(7,)]
        points = """SELECT s.job_id, s.trial, s.name, p.step, p.value FROM metric_points p
        JOIN metric_series s ON s.id = p.series_id ORDER BY 1, 2, 3, 4"""
        assert run(old_url, points) == OLD_POINTS

    def test_downgrading_keeps_all_rows(self, old_url: str) -> None:
        before = contents(old_url)
        columns = "SELECT id, state, retries, cancel_requested_at, idempotency_key FROM jobs ORDER BY id"
        jobs_before = run(old_url, columns)
        migrate.upgrade(old_url)
        migrate.downgrade(old_url, "0001")
        after = contents(old_url)
        assert after.keys() == before.keys()
        # In the other tables, the order of the columns may have changed.
        assert run(old_url, columns) == jobs_before
        assert after["metric_points"] == before["metric_points"] == OLD_POINTS
        assert {name: len(rows) for name, rows in after.items()} == {name: len(rows) for name, rows in before.items()}

    def test_downgrading_converts_states_and_keys_unknown_to_the_first_version(self, old_url: str) -> None:
        migrate.upgrade(old_url)
        run(
            old_url,
            "UPDATE jobs SET state = 'paused' WHERE id = 'j1'",
            "UPDATE jobs SET state = 'pausing', project = 'other', idempotency_key = 'key' WHERE id = 'j2'",
        )
        migrate.downgrade(old_url, "0001")
        kept = run(old_url, "SELECT id, state, idempotency_key FROM jobs ORDER BY id")
        assert kept == [("j1", "queued", "key"), ("j2", "running", None)]


UPGRADE = "import sys; from service.store import migrate; migrate.upgrade(sys.argv[1])"


class TestRebuiltJobs:
    def test_altering_the_table_keeps_them(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/fgd.db"
        migrate.upgrade(url)
        engine = create_engine(url)
        with engine.begin() as connection:
            kept = text("SELECT type, name FROM sqlite_master WHERE tbl_name = 'jobs' AND sql > '' ORDER BY 2")
            before = connection.execute(kept).all()
            with Operations.context(MigrationContext.configure(connection)), altering("jobs") as batch:
                batch.alter_column("message", new_column_name="text")
            assert connection.execute(kept).all() == before
        engine.dispose()
        triggers = {name.rpartition("_")[0] for kind, name in before if kind == "trigger"}
        assert triggers == {"job_counts", "job_kind_counts", "job_search"}
        assert ("index", "ix_jobs_lower_name_created_at_id") in before

    def test_every_later_migration_keeps_them(self) -> None:
        folder = Path(migrations.__path__[0]) / "versions"
        later = [path for path in folder.glob("0*.py") if path.name > "0011"]
        assert [path.name for path in later if 'batch_alter_table("jobs"' in path.read_text()] == []


class TestConcurrentServers:
    def processes_upgrade(self, url: str) -> None:
        starting = [
            subprocess.Popen([sys.executable, "-c", UPGRADE, url], stderr=subprocess.PIPE, text=True) for _ in range(3)
        ]
        for process in starting:
            _, stderr = process.communicate(timeout=240)
            assert process.returncode == 0, stderr

    @slow("tests/service/test_schema_migrations.py::TestConcurrentServers::test_all_start_on_a_database_of")
    def test_all_start_on_an_empty_database(self, empty_url: str) -> None:
        self.processes_upgrade(empty_url)
        migrate.check(empty_url)

    def test_all_start_on_a_database_of_the_first_version_without_duplicates(self, old_url: str) -> None:
        self.processes_upgrade(old_url)
        migrate.check(old_url)
        assert run(old_url, "SELECT count(*) FROM metric_points") == [(len(OLD_POINTS),)]


class TestRunningServers:
    @pytest.mark.parametrize("empty_url", ["postgresql"], indirect=True)
    async def test_a_migration_that_waits_for_a_backup_blocks_no_one_else(self, empty_url: str) -> None:
        await asyncio.to_thread(migrate.upgrade, empty_url, "0003")
        engine = create_async_engine(empty_url)
        async with engine.connect() as backup, engine.connect() as server:
            await backup.execute(text("SELECT count(*) FROM jobs"))
            gave_way = asyncio.Event()
            migrating = asyncio.create_task(migrate.upgrade_when_reachable(empty_url, lambda _: gave_way.set()))
            await asyncio.wait_for(gave_way.wait(), timeout=120)
            await asyncio.wait_for(server.execute(text("SELECT count(*) FROM jobs")), timeout=120)
            await server.rollback()
            assert not migrating.done()
            await backup.rollback()
            assert await asyncio.wait_for(migrating, timeout=120) == ("0003", migrate.head_revision())
        await engine.dispose()
        await asyncio.to_thread(migrate.check, empty_url)
