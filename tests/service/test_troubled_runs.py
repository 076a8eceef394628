"""A run that Ray does not answer about, or that prints unreadable bytes, delays no other run."""

import asyncio
import itertools
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest
from control_plane import ControlPlane, ManualClock, Run, evaluate_spec, train_spec
from memory_cluster import MemoryCluster
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import ClusterError
from service.dispatcher import archiving
from service.dispatcher.cluster import RayCluster
from service.dispatcher.excerpts import HEAD_BYTES, TAIL_BYTES, Excerpt
from service.dispatcher.fan_out import FanOut
from service.dispatcher.unblocking import unblock
from service.jobs.cluster import Capacity, ClusterJob, Node
from service.settings import Settings
from service.store.tables import Job
from tests import fake_ray

NO_UTF8 = b"epoch 1\n\xff\xfe\nepoch 2\n"
TEN_CORES = Capacity((Node(node_id="here", cpus_total=10, cpus_free=10),))


@pytest.fixture
def cluster() -> MemoryCluster:
    return MemoryCluster(TEN_CORES)


@pytest.fixture(scope="module")
def ray_url() -> Iterator[fake_ray.Running]:
    with fake_ray.running() as ray:
        yield ray


async def tick_often(plane: ControlPlane, *, until_s: float = 400.0) -> None:
    """Tick every 5 s of the manual clock."""
    for _ in range(int(until_s / 5)):
        with suppress(ClusterError):
            await plane.tick()
        plane.clock.forward(5)


async def log_of(plane: ControlPlane, job_id: str) -> bytes:
    return (await plane.http.get(f"/v1/jobs/{job_id}/logs")).content


class TestUnreadableLog:
    async def test_a_log_that_fails_delays_no_other(self, plane: ControlPlane, cluster: MemoryCluster) -> None:
        (troubled, bad), (other, good) = [await plane.started_job() for _ in range(2)]
        await plane.tick()
        cluster.refuses_logs.add(bad.submission_id)
        cluster.output[good.submission_id] = "fine\n"
        # Both are due, the failing log first.
        plane.clock.forward(61)
        with suppress(ClusterError):
            await plane.tick()
        cluster.is_reachable = False
        assert await log_of(plane, other) == b"fine\n"
        assert await log_of(plane, troubled) == b""

    async def test_the_attempt_is_archived_and_the_gap_is_noted(
        self, plane: ControlPlane, cluster: MemoryCluster
    ) -> None:
        job_id, run = await plane.started_job()
        cluster.output[run.submission_id] = "copied before\n"
        await plane.tick()
        cluster.refuses_logs.add(run.submission_id)
        await run.succeeds()
        await tick_often(plane)
        assert (await plane.job(job_id))["attempts"][0]["released_at"] is not None
        (warning,) = [event for event in await plane.events(job_id) if event.kind == "warned"]
        assert warning.data["code"] == "log_incomplete"
        assert "codec can't decode" in warning.data["message"]
        kept = await log_of(plane, job_id)
        assert kept.startswith(b"copied before\n-- fgd: the rest of this log could not be read: ")
        (artifact,) = (await plane.job(job_id))["artifacts"]
        assert (artifact["name"], artifact["size_bytes"]) == ("attempt-1.log", len(kept))

    async def test_retries_are_bounded_and_a_restart_does_not_reset_them(
        self, settings: Settings, cluster: MemoryCluster, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plane = ControlPlane(settings, cluster, clock)
        _, run = await plane.started_job()
        cluster.refuses_logs.add(run.submission_id)
        await run.succeeds()
        asked = itertools.count()
        logs = cluster.logs

        async def counted(submission_id: str) -> Excerpt:
            next(asked)
            return await logs(submission_id)

        monkeypatch.setattr(cluster, "logs", counted)
        await tick_often(plane, until_s=20)
        await plane.close()
        again = ControlPlane(settings, cluster, clock)
        await tick_often(again)
        assert next(asked) == archiving.MAX_TRIES
        await again.close()

    async def test_an_unreachable_cluster_does_not_count_as_a_try(
        self, plane: ControlPlane, cluster: MemoryCluster
    ) -> None:
        job_id, run = await plane.started_job()
        cluster.output[run.submission_id] = "all of it\n"
        await run.succeeds()
        cluster.is_reachable = False
        await tick_often(plane)
        cluster.is_reachable = True
        await plane.tick()
        assert await log_of(plane, job_id) == b"all of it\n"

    async def test_a_follower_gets_the_reason_for_a_missing_log(
        self, plane: ControlPlane, cluster: MemoryCluster
    ) -> None:
        job_id, run = await plane.started_job()
        cluster.refuses_logs.add(run.submission_id)
        following = plane.services.logs.follow(job_id, None, 0, later_attempts=True)
        note = await anext(following)
        assert "codec can't decode" in getattr(note, "text", "")


class TestLogOfBytes:
    async def test_bytes_that_are_not_utf8_are_kept_and_followed(
        self, plane: ControlPlane, cluster: MemoryCluster
    ) -> None:
        job_id, run = await plane.started_job()
        cluster.output[run.submission_id] = NO_UTF8
        pieces = []
        async for item in plane.services.logs.follow(job_id, None, 0, later_attempts=True):
            if item is None:
                break
            pieces.append(getattr(item, "content", b""))
        assert b"".join(pieces) == NO_UTF8
        await run.succeeds()
        await plane.tick()
        cluster.is_reachable = False
        assert await log_of(plane, job_id) == NO_UTF8

    async def test_a_long_line_that_is_not_utf8_is_followed_exactly(
        self, plane: ControlPlane, cluster: MemoryCluster
    ) -> None:
        job_id, run = await plane.started_job()
        cluster.output[run.submission_id] = printed = b"\xff\xc3" * 400_000
        await run.succeeds()
        await plane.tick()
        pieces = [item async for item in plane.services.logs.follow(job_id, None, 0, later_attempts=True)]
        assert b"".join(getattr(piece, "content", b"") for piece in pieces) == printed

    async def test_a_long_log_is_followed_across_its_gap(
        self, plane: ControlPlane, cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job_id, run = await plane.started_job()
        printed = b"x" * (HEAD_BYTES + TAIL_BYTES) + b"y" * 100 + b"\nbefore the end\n"
        cluster.output[run.submission_id] = printed
        monkeypatch.setattr("service.api.log_reader._POLL_PER_BYTE_S", 0.0)
        notes, at, end = [], 0, b""
        has_ended = False
        async for item in plane.services.logs.follow(job_id, None, 0, later_attempts=True):
            if item is None and not has_ended:
                has_ended = True
                # All that there is so far; now the run ends, and the kept file takes the place of Ray's.
                cluster.output[run.submission_id] = printed + b"the end\n"
                await run.succeeds()
                await plane.tick()
            elif hasattr(item, "text"):
                notes.append(item.text)
            elif hasattr(item, "content"):
                assert item.offset >= at
                at, end = item.offset + len(item.content), item.content
        assert notes == ["116 bytes of this log are left out"]
        assert end.endswith(b"the end\n")
        assert at == len(printed + b"the end\n")


class TestRunThatHangs:
    async def test_a_run_that_hangs_delays_no_other(self, ray_url: fake_ray.Running, clock: ManualClock) -> None:
        ray_url.say("fgd-hangs", hangs=True)
        ray_url.say("fgd-answers", status="RUNNING")
        answered: list[str] = []
        fan_out = FanOut(clock, patience_s=1.0)
        async with RayCluster(ray_url.url) as cluster:

            async def ask(name: str) -> None:
                if await cluster.job(name) is not None:
                    answered.append(name)

            for _ in range(2):
                # The second pass does not repeat a question that is still open.
                await fan_out.each({name: name for name in ("fgd-hangs", "fgd-answers")}, ask)
            assert answered == ["fgd-answers"] * 2
            assert ray_url.asked()["job"] == 3
            ray_url.say("fgd-hangs", hangs=False)
            async with asyncio.timeout(30):
                while len(answered) < 3:
                    await fan_out.each({"fgd-hangs": "fgd-hangs"}, ask)
            await fan_out.close()

    async def test_a_failing_step_pauses_longer_each_time_and_the_others_continue(
        self, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Pauses without their random part.
        monkeypatch.setattr("random.uniform", lambda low, high: high)
        tried: list[str] = []
        fan_out = FanOut(clock)

        async def act(name: str) -> None:
            tried.append(name)
            if name == "bad":
                raise ClusterError("Ray does not say")

        for _ in range(60):
            with suppress(ClusterError):
                await fan_out.each({"bad": "bad", "good": "good"}, act)
            clock.forward(1)
        assert tried.count("good") == 60
        assert tried.count("bad") == 6

    async def test_a_defect_in_one_step_is_raised_after_all_others_ran(self, clock: ManualClock) -> None:
        done: list[str] = []

        async def act(name: str) -> None:
            if name == "bad":
                raise KeyError(name)
            done.append(name)

        with pytest.raises(KeyError):
            await FanOut(clock).each({name: name for name in ("bad", "good")}, act)
        assert done == ["good"]


class TestRefusedStatus:
    async def test_a_run_that_ray_does_not_answer_about_is_lost_after_long_silence(
        self, plane: ControlPlane, cluster: MemoryCluster
    ) -> None:
        job_id, run = await plane.started_job(train_spec(retry={"losses": 0}))
        cluster.refuses.add(run.submission_id)
        plane.clock.forward(15)
        await tick_often(plane, until_s=100)
        job = await plane.job(job_id)
        assert job["state"] == "running"
        assert "does not report its state" in job["reason"]
        await tick_often(plane)
        job = await plane.job(job_id)
        assert (job["state"], job["error"]["code"]) == ("failed", "lost_run")
        assert "could not report its state" in job["error"]["message"]

    async def test_a_run_that_reports_is_not_stopped(self, plane: ControlPlane, cluster: MemoryCluster) -> None:
        job_id, run = await plane.started_job()
        cluster.refuses.add(run.submission_id)
        for _ in range(100):
            await run.post({"events": []})
            await tick_often(plane, until_s=5)
        assert await plane.state(job_id) == "running"

    async def test_an_ended_run_is_archived_all_the_same(self, plane: ControlPlane, cluster: MemoryCluster) -> None:
        job_id, run = await plane.started_job()
        await run.succeeds()
        cluster.refuses.add(run.submission_id)
        await tick_often(plane)
        assert (await plane.job(job_id))["attempts"][0]["released_at"] is not None


class TestRayOverHttp:
    async def test_a_log_that_is_not_utf8_is_read_from_its_file(self, ray_url: fake_ray.Running) -> None:
        ray_url.say("fgd-bytes", status="SUCCEEDED", log=NO_UTF8.decode("latin-1"))
        async with RayCluster(ray_url.url) as cluster:
            assert (await cluster.logs("fgd-bytes")).stored == NO_UTF8

    async def test_without_log_files_the_answer_of_ray_is_used(self) -> None:
        with fake_ray.running(has_log_files=False) as ray:
            ray.say("fgd-text", log="Gr\xc3\xbc\xc3\x9fe\n")
            ray.say("fgd-bytes", log=NO_UTF8.decode("latin-1"))
            async with RayCluster(ray.url) as cluster:
                assert str(await cluster.logs("fgd-text")) == "Grüße\n"
                assert await cluster.logs("fgd-unknown") == Excerpt()
                with pytest.raises(ClusterError, match="send a run's log") as caught:
                    await cluster.logs("fgd-bytes")
        assert "UnicodeDecodeError" in str(caught.value.details["cause"])

    @pytest.mark.parametrize("has_log_files", [True, False])
    async def test_a_line_of_100_mb_does_not_fill_the_memory(self, has_log_files: bool) -> None:
        with fake_ray.running(has_log_files=has_log_files) as ray:
            ray.say("fgd-long", log="0123456789" * 100, times=100_000)
            turns = 0

            async def others() -> None:
                nonlocal turns
                while True:
                    await asyncio.sleep(0)
                    turns += 1

            other = asyncio.create_task(others())
            async with RayCluster(ray.url) as cluster:
                log = await cluster.logs("fgd-long")
            other.cancel()
        assert log.size_bytes == 100_000_000
        assert len(log.stored) < HEAD_BYTES + TAIL_BYTES + 100
        # At least once between two blocks.
        assert turns > 100


class TestManyRuns:
    async def test_a_tick_lists_all_runs_once_and_cancels_before_it_starts(
        self, settings: Settings, clock: ManualClock, tmp_path: Path
    ) -> None:
        with fake_ray.running(num_nodes=10, cpus=100) as ray:
            async with RayCluster(ray.url) as cluster:
                plane = ControlPlane(settings, cluster, clock)  # type: ignore[arg-type]
                first = [await plane.submit(train_spec()) for _ in range(30)]
                await plane.tick()
                ray.asked()
                await plane.submit(train_spec())
                await plane.http.post(f"/v1/jobs/{first[-1]}/cancel")
                await plane.tick()
                asked = ray.asked_in_order()
                await plane.close()
        assert asked.count("list") == 1
        assert asked.count("job") == 0
        assert asked.index("stop") < asked.index("submit")

    async def test_a_burst_is_started_over_several_ticks(
        self, settings: Settings, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("service.dispatcher.starting.MAX_STARTS", 3)
        cluster = MemoryCluster(TEN_CORES)
        plane = ControlPlane(settings, cluster, clock)
        for _ in range(7):
            await plane.submit(train_spec())
        started = []
        for _ in range(3):
            plane.dispatcher.wake.clear()
            await plane.tick()
            started.append((len(cluster.submissions), plane.dispatcher.wake.is_set()))
        assert started == [(3, True), (6, True), (7, False)]
        await plane.close()

    async def test_if_ray_does_not_list_its_runs_each_is_requested(
        self, plane: ControlPlane, cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("service.dispatcher.watching.ASK_ONE_BY_ONE", 0)
        listed: list[None] = []
        jobs = cluster.jobs

        async def counted() -> Mapping[str, ClusterJob]:
            listed.append(None)
            return await jobs()

        monkeypatch.setattr(cluster, "jobs", counted)
        one, other = await plane.submit(train_spec()), await plane.submit(train_spec())
        await plane.tick()
        cluster.refuses.add(f"fgd-{one}-1")
        cluster.say(f"fgd-{other}-1", "FAILED", "killed")
        await Run(plane, f"fgd-{other}-1").starts()
        plane.clock.forward(plane.settings.heartbeat_timeout_s)
        listed.clear()
        await tick_often(plane, until_s=10)
        assert ("lost", "run_lost") in await plane.moves(other)
        # After a failure the list is not requested at each tick.
        assert len(listed) == 1


class TestPoisonedRow:
    """A row that this version cannot read: after a bug, a manual change, or from another version."""

    async def test_unreadable_progress_of_one_run_stops_no_start(self, plane: ControlPlane) -> None:
        job_id, _ = await plane.started_job()
        async with plane.services.database.writing() as session:
            await session.execute(update(Job).where(Job.id == job_id).values(progress={"eta_s": "soon"}))
        other = await plane.submit(train_spec())
        await plane.tick()
        assert await plane.state(other) == "starting"

    async def test_a_job_that_cannot_be_unblocked_delays_no_other(
        self, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        teacher, run = await plane.started_job()
        bad, good = [await plane.submit(evaluate_spec(f"job:{teacher}/best")) for _ in range(2)]
        await run.saves_checkpoint()
        await run.succeeds()

        async def unblock_but_one(session: AsyncSession, job_id: str, now: datetime) -> None:
            if job_id == bad:
                raise KeyError(job_id)
            await unblock(session, job_id, now)

        monkeypatch.setattr("service.dispatcher.unblocking.unblock", unblock_but_one)
        with pytest.raises(KeyError):
            await plane.tick()
        assert (await plane.state(bad), await plane.state(good)) == ("blocked", "starting")
