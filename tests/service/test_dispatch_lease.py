"""Several control planes with one dispatcher at a time; and attempts that were replaced without noticing."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
import structlog
from control_plane import ControlPlane, ManualClock, progress, train_spec
from memory_cluster import MemoryCluster
from sqlalchemy import select

from service.clock import Clock, utc_now
from service.jobs.cluster import Capacity
from service.settings import Settings
from service.store import leases
from service.store.leases import StaleLeaseError
from service.store.shared_clock import SharedClock
from service.store.tables import Lease

pytestmark = pytest.mark.every_database


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """With leases that outlast a test on a busy machine: PostgreSQL measures them by its own clock."""
    return settings.model_copy(update={"lease_ttl_s": 600.0})


class TestLease:
    async def test_only_the_holder_starts_jobs(self, plane: ControlPlane, other: ControlPlane) -> None:
        await plane.tick()
        await plane.submit(train_spec())
        await other.tick()
        assert plane.cluster.submissions == []
        await plane.tick()
        assert len(plane.cluster.submissions) == 1

    async def test_a_lease_expires_after_its_holder_died(self, plane: ControlPlane, other: ControlPlane) -> None:
        await plane.tick()
        await plane.submit(train_spec())
        await plane.lease_expires()
        await other.tick()
        assert len(plane.cluster.submissions) == 1

    async def test_a_released_lease_is_free_at_once(self, plane: ControlPlane, other: ControlPlane) -> None:
        await plane.tick()
        await plane.submit(train_spec())
        await plane.dispatcher.close()
        await other.tick()
        assert len(plane.cluster.submissions) == 1

    async def test_a_holder_whose_lease_expired_cannot_write(self, plane: ControlPlane, other: ControlPlane) -> None:
        await plane.tick()
        job_id = await plane.submit(train_spec())
        asked = plane.cluster.capacity

        async def capacity() -> Capacity:
            # While it waits for the cluster, its lease runs out and another takes it, and starts the job.
            plane.cluster.capacity = asked  # type: ignore[method-assign]
            await plane.lease_expires()
            await other.tick()
            return await asked()

        plane.cluster.capacity = capacity  # type: ignore[method-assign]
        with pytest.raises(StaleLeaseError):
            await plane.tick()
        assert [each.submission_id for each in plane.cluster.submissions] == [f"fgd-{job_id}-1"]
        assert len((await plane.job(job_id))["attempts"]) == 1

    async def test_each_new_holder_gets_a_higher_token(self, plane: ControlPlane) -> None:
        tokens = []
        for holder in ("one", "other", "one"):
            async with plane.services.database.writing() as session:
                held = await leases.acquire(session, "l", holder, ttl_s=1, now=plane.clock())
            assert held is not None
            tokens.append(held.fencing_token)
            await plane.lease_expires("l")
        assert tokens == [1, 2, 3]

    async def test_the_same_holder_renews_its_lease(self, plane: ControlPlane) -> None:
        database = plane.services.database
        for _ in range(2):
            async with database.writing() as session:
                assert await leases.acquire(session, "l", "me", ttl_s=1000, now=plane.clock()) is not None


def copy_of(plane: ControlPlane, home: Path) -> ControlPlane:
    """Make a control plane on a copy of another home, as on a cloned machine: with the same name and path."""
    shutil.copytree(plane.settings.home, home, ignore=shutil.ignore_patterns("fgd.db*"))
    return ControlPlane(plane.settings.model_copy(update={"home": home}), plane.cluster, plane.clock)


class TestCopiedHome:
    async def test_a_copy_does_not_hold_the_lease_of_the_original(self, plane: ControlPlane, tmp_path: Path) -> None:
        await plane.tick()
        await plane.submit(train_spec())
        clone = copy_of(plane, tmp_path / "clone")
        await clone.tick()
        assert clone.dispatcher.leadership.lease is None
        assert plane.cluster.submissions == []
        await plane.tick()
        assert len(plane.cluster.submissions) == 1
        await clone.close()

    async def test_two_homes_with_long_paths_are_two_holders(
        self, settings: Settings, cluster: MemoryCluster, clock: ManualClock, tmp_path: Path
    ) -> None:
        planes = []
        for name in ("one", "other"):
            home = tmp_path / ("long" * 25) / name
            home.mkdir(parents=True)
            planes.append(ControlPlane(settings.model_copy(update={"home": home}), cluster, clock))
            await planes[-1].tick()
        assert [plane.dispatcher.leadership.lease is not None for plane in planes] == [True, False]
        for plane in planes:
            await plane.close()

    async def test_after_a_reboot_the_same_home_waits_for_the_lease_to_expire(
        self, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """The home may be a copy of the whole disk, in a machine that booted from it."""
        await plane.tick()
        (tmp_path / "boot_id").write_text("another boot\n")
        monkeypatch.setattr("service.dispatcher.holder._BOOT_ID", tmp_path / "boot_id")
        booted = ControlPlane(plane.settings, plane.cluster, plane.clock)
        await booted.tick()
        assert booted.dispatcher.leadership.lease is None
        await booted.lease_expires()
        await booted.tick()
        assert booted.dispatcher.leadership.lease is not None
        await booted.close()

    async def test_a_restart_takes_over_the_lease_and_fences_off_the_old_process(self, plane: ControlPlane) -> None:
        await plane.tick()
        job_id = await plane.submit(train_spec())
        again = ControlPlane(plane.settings, plane.cluster, plane.clock)
        await again.tick()
        assert await again.state(job_id) == "starting"
        with pytest.raises(StaleLeaseError):
            async with plane.dispatcher.leadership.writing():
                pass
        await plane.tick()
        assert plane.dispatcher.leadership.lease is None
        await again.close()


class TestClocks:
    @pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
    @pytest.mark.parametrize("skew_s", [-600, 600])
    async def test_a_lease_uses_the_time_of_the_database(
        self, plane: ControlPlane, other: ControlPlane, skew_s: float
    ) -> None:
        other.dispatcher.leadership.clock = ahead(plane.clock, skew_s)
        await other.tick()
        await plane.tick()
        assert (plane.dispatcher.leadership.lease, other.dispatcher.leadership.lease is None) == (None, False)
        async with plane.services.database.reading() as session:
            expires_at = await session.scalar(select(Lease.expires_at).where(Lease.name == leases.DISPATCHER))
        now = await plane.services.database.server_time()
        assert expires_at is not None and now is not None
        assert abs(expires_at - now) <= timedelta(seconds=plane.settings.lease_ttl_s)

    @pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
    async def test_all_control_planes_use_the_time_of_the_database(self, plane: ControlPlane) -> None:
        database = plane.services.database
        clocks = [SharedClock(database, ahead(utc_now, skew_s)) for skew_s in (-600, 0, 600)]
        with structlog.testing.capture_logs() as lines:
            for clock in clocks:
                await clock.set()
        now = await database.server_time()
        assert now is not None
        assert all(abs(clock() - now) < timedelta(seconds=60) for clock in clocks)
        assert [line["event"] for line in lines] == ["clock_differs_from_database"] * 2

    @pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
    async def test_with_sqlite_the_time_is_that_of_the_machine(self, plane: ControlPlane) -> None:
        clock = SharedClock(plane.services.database, plane.clock)
        await clock.set()
        assert clock() - plane.clock() < timedelta(seconds=1)


def ahead(clock: Clock, by_s: float) -> Clock:
    return lambda: clock() + timedelta(seconds=by_s)


class TestTwoActiveAttempts:
    async def test_a_stale_attempt_cannot_write(self, plane: ControlPlane) -> None:
        """The first run is disconnected, marked lost and replaced; then it returns, while the second is active."""
        job_id, stale = await plane.started_job()
        await stale.reports(progress(1))
        plane.clock.forward(plane.settings.heartbeat_timeout_s + 1)
        plane.cluster.forget(stale.submission_id)
        await plane.tick()
        plane.clock.forward(60)
        await plane.tick()
        current = plane.run()
        await current.starts()
        before = await plane.job(job_id)
        events = len(await plane.events(job_id))

        for event in (
            progress(99),
            {"kind": "metrics_logged", "steps": [99], "values": {"loss": [9.0]}},
            {"kind": "checkpoint_saved", "name": "best", "uri": "/x", "sha256": "0" * 64, "size_bytes": 1, "epoch": 9}
            | {"step": 99},
            {"kind": "run_finished", "outcome": "failed"},
        ):
            answer = await stale.post(stale.batch(event))
            stale._sequence -= 1
            assert (answer.status_code, answer.json()["code"]) == (409, "stale_attempt")
        heartbeat = await stale.post({"events": []})
        assert heartbeat.status_code == 409
        assert (await plane.http.get(f"/v1/attempts/{stale.attempt_id}", headers=stale.headers)).status_code == 409

        assert await plane.job(job_id) == before
        assert len(await plane.events(job_id)) == events
        curves = (await plane.http.get(f"/v1/jobs/{job_id}/metrics")).json()["items"]
        assert 99 not in {point["step"] for curve in curves for point in curve["points"]}
        assert (await current.reports(progress(2)))["wish"] == "continue"


class TestRecovery:
    async def test_undelivered_events_of_a_dead_run_are_stored(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        outbox = plane.settings.storage.dir / "jobs" / job_id / "outbox" / "attempt-1-run.jsonl"
        outbox.parent.mkdir(parents=True)
        lines = [run_line(1, '{"kind":"run_started","host":"h","pid":1,"python":"3"}', plane)]
        lines += [run_line(n, f'{{"kind":"warned","code":"w{n}","message":"m"}}', plane) for n in (2, 3)]
        outbox.write_text("".join(lines) + '{"sequence":4,"at":"20')
        await die(plane, run.submission_id)
        codes = [event.data["code"] for event in await plane.events(job_id) if event.kind == "warned"]
        assert codes == ["w2", "w3"]
        assert (await plane.job(job_id))["attempts"][0]["cause"] == "lost"

    async def test_an_undelivered_final_event_counts(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        outbox = plane.settings.storage.dir / "jobs" / job_id / "outbox" / "attempt-1-run.jsonl"
        outbox.parent.mkdir(parents=True)
        outbox.write_text(
            run_line(1, '{"kind":"run_started","host":"h","pid":1,"python":"3"}', plane)
            + run_line(2, '{"kind":"run_finished","outcome":"failed","error":{"code":"data","message":"bad"}}', plane)
        )
        await die(plane, run.submission_id)
        job = await plane.job(job_id)
        assert (job["state"], job["error"]["code"]) == ("failed", "data")


def run_line(sequence: int, event: str, plane: ControlPlane) -> str:
    return f'{{"sequence":{sequence},"at":"{plane.clock().isoformat()}","event":{event}}}\n'


async def die(plane: ControlPlane, submission_id: str) -> None:
    """A run's process is gone, and the cluster reports that."""
    plane.cluster.say(submission_id, "FAILED", "killed")
    plane.clock.forward(2 * plane.settings.heartbeat_s + 1)
    await plane.tick()
    plane.clock.forward(3)
    await plane.tick()
