"""A backup restores everything into either database, and a damaged backup restores nothing."""

import asyncio
import io
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from control_plane import ControlPlane, ManualClock, Run, evaluate_spec, logged, progress, train_spec
from memory_cluster import MemoryCluster
from sqlalchemy import select, text

from fgd_core.errors import ConflictError, NotFoundError
from service.errors import SchemaTooNewError
from service.housekeeping import archive, restore
from service.housekeeping.archive import BackupError, Manifest
from service.housekeeping.backup import backup
from service.settings import Settings
from service.settings.groups import DatabaseSettings, StorageSettings
from service.storage.choosing import storage_of
from service.store import api_tokens, dump, migrate
from service.store.session import Database
from service.store.tables import Base, Event
from tests.postgres import PostgresServer

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def settings(settings: Settings, stored: dict[str, Any]) -> Settings:
    return settings.model_copy(update=stored)


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """An empty home with either database and a folder as storage."""
    home = tmp_path / "restored"
    if request.param == "sqlite":
        yield Settings(home=home)
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    yield Settings(home=home, database=DatabaseSettings(url=server.create("restored")))
    server.drop("restored")


async def busy(plane: ControlPlane) -> tuple[str, str, str, Run]:
    """Create jobs, a token and a file; returns (ended job, job that waits for the third, running job, its run)."""
    done, run = await plane.started_job()
    checkpoint = run.writes("checkpoints/best.pt", b"weights")
    await run.reports(
        *(progress(step) for step in range(1, 200)), logged(range(1, 200), loss=[step / 7 for step in range(1, 200)])
    )
    await run.saves_checkpoint(checkpoint)
    await run.succeeds()
    await plane.tick()
    running, under_way = await plane.started_job(train_spec(name="late shift"))
    waiting = await plane.submit(evaluate_spec(f"job:{running}/best"))
    async with plane.services.database.writing() as session:
        _, token = api_tokens.new_token(
            name="Zoë", role="admin", project=None, created_by="", expires_at=None, now=plane.clock()
        )
        await api_tokens.insert_token(session, token)
    return done, waiting, running, under_way


async def contents(settings: Settings) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of the tables that a backup contains."""
    database = Database(settings.database.url)
    found = {}
    async with database.reading() as session:
        for table in Base.metadata.sorted_tables:
            columns = [table.c[name] for name in dump.columns(table)]
            if dump.is_dumped(table):
                found[table.name] = [
                    tuple(row) for row in await session.execute(select(*columns).order_by(*columns[:1]))
                ]
                found[table.name].sort(key=repr)
    await database.close()
    return found


def truncate(path: Path, left: float) -> None:
    # The zeros that pad the last block of a tar are not part of the backup.
    content = path.read_bytes().rstrip(b"\0")
    path.write_bytes(content[: int(len(content) * left)])


def with_a_changed_byte(path: Path) -> Iterator[str]:
    """Change one byte of each part in turn and yield the name of the part."""
    content = path.read_bytes()
    with tarfile.open(path) as tar:
        places = [(entry.name, entry.offset_data) for entry in tar if entry.size and entry.name != archive.MANIFEST]
    for name, place in places:
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        yield name


class TestRoundTrip:
    async def test_every_row_is_restored_into_either_database(
        self, plane: ControlPlane, target: Settings, tmp_path: Path
    ) -> None:
        await busy(plane)
        await backup(plane.settings, tmp_path / "backup.tar", with_artifacts=False, now=NOW)
        # The same storage, so that all URIs in the rows stay the same.
        same = {"storage": plane.settings.storage, "run_files": plane.settings.run_files}
        target = target.model_copy(update=same)
        await restore.restore(target, tmp_path / "backup.tar")
        before, after = await contents(plane.settings), await contents(target)
        assert {name: len(rows) for name, rows in before.items()} == {name: len(rows) for name, rows in after.items()}
        assert before == after
        filled = {name for name, rows in after.items() if rows}
        assert filled >= {"jobs", "events", "metric_points", "attempts", "api_tokens", "artifacts", "audit_entries"}
        await asyncio.to_thread(migrate.check, target.database.url)

    async def test_the_restored_server_continues_runs_files_and_numbering(
        self, plane: ControlPlane, target: Settings, cluster: MemoryCluster, clock: ManualClock, tmp_path: Path
    ) -> None:
        done, waiting, running, run = await busy(plane)
        await backup(plane.settings, tmp_path / "backup.tar", with_artifacts=True, now=NOW)
        await restore.restore(target, tmp_path / "backup.tar")
        restored = ControlPlane(target, cluster, clock)
        # The backup includes the secret, so the run keeps its token. Its new curve is numbered after the restored ones.
        run._plane = restored
        await run.reports(logged([1], **{"brand/new": [1.0]}))
        await run.saves_checkpoint()
        await run.succeeds()
        await restored.tick()
        curve = (await restored.http.get(f"/v1/jobs/{running}/metrics?name=brand/new")).json()["items"][0]
        assert curve["points"] == [{"step": 1, "value": 1.0}]
        assert await restored.state(running) == "succeeded"
        assert await restored.state(waiting) == "starting"
        answer = await restored.http.get(f"/v1/jobs/{done}/artifacts/best.pt")
        assert (answer.status_code, answer.content) == (200, b"weights")
        saved = [event.data["uri"] for event in await restored.events(done) if event.kind == "checkpoint_saved"]
        assert saved[0].startswith(target.storage.dir.as_uri())
        assert (target.home / "secret").stat().st_mode & 0o777 == 0o600
        await restored.close()

    async def test_restored_events_are_visible_to_readers_of_all_events(
        self, plane: ControlPlane, target: Settings, tmp_path: Path
    ) -> None:
        await busy(plane)
        await backup(plane.settings, tmp_path / "backup.tar", with_artifacts=False, now=NOW)
        await restore.restore(target, tmp_path / "backup.tar")
        database = Database(target.database.url)
        async with database.reading() as session:
            # Transaction numbers of another database might be far in the future of this one.
            assert set(await session.scalars(select(Event.transaction_id))) == {0}
        await database.close()

    async def test_it_is_a_snapshot_while_the_server_continues(
        self, plane: ControlPlane, target: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, run = await plane.started_job()
        await run.reports(*(progress(step) for step in range(1, 50)))
        step = 50
        count = dump.count

        async def meanwhile(*args: Any) -> int:
            nonlocal step
            await run.reports(progress(step))
            await plane.submit(train_spec())
            step += 1
            return await count(*args)

        monkeypatch.setattr(dump, "count", meanwhile)
        await backup(plane.settings, tmp_path / "backup.tar", with_artifacts=False, now=NOW)
        monkeypatch.undo()
        assert step > 55
        await restore.restore(target, tmp_path / "backup.tar")
        rows = await contents(target)
        assert len(rows["jobs"]) == 1
        database = Database(target.database.url)
        async with database.reading() as session:
            last = await session.scalar(text("SELECT last_sequence FROM jobs"))
        await database.close()
        assert len(rows["events"]) == last

    async def test_a_backup_of_an_older_schema_is_migrated(self, tmp_path: Path) -> None:
        old = Settings(home=tmp_path / "old")
        old.home.mkdir()
        await asyncio.to_thread(migrate.upgrade, old.database.url, "0001")
        await execute(
            old,
            "INSERT INTO jobs (id, name, kind, spec, spec_version, cpus, gpus, spec_sha256, state, message, "
            "created_at, progress, last_sequence, retries) VALUES ('a', 'n', 'train', '{}', 1, 1, 0, 'x', 'failed', "
            "'', '2026-01-01 00:00:00.000000', '{}', 0, 2)",
            "INSERT INTO metric_points (job_id, trial, name, step, value) VALUES ('a', '', 'loss', 1, 0.5)",
        )
        await backup(old, tmp_path / "backup.tar", with_artifacts=False, now=NOW)
        new = Settings(home=tmp_path / "new")
        # The empty database already has the newest schema.
        new.home.mkdir()
        await asyncio.to_thread(migrate.upgrade, new.database.url)
        manifest = await restore.restore(new, tmp_path / "backup.tar")
        assert manifest.schema_revision == "0001"
        assert await execute(new, "SELECT id, failures FROM jobs") == [("a", 2)]
        assert await execute(new, "SELECT value FROM metric_points") == [(0.5,)]


class TestRefusals:
    @pytest.fixture
    def stored(self, tmp_path: Path) -> dict[str, Any]:
        return {"storage": StorageSettings(dir=tmp_path / "storage")}

    @pytest.fixture
    async def whole(self, plane: ControlPlane, tmp_path: Path) -> Path:
        await busy(plane)
        path = tmp_path / "backup.tar"
        await backup(plane.settings, path, with_artifacts=True, now=NOW)
        return path

    @pytest.mark.one_database
    @pytest.mark.parametrize("left", [0.0, 0.01, 0.5, 0.9])
    async def test_a_truncated_backup_restores_nothing(self, whole: Path, tmp_path: Path, left: float) -> None:
        truncate(whole, left)
        with pytest.raises(BackupError, match="not a complete backup"):
            await restore.restore(Settings(home=tmp_path / "new"), whole)
        assert not (tmp_path / "new").exists()

    @pytest.mark.one_database
    async def test_one_changed_byte_in_any_part_is_detected(self, whole: Path) -> None:
        damaged = []
        for name in with_a_changed_byte(whole):
            with pytest.raises(BackupError, match=name):
                archive.verify(whole)
            damaged.append(name)
        assert {"secret", "tables/jobs.jsonl.gz"} < set(damaged)

    async def test_a_database_with_rows_is_not_changed(self, plane: ControlPlane, whole: Path) -> None:
        before = await contents(plane.settings)
        with pytest.raises(ConflictError, match=r"not empty.*another --home"):
            await restore.restore(plane.settings, whole)
        assert await contents(plane.settings) == before

    async def test_a_failed_restore_leaves_an_empty_database_and_can_be_repeated(
        self, whole: Path, target: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise OSError("the disk is full")

        monkeypatch.setattr(restore, "_write_secret", fail)
        with pytest.raises(OSError, match="full"):
            await restore.restore(target, whole)
        monkeypatch.undo()
        # The schema itself has one row.
        assert {name for name, rows in (await contents(target)).items() if rows} <= {"schema_floor"}
        assert not (target.storage.dir / "jobs").exists()
        await restore.restore(target, whole)
        assert (await contents(target))["jobs"]

    @pytest.mark.one_database
    async def test_existing_files_are_not_mixed_with_those_of_the_backup(self, whole: Path, tmp_path: Path) -> None:
        target = Settings(home=tmp_path / "new")
        (target.storage.dir / "jobs/other").mkdir(parents=True)
        with pytest.raises(ConflictError, match="already exists"):
            await restore.restore(target, whole)

    @pytest.mark.one_database
    async def test_a_backup_of_a_newer_version_is_rejected(self, whole: Path, tmp_path: Path) -> None:
        manifest = archive.verify(whole)
        rewrite(whole, manifest.model_copy(update={"schema_revision": "9999"}))
        with pytest.raises(SchemaTooNewError, match="9999"):
            await restore.restore(Settings(home=tmp_path / "new"), whole)

    @pytest.mark.one_database
    async def test_a_name_that_leaves_the_folder_is_rejected(self, whole: Path, tmp_path: Path) -> None:
        with tarfile.open(whole, "a") as tar:
            tar.addfile(tarfile.TarInfo("storage/../../escaped"), io.BytesIO(b""))
        with pytest.raises(BackupError, match="does not belong in a backup"):
            await restore.restore(Settings(home=tmp_path / "new"), whole)

    async def test_a_home_without_a_database_is_rejected_and_not_created(self, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError, match="no fgd database"):
            await backup(Settings(home=tmp_path / "none"), tmp_path / "x.tar", with_artifacts=False, now=NOW)
        assert not (tmp_path / "x.tar").exists()
        assert not (tmp_path / "none").exists()

    def test_only_its_owner_can_read_it(self, tmp_path: Path) -> None:
        with archive.writing(tmp_path / "backup.tar"):
            pass
        assert (tmp_path / "backup.tar").stat().st_mode & 0o777 == 0o600

    def test_a_failed_backup_leaves_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(KeyboardInterrupt), archive.writing(tmp_path / "backup.tar"):
            raise KeyboardInterrupt
        assert list(tmp_path.iterdir()) == []


@pytest.mark.one_database
class TestStorages:
    @pytest.fixture(params=["folder", "s3"])
    def elsewhere(self, request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
        """Settings of another server, with an empty storage of either kind."""
        other = Settings(home=tmp_path / "elsewhere")
        if request.param == "folder":
            return other
        url = request.getfixturevalue("bucket").replace("kept/here", "kept/elsewhere")
        storage = StorageSettings(dir=other.storage.dir, url=url)
        return other.model_copy(update={"storage": storage, "run_files": "through_server"})

    async def test_each_kind_restores_into_each_kind(
        self, plane: ControlPlane, elsewhere: Settings, cluster: MemoryCluster, clock: ManualClock, tmp_path: Path
    ) -> None:
        done, _, running, run = await busy(plane)
        odd = run.writes("attempts/1/a b#ü.txt", b"odd")
        inner = {"kind": "artifact_saved", "name": "odd", "uri": odd, "media_type": "text/plain"}
        inner |= {"sha256": "0" * 64, "size_bytes": 3}
        await run.reports(inner, {"kind": "trial_event", "trial": 1, "event": inner})
        await backup(plane.settings, tmp_path / "backup.tar", with_artifacts=True, now=NOW)
        await restore.restore(elsewhere, tmp_path / "backup.tar")
        restored = ControlPlane(elsewhere, cluster, clock)
        for job_id, name, content in ((done, "best.pt", b"weights"), (running, "odd", b"odd")):
            answer = await restored.http.get(f"/v1/jobs/{job_id}/artifacts/{name}")
            assert (answer.status_code, answer.content) == (200, content)
        wanted = restored.storage.uri_of(f"jobs/{running}/attempts/1/a b#ü.txt")
        reported = [event.data for event in await restored.events(running) if event.kind.endswith(("_saved", "_event"))]
        assert [data.get("event", data)["uri"] for data in reported] == [wanted, wanted]
        assert {file.path for file in restored.storage.listing()} == {file.path for file in plane.storage.listing()}
        await restored.close()

    async def test_a_killed_restore_can_be_repeated(
        self, plane: ControlPlane, elsewhere: Settings, tmp_path: Path
    ) -> None:
        await busy(plane)
        await backup(plane.settings, tmp_path / "backup.tar", with_artifacts=True, now=NOW)
        storage = storage_of(elsewhere)
        storage.write(".restoring", b"")
        storage.write("jobs/torn/file", b"x")
        await restore.restore(elsewhere, tmp_path / "backup.tar")
        assert {file.path for file in storage.listing()} == {file.path for file in plane.storage.listing()}

    async def test_a_failed_restore_leaves_no_files(
        self, plane: ControlPlane, elsewhere: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await busy(plane)
        await backup(plane.settings, tmp_path / "backup.tar", with_artifacts=True, now=NOW)

        def fail(*_: object) -> None:
            raise OSError("the disk is full")

        monkeypatch.setattr(restore, "_write_secret", fail)
        with pytest.raises(OSError, match="full"):
            await restore.restore(elsewhere, tmp_path / "backup.tar")
        assert storage_of(elsewhere).listing() == []

    async def test_existing_files_are_not_changed(
        self, plane: ControlPlane, elsewhere: Settings, tmp_path: Path
    ) -> None:
        await busy(plane)
        await backup(plane.settings, tmp_path / "backup.tar", with_artifacts=True, now=NOW)
        storage = storage_of(elsewhere)
        storage.write("jobs/other/file", b"x")
        with pytest.raises(ConflictError, match="already exists"):
            await restore.restore(elsewhere, tmp_path / "backup.tar")
        assert [file.path for file in storage.listing()] == ["jobs/other/file"]


def rewrite(path: Path, manifest: Manifest) -> None:
    parts = [(entry.name, content.read()) for entry, content in archive.entries(path)]
    with archive.writing(path) as writer:
        for name, content in parts:
            if name != archive.MANIFEST:
                writer.add(name, io.BytesIO(content), len(content))
        writer.finish(manifest)


async def execute(settings: Settings, *statements: str) -> list[tuple[Any, ...]]:
    database = Database(settings.database.url)
    async with database.writing() as session:
        for statement in statements:
            result = await session.execute(text(statement))
        rows = [tuple(row) for row in result] if result.returns_rows else []  # type: ignore[attr-defined]
    await database.close()
    return rows
