"""What a housekeeping pass removes and when, what it never removes, and what a crash leaves behind."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from control_plane import ControlPlane, ManualClock, evaluate_spec, logged, progress, train_spec
from sqlalchemy import func, select, update
from sweeps import begun, ended, progressed, reported, sweep_spec, trial_event

from fgd_core.spec.housekeeping import HousekeepingView
from service.housekeeping.task import HousekeepingTask, PassRunningError
from service.jobs.retention import StoredFile
from service.settings import Settings
from service.settings.groups import RetentionSettings, StorageSettings
from service.store import api_tokens, leases
from service.store.leases import StaleLeaseError
from service.store.session import Database
from service.store.tables import ApiToken, AuditEntry, Base, Event, Lease, MetricPoint

DAY_S = 86_400.0
CHECKPOINTS = ("best.pt", "last.pt", "previous.pt")


@pytest.fixture
def settings(settings: Settings, stored: dict[str, Any]) -> Settings:
    kept = RetentionSettings(
        progress_days=10,
        curves_days=20,
        curve_points=100,
        logs_days=30,
        succeeded_checkpoints_days=40,
        audit_days=5000,
    )
    return settings.model_copy(update=stored | {"retention": kept})


def write(plane: ControlPlane, job_id: str, path: str, content: str = "x" * 100) -> str:
    """Write a file of a job into the storage; returns its URI."""
    plane.storage.write(f"jobs/{job_id}/{path}", content.encode())
    return plane.storage.uri_of(f"jobs/{job_id}/{path}")


def left(plane: ControlPlane, job_id: str) -> list[str]:
    """Return the names of a job's files."""
    return sorted(file.path.rpartition("/")[2] for file in plane.storage.listing(f"jobs/{job_id}"))


async def ended_job(plane: ControlPlane, *, num_points: int = 300, outcome: str = "succeeds") -> str:
    """Return an ended and archived job with progress, curves, a log, checkpoints and an outbox."""
    job_id, run = await plane.started_job()
    batch = run.batch(*(progress(step) for step in range(1, num_points + 1)))
    await run.post(batch)
    await run.saves_checkpoint(plane.storage.uri_of(f"jobs/{job_id}/attempts/1/checkpoints/best.pt"))
    if outcome == "succeeds":
        await run.succeeds()
    else:
        await run.fails("data")
    for name in CHECKPOINTS:
        write(plane, job_id, f"attempts/1/checkpoints/{name}")
    lines = [json.dumps({"sequence": number}) for number in range(1, num_points + 4)]
    write(plane, job_id, "outbox/attempt-1-run.jsonl", "\n".join(lines) + "\n")
    write(plane, job_id, "outbox/attempt-1-run.consumed", "1")
    plane.cluster.output[run.submission_id] = "what it printed"
    await plane.tick()
    return job_id


async def sweep(plane: ControlPlane, *, dry_run: bool = False) -> HousekeepingView:
    answer = await plane.http.post("/v1/housekeeping", params={"dry_run": str(dry_run).lower()})
    assert answer.status_code == 200, answer.text
    return HousekeepingView.model_validate(answer.json())


def kinds(view: HousekeepingView) -> list[str]:
    return sorted(item.kind for item in view.items)


async def count(plane: ControlPlane, table: type[Base], *where: Any) -> int:
    async with plane.services.database.reading() as session:
        return int(await session.scalar(select(func.count()).select_from(table).where(*where)) or 0)


class TestPass:
    async def test_everything_is_removed_at_its_own_time(self, plane: ControlPlane) -> None:
        job_id = await ended_job(plane)
        assert (await sweep(plane)).items == []
        plane.clock.forward(8 * DAY_S)
        assert kinds(await sweep(plane)) == ["outbox", "outbox"]
        plane.clock.forward(3 * DAY_S)
        assert kinds(await sweep(plane)) == ["progress_events"]
        plane.clock.forward(10 * DAY_S)
        assert set(kinds(await sweep(plane))) == {"curve_points"}
        plane.clock.forward(10 * DAY_S)
        assert kinds(await sweep(plane)) == ["log"]
        plane.clock.forward(10 * DAY_S)
        assert kinds(await sweep(plane)) == ["checkpoint", "checkpoint"]
        assert (await sweep(plane)).items == []
        assert left(plane, job_id) == ["best.pt"]
        assert {artifact["name"] for artifact in (await plane.job(job_id))["artifacts"]} == {"best.pt"}

    async def test_a_report_of_an_old_job_is_complete_and_sequences_stay(self, plane: ControlPlane) -> None:
        job_id = await ended_job(plane)
        before = {event.sequence: event for event in await plane.events(job_id)}
        report = (await plane.http.get(f"/v1/jobs/{job_id}/report?format=json")).json()["jobs"][0]
        plane.clock.forward(15 * DAY_S)
        view = await sweep(plane)
        assert next(item.num_rows for item in view.items if item.kind == "progress_events") == 300
        after = await plane.events(job_id)
        assert all(event == before[event.sequence] for event in after)
        assert {event.kind for event in before.values()} - {event.kind for event in after} == {"progress"}
        assert (await plane.http.get(f"/v1/jobs/{job_id}/report?format=json")).json()["jobs"][0] == report

    async def test_progress_of_trials_is_removed_and_the_study_stays(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job(sweep_spec())
        study = [begun(0), reported(0, 1, 0.5), ended(0)]
        others = [trial_event(0, {"kind": "warned", "code": "x", "message": "y"}), trial_event(0, {"kind": None})]
        passing = [trial_event(0, progress(step)) for step in range(5)]
        await run.reports(*study, *others, *passing, progressed(done=1, planned=1))
        await run.succeeds()
        await plane.tick()
        before = [event.data for event in await plane.events(job_id)]
        plane.clock.forward(15 * DAY_S)
        view = await sweep(plane)
        assert next(item.num_rows for item in view.items if item.kind == "progress_events") == 6
        after = [event.data for event in await plane.events(job_id)]
        assert after == [data for data in before if data not in (*passing, progressed(done=1, planned=1))]

    async def test_a_thinned_curve_keeps_its_ends_and_extremes(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        losses = [1.0] * 1000
        losses[333], losses[777] = 9.0, -9.0
        for start in range(0, 1000, 250):
            await run.post(run.batch(logged(range(start, start + 250), loss=losses[start : start + 250])))
        await run.succeeds()
        await plane.tick()
        plane.clock.forward(21 * DAY_S)
        await sweep(plane)
        series = (await plane.http.get(f"/v1/jobs/{job_id}/metrics?name=loss")).json()["items"][0]
        points = {point["step"]: point["value"] for point in series["points"]}
        assert len(points) <= 102
        assert (points[333], points[777], min(points), max(points)) == (9.0, -9.0, 0, 999)

    async def test_a_dry_run_lists_the_same_and_removes_nothing(self, plane: ControlPlane) -> None:
        job_id = await ended_job(plane)
        plane.clock.forward(50 * DAY_S)
        before = (
            await count(plane, Event),
            await count(plane, MetricPoint),
            left(plane, job_id),
        )
        planned = await sweep(plane, dry_run=True)
        assert before == (
            await count(plane, Event),
            await count(plane, MetricPoint),
            left(plane, job_id),
        )
        done = await sweep(plane)
        assert kinds(planned) == kinds(done)
        assert planned.size_bytes == pytest.approx(done.size_bytes, rel=0.1)

    async def test_a_job_that_is_not_over_keeps_everything(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        await run.reports(progress(1))
        checkpoints = "attempts/1/checkpoints"
        for name in (f"{checkpoints}/last.pt", "outbox/attempt-1-run.jsonl", f"{checkpoints}/.last.pt.7.partial"):
            write(plane, job_id, name)
        plane.clock.forward(1000 * DAY_S)
        assert (await sweep(plane)).items == []

    async def test_a_job_that_another_needs_keeps_everything(self, plane: ControlPlane) -> None:
        job_id = await ended_job(plane)
        plane.cluster.is_reachable = False
        student = await plane.submit(evaluate_spec(f"job:{job_id}/best"))
        plane.clock.forward(1000 * DAY_S)
        assert (await sweep(plane)).items == []
        await plane.http.post(f"/v1/jobs/{student}/cancel")
        assert "checkpoint" in kinds(await sweep(plane))

    async def test_a_failed_job_keeps_its_checkpoints_longer(self, plane: ControlPlane) -> None:
        await ended_job(plane, outcome="fails")
        plane.clock.forward(300 * DAY_S)
        assert "checkpoint" not in kinds(await sweep(plane))
        plane.clock.forward(66 * DAY_S)
        assert "checkpoint" in kinds(await sweep(plane))

    async def test_an_outbox_with_undelivered_events_stays(self, plane: ControlPlane) -> None:
        job_id = await ended_job(plane)
        name = "outbox/attempt-1-run.jsonl"
        before = plane.storage.read(f"jobs/{job_id}/{name}").decode()
        write(plane, job_id, name, before + json.dumps({"sequence": 1000}) + "\n")
        plane.clock.forward(9 * DAY_S)
        assert (await sweep(plane)).items == []

    async def test_a_rule_set_to_never_removes_nothing(
        self, plane: ControlPlane, settings: Settings, clock: ManualClock
    ) -> None:
        await ended_job(plane)
        forever = dict.fromkeys(name for name in RetentionSettings.model_fields if name.endswith("_days"))
        kept = settings.model_copy(update={"retention": settings.retention.model_copy(update=forever)})
        clock.forward(10_000 * DAY_S)
        assert (await HousekeepingTask(plane.services.database, plane.storage, kept, clock).run_pass()).items == []

    async def test_old_audit_entries_and_invalid_tokens_are_removed(self, plane: ControlPlane) -> None:
        async with plane.services.database.writing() as session:
            for name, expires in (("dead", plane.clock()), ("alive", None)):
                _, token = api_tokens.new_token(
                    name=name, role="read", project=None, created_by="", expires_at=expires, now=plane.clock()
                )
                await api_tokens.insert_token(session, token)
        await plane.submit(train_spec())
        plane.clock.forward(5001 * DAY_S)
        assert kinds(await sweep(plane)) == ["api_tokens", "audit_entries"]
        async with plane.services.database.reading() as session:
            assert list(await session.scalars(select(ApiToken.name))) == ["alive"]
        # Only the entry of this pass.
        assert await count(plane, AuditEntry) == 1


class TestOrphans:
    async def test_an_orphaned_folder_is_removed_a_day_after_its_discovery(self, plane: ControlPlane) -> None:
        write(plane, "stranger", "attempts/1/checkpoints/best.pt")
        plane.clock.forward(100 * DAY_S)
        assert [item.is_noted for item in (await sweep(plane)).items] == [True]
        plane.clock.forward(0.5 * DAY_S)
        assert (await sweep(plane)).size_bytes == 0
        plane.clock.forward(0.6 * DAY_S)
        view = await sweep(plane)
        assert [(item.kind, item.is_noted) for item in view.items] == [("orphan", False)]
        assert plane.storage.listing() == []

    async def test_the_mark_is_removed_when_the_job_exists_again(self, plane: ControlPlane) -> None:
        job_id = await ended_job(plane)
        plane.storage.write(f"orphans/{job_id}", b"2001-01-01T00:00:00+00:00")
        await sweep(plane)
        assert plane.storage.listing("orphans") == []
        assert "best.pt" in left(plane, job_id)

    async def test_partial_files_of_dead_processes_are_removed_after_a_day(self, plane: ControlPlane) -> None:
        job_id = await ended_job(plane)
        write(plane, job_id, "attempts/1/checkpoints/.last.pt.7.partial")
        # The test's clock is behind the clock of the disk.
        plane.clock.forward(300 * 365 * DAY_S)
        assert "partial_file" in kinds(await sweep(plane, dry_run=True))


class TestUploads:
    @pytest.fixture
    def stored(self, tmp_path: Path, bucket: str) -> dict[str, Any]:
        """Use a bucket: partial files in a folder have other tests."""
        return {"storage": StorageSettings(dir=tmp_path, url=bucket), "run_files": "through_server"}

    async def test_unfinished_uploads_are_aborted(self, plane: ControlPlane) -> None:
        plane.storage.writing("jobs/a/x", size_bytes=1 << 30).write(bytes(9 << 20))
        for dry_run, found in ((True, ["partial_file"]), (False, ["partial_file"]), (False, [])):
            assert kinds(await sweep(plane, dry_run=dry_run)) == found


class TestCrash:
    async def test_the_next_pass_finishes_one_that_died_after_deleting_a_row(
        self, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job_id = await ended_job(plane)
        plane.clock.forward(50 * DAY_S)

        def die(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(plane.storage, "delete", die)
        with pytest.raises(KeyboardInterrupt):
            await plane.services.housekeeping.run_pass()
        monkeypatch.undo()
        # No artifact refers to a file that may be gone.
        assert {artifact["name"] for artifact in (await plane.job(job_id))["artifacts"]} == {"best.pt"}
        plane.clock.forward(200)
        await sweep(plane)
        assert left(plane, job_id) == ["best.pt"]

    async def test_a_file_rewritten_by_a_retry_stays(
        self, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job_id = await ended_job(plane)
        plane.clock.forward(50 * DAY_S)
        listing = plane.storage.listing

        def seen_a_moment_too_early(folder: str) -> list[StoredFile]:
            # As if a retry had rewritten each file right after the listing.
            return [file._replace(modified_at=file.modified_at - timedelta(hours=1)) for file in listing(folder)]

        monkeypatch.setattr(plane.storage, "listing", seen_a_moment_too_early)
        await sweep(plane)
        monkeypatch.undo()
        assert "last.pt" in left(plane, job_id)

    async def test_a_pass_stops_at_its_time_limit_and_the_next_continues(self, plane: ControlPlane) -> None:
        await ended_job(plane)
        plane.clock.forward(50 * DAY_S)
        rounds = [await plane.services.housekeeping.run_pass(max_s=0)]
        while not rounds[-1].is_complete:
            rounds.append(await plane.services.housekeeping.run_pass(max_s=0))
        assert len(rounds) > 3
        assert (await sweep(plane)).items == []


class TestLease:
    async def test_only_one_control_plane_runs_a_pass(
        self, plane: ControlPlane, settings: Settings, clock: ManualClock
    ) -> None:
        other = HousekeepingTask(plane.services.database, plane.storage, settings, clock)
        async with plane.services.database.writing() as session:
            lease = await leases.acquire(session, "housekeeping", "another", ttl_s=60, now=clock())
        with pytest.raises(PassRunningError):
            await other.run_pass()
        assert (await plane.http.post("/v1/housekeeping")).status_code == 409
        assert lease is not None
        async with plane.services.database.writing() as session:
            await leases.release(session, lease, clock())
        assert (await plane.http.post("/v1/housekeeping")).status_code == 200

    async def test_a_delayed_pass_writes_nothing_after_another_started(
        self, plane: ControlPlane, settings: Settings, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job_id = await ended_job(plane)
        clock.forward(50 * DAY_S)
        slow = HousekeepingTask(plane.services.database, plane.storage, settings, clock)
        listing = plane.storage.listing

        def held_up(folder: str) -> list[StoredFile]:
            with ThreadPoolExecutor() as elsewhere:
                elsewhere.submit(asyncio.run, take_lease(settings, clock)).result()
            return listing(folder)

        monkeypatch.setattr(plane.storage, "listing", held_up)
        with pytest.raises(StaleLeaseError):
            await slow.run_pass()
        monkeypatch.undo()
        assert "last.pt" in left(plane, job_id)

    async def test_one_control_plane_runs_a_pass_once_a_day(
        self, plane: ControlPlane, settings: Settings, clock: ManualClock
    ) -> None:
        mine = HousekeepingTask(plane.services.database, plane.storage, settings, clock)
        another = HousekeepingTask(plane.services.database, plane.storage, settings, clock)
        assert await mine.run_pass_if_due()
        assert not await another.run_pass_if_due()
        assert not await mine.run_pass_if_due()
        await plane.lease_expires("housekeeping-done")
        assert await another.run_pass_if_due()

    async def test_a_failed_pass_is_due_again_at_once(
        self, plane: ControlPlane, settings: Settings, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mine = HousekeepingTask(plane.services.database, plane.storage, settings, clock)

        def fail(*_: object) -> None:
            raise OSError("the disk is unavailable")

        monkeypatch.setattr(plane.storage, "folder_names", fail)
        with pytest.raises(OSError, match="unavailable"):
            await mine.run_pass_if_due()
        monkeypatch.undo()
        assert await mine.run_pass_if_due()


async def take_lease(settings: Settings, clock: ManualClock) -> None:
    """Acquire the lease as another control plane would after it has expired."""
    database = Database(settings.database.url)
    async with database.writing() as session:
        await session.execute(update(Lease).values(expires_at=datetime(2000, 1, 1, tzinfo=UTC)))
        assert await leases.acquire(session, "housekeeping", "another", ttl_s=60, now=clock()) is not None
    await database.close()
