import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress

import httpx
import pytest
from control_plane import ControlPlane, ManualClock, Run, evaluate_spec, progress, train_spec
from memory_cluster import TWO_CORES, MemoryCluster
from sqlalchemy import update

from fgd_core.errors import ClusterError, ConflictError
from service.dispatcher.cluster import Submission
from service.dispatcher.excerpts import Excerpt
from service.server.app import create_app
from service.server.background import BackgroundTask, repeat
from service.settings import Settings
from service.store.tables import Job


class TestStart:
    async def test_a_queued_job_becomes_one_ray_job_with_readable_metadata(self, plane: ControlPlane) -> None:
        job_id = await plane.submit(train_spec(name="teacher"))
        await plane.tick()
        await plane.tick()
        (submission,) = plane.cluster.submissions
        assert submission.submission_id == f"fgd-{job_id}-1"
        assert submission.entrypoint.endswith(f" -m workers train {job_id}-1")
        assert (submission.cpus, submission.gpus) == (1, 0)
        spec = json.loads(submission.metadata["spec"])
        assert (spec["kind"], spec["training"]["batch_size"]) == ("train", 8)
        assert {**submission.metadata, "spec": ""} == {
            # The dashboard's lists show it.
            "job_name": "teacher (train)",
            "job_id": job_id,
            "name": "teacher",
            "kind": "train",
            "attempt": "1",
            "spec": "",
        }
        assert set(submission.environment) == {"FGD_URL", "FGD_ATTEMPT_ID", "FGD_ATTEMPT_CLAIM"}
        job = await plane.job(job_id)
        assert job["state"] == "starting"
        assert job["dashboard_url"] == f"http://127.0.0.1/ray/#/jobs/fgd-{job_id}-1"

    async def test_ray_gets_a_long_spec_cut_short(self, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("service.dispatcher.submitting.MAX_SPEC_CHARS", 100)
        await plane.submit(train_spec())
        await plane.tick()
        (submission,) = plane.cluster.submissions
        assert (len(submission.metadata["spec"]), submission.metadata["spec"][-1]) == (100, "…")

    async def test_jobs_that_do_not_fit_wait_with_a_reason(self, plane: ControlPlane) -> None:
        first = await plane.submit(train_spec(resources={"cpus": 2}))
        second = await plane.submit(train_spec(resources={"cpus": 1}))
        await plane.tick()
        assert (await plane.state(first), await plane.state(second)) == ("starting", "queued")
        assert (await plane.job(second))["reason"] == "needs 1 CPU on one node; 0 CPUs are free"
        await plane.run().fails("data")
        await plane.tick()
        assert await plane.state(second) == "starting"

    async def test_jobs_wait_while_the_cluster_is_unreachable(
        self, plane: ControlPlane, cluster: MemoryCluster
    ) -> None:
        cluster.is_reachable = False
        job_id = await plane.submit(train_spec())
        await plane.tick()
        job = await plane.job(job_id)
        assert (job["state"], job["attempts"]) == ("queued", [])
        assert "cannot be reached" in job["reason"]
        cluster.is_reachable = True
        await plane.tick()
        assert await plane.state(job_id) == "starting"

    async def test_a_job_with_an_invalid_stored_spec_fails(self, plane: ControlPlane) -> None:
        job_id = await plane.submit(train_spec())
        async with plane.services.database.writing() as session:
            await session.execute(update(Job).where(Job.id == job_id).values(spec=train_spec(epochs_of_old=3)))
        await plane.tick()
        failed = (await plane.events(job_id))[-1].data
        assert (failed["to_state"], failed["reason"], failed["error"]["code"]) == ("failed", "spec_invalid", "spec")
        assert failed["error"]["details"]["reasons"][0]["loc"] == "epochs_of_old"
        assert plane.cluster.submissions == []


class CrashError(Exception):
    pass


class CrashingCluster(MemoryCluster):
    """The process dies during a submission, before or after Ray has accepted it."""

    def __init__(self, *, taken: bool) -> None:
        super().__init__()
        self._crashes_left = 1
        self._taken = taken

    async def submit(self, submission: Submission) -> None:
        if self._crashes_left:
            self._crashes_left -= 1
            if self._taken:
                await super().submit(submission)
            raise CrashError
        await super().submit(submission)


class TestCrash:
    @pytest.mark.parametrize("taken", [False, True])
    async def test_an_attempt_is_adopted_after_a_crash_between_commit_and_submission(
        self, settings: Settings, clock: ManualClock, taken: bool
    ) -> None:
        cluster = CrashingCluster(taken=taken)
        before = ControlPlane(settings, cluster, clock)
        job_id = await before.submit(train_spec())
        with pytest.raises(CrashError):
            await before.tick()
        assert await before.state(job_id) == "starting"
        await before.close()

        after = ControlPlane(settings, cluster, clock)
        await after.tick()
        (submission,) = cluster.submissions
        assert submission.submission_id == f"fgd-{job_id}-1"
        # The token is stored nowhere; the same token is derived again, and is accepted.
        await after.run().starts()
        assert await after.state(job_id) == "running"
        assert len((await after.job(job_id))["attempts"]) == 1
        await after.close()

    async def test_a_restarted_control_plane_adopts_active_runs(
        self, plane: ControlPlane, settings: Settings, cluster: MemoryCluster, clock: ManualClock
    ) -> None:
        job_id, run = await plane.started_job()
        await run.reports(progress(1))
        batch = run.batch(progress(2))
        await plane.close()
        clock.forward(8)

        after = ControlPlane(settings, cluster, clock)
        await after.tick()
        assert await after.state(job_id) == "running"
        run._plane = after
        assert (await run.post(batch)).status_code == 200
        assert (await run.post(batch)).status_code == 200
        events = await after.events(job_id)
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        assert [event.data["step"] for event in events if event.kind == "progress"] == [1, 2]
        assert len(cluster.submissions) == 1
        await after.close()


class TestLoss:
    async def die(self, plane: ControlPlane, submission_id: str) -> None:
        """Kill the run's process, and let time pass until the dispatcher may mark it lost."""
        plane.cluster.output[submission_id] = "epoch 1\nKilled"
        log = ", last available logs (truncated to 20,000 chars):\nepoch 1\nKilled"
        plane.cluster.say(submission_id, "FAILED", f"the driver exited with code -9{log}")
        plane.clock.forward(11)
        await plane.tick()
        plane.clock.forward(3)
        await plane.tick()

    async def test_a_lost_run_is_retried_until_the_budget_is_spent(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job(train_spec(retry={"losses": 2}))
        for attempt in (1, 2, 3):
            assert run.submission_id == f"fgd-{job_id}-{attempt}"
            await self.die(plane, run.submission_id)
            if attempt < 3:
                assert await plane.state(job_id) == "queued"
                # Back-off: 1 s, then 2 s.
                await plane.tick()
                assert await plane.state(job_id) == "queued"
                plane.clock.forward(attempt)
                await plane.tick()
                run = plane.run()
                plane.cluster.say(run.submission_id, "RUNNING")
                await run.starts()
        job = await plane.job(job_id)
        assert job["state"] == "failed"
        assert job["error"]["code"] == "lost_run"
        assert job["error"]["message"].endswith("Ray reports: the driver exited with code -9")
        assert job["error"]["details"]["cluster_message"] == "the driver exited with code -9"
        assert job["error"]["details"]["last_lines"] == ["epoch 1", "Killed"]
        assert [attempt["error"]["code"] for attempt in job["attempts"]] == ["lost_run"] * 3
        one_round = [("starting", "leased"), ("running", "run_started"), ("lost", "run_lost")]
        assert await plane.moves(job_id) == [
            *one_round,
            ("queued", "retry"),
            *one_round,
            ("queued", "retry"),
            *one_round,
            ("failed", "retries_spent"),
        ]

    async def test_a_run_that_dies_before_its_first_event_is_lost(self, plane: ControlPlane) -> None:
        job_id = await plane.submit(train_spec())
        await plane.tick()
        await self.die(plane, plane.run().submission_id)
        assert ("lost", "run_lost") in await plane.moves(job_id)

    async def test_a_false_status_of_ray_does_not_end_a_run_that_reports(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        plane.cluster.say(run.submission_id, "FAILED", "a head that was not well")
        for _ in range(10):
            plane.clock.forward(8)
            await run.reports(progress(1))
            await plane.tick()
        assert await plane.state(job_id) == "running"

    async def test_a_cluster_that_cannot_be_reached_proves_nothing(self, plane: ControlPlane) -> None:
        job_id, _ = await plane.started_job()
        plane.cluster.is_reachable = False
        plane.clock.forward(10_000)
        await plane.tick()
        assert await plane.state(job_id) == "running"

    async def test_a_run_that_a_new_cluster_does_not_know_is_lost(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        plane.cluster.forget(run.submission_id)
        plane.clock.forward(29)
        await plane.tick()
        assert await plane.state(job_id) == "running"
        plane.clock.forward(2)
        await plane.tick()
        assert await plane.state(job_id) == "queued"

    async def test_a_final_event_within_the_grace_period_counts(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        plane.clock.forward(20)
        plane.cluster.say(run.submission_id, "SUCCEEDED")
        await plane.tick()
        assert await plane.state(job_id) == "running"
        await run.succeeds()
        plane.clock.forward(3)
        await plane.tick()
        assert await plane.state(job_id) == "succeeded"

    async def test_a_run_with_a_permanent_error_is_not_retried(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        await run.fails("out_of_memory", retryable=True)
        assert await plane.state(job_id) == "failed"


class LateReportCluster(MemoryCluster):
    """While the log of a run is read, the run delivers its last batch."""

    final_event: Callable[[], Awaitable[None]]

    async def logs(self, submission_id: str) -> Excerpt:
        await self.final_event()
        return await super().logs(submission_id)


async def test_an_event_during_the_loss_check_keeps_the_run(settings: Settings, clock: ManualClock) -> None:
    cluster = LateReportCluster()
    plane = ControlPlane(settings, cluster, clock)
    job_id, run = await plane.started_job()

    async def final_event() -> None:
        await run.reports(progress(7))

    cluster.final_event = final_event
    cluster.say(run.submission_id, "FAILED")
    clock.forward(11)
    await plane.tick()
    clock.forward(3)
    await plane.tick()
    assert await plane.state(job_id) == "running"
    await plane.close()


class LogsGoneCluster(MemoryCluster):
    """The node that holds the run's log is gone."""

    async def logs(self, submission_id: str) -> Excerpt:
        raise ClusterError("Ray could not send a run's log")


async def test_a_run_whose_log_is_gone_is_still_marked_lost(settings: Settings, clock: ManualClock) -> None:
    cluster = LogsGoneCluster()
    plane = ControlPlane(settings, cluster, clock)
    job_id, run = await plane.started_job()
    cluster.say(run.submission_id, "FAILED")
    clock.forward(11)
    for _ in range(2):
        # The regular copy of the log fails as well.
        with suppress(ClusterError):
            await plane.tick()
        clock.forward(3)
    assert ("lost", "run_lost") in await plane.moves(job_id)
    await plane.close()


class TestCancel:
    async def test_a_run_that_stops_by_itself_keeps_its_final_event(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        await plane.http.post(f"/v1/jobs/{job_id}/cancel")
        assert (await run.reports(progress(3)))["wish"] == "cancel"
        await plane.tick()
        assert plane.cluster.stopped == []
        await run.reports({"kind": "run_finished", "outcome": "stopped"})
        assert await plane.state(job_id) == "cancelled"

    async def test_a_run_that_ignores_a_cancel_is_stopped_after_the_grace_period(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        await plane.http.post(f"/v1/jobs/{job_id}/cancel")
        plane.clock.forward(19)
        await run.reports(progress(3))
        await plane.tick()
        assert plane.cluster.stopped == []
        plane.clock.forward(2)
        await plane.tick()
        assert plane.cluster.stopped == [run.submission_id]
        assert await plane.state(job_id) == "cancelling"
        await plane.tick()
        plane.clock.forward(3)
        await plane.tick()
        assert await plane.state(job_id) == "cancelled"
        assert await plane.moves(job_id) == [
            ("starting", "leased"),
            ("running", "run_started"),
            ("cancelling", "cancel_requested"),
            ("cancelled", "run_cancelled"),
        ]

    async def test_a_run_that_has_not_started_is_stopped_at_once(self, plane: ControlPlane) -> None:
        job_id = await plane.submit(train_spec())
        await plane.tick()
        await plane.http.post(f"/v1/jobs/{job_id}/cancel")
        await plane.tick()
        await plane.tick()
        assert plane.cluster.stopped == [f"fgd-{job_id}-1"]
        assert await plane.state(job_id) == "cancelled"

    async def test_a_cancelled_run_is_not_submitted(self, settings: Settings, clock: ManualClock) -> None:
        cluster = CrashingCluster(taken=False)
        plane = ControlPlane(settings, cluster, clock)
        job_id = await plane.submit(train_spec())
        with pytest.raises(CrashError):
            await plane.tick()
        await plane.http.post(f"/v1/jobs/{job_id}/cancel")
        await plane.tick()
        assert await plane.state(job_id) == "cancelled"
        assert cluster.submissions == []
        await plane.close()


class TestDependencies:
    async def test_a_chain_runs_in_order(self, plane: ControlPlane) -> None:
        teacher = await plane.submit(train_spec())
        student = await plane.submit(train_spec(detector={"type": "retinanet", "weights": f"job:{teacher}/best"}))
        judge = await plane.submit(evaluate_spec(f"job:{student}/best"))
        for job_id in (teacher, student, judge):
            await plane.tick()
            run = plane.run()
            assert run.submission_id == f"fgd-{job_id}-1"
            await run.starts()
            if job_id != judge:
                await run.saves_checkpoint()
            await run.succeeds()
        assert await plane.moves(judge) == [
            ("queued", "dependencies_met"),
            ("starting", "leased"),
            ("running", "run_started"),
            ("succeeded", "run_succeeded"),
        ]

    @pytest.mark.parametrize("ending", ["failed", "cancelled", "without a checkpoint"])
    async def test_a_job_fails_if_its_dependency_fails(self, plane: ControlPlane, ending: str) -> None:
        teacher, run = await plane.started_job()
        student = await plane.submit(evaluate_spec(f"job:{teacher}/best"))
        judge = await plane.submit(evaluate_spec(f"job:{teacher}/last"))
        match ending:
            case "failed":
                await run.fails("data")
            case "cancelled":
                await plane.http.post(f"/v1/jobs/{teacher}/cancel")
                await run.reports({"kind": "run_finished", "outcome": "stopped"})
            case _:
                await run.succeeds()
        await plane.tick()
        for job_id in (student, judge):
            job = await plane.job(job_id)
            assert (job["state"], job["error"]["code"]) == ("failed", "dependency_failed")
            assert job["error"]["details"]["job_id"] == teacher
            assert await plane.moves(job_id) == [("failed", "dependency_failed")]


class TestArchive:
    async def test_the_driver_log_survives_the_cluster(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        plane.cluster.output[run.submission_id] = "Grüße\n"
        await run.fails("data")
        await plane.tick()
        plane.cluster.is_reachable = False
        (artifact,) = (await plane.job(job_id))["artifacts"]
        assert artifact["name"] == "attempt-1.log"
        answer = await plane.http.get(artifact["url"])
        assert (answer.text, answer.headers["content-type"]) == ("Grüße\n", "text/plain; charset=utf-8")

    async def test_a_run_that_does_not_end_after_its_final_event_is_stopped(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        await run.fails("data")
        plane.cluster.say(run.submission_id, "RUNNING")
        await plane.tick()
        assert plane.cluster.stopped == []
        plane.clock.forward(21)
        await plane.tick()
        assert plane.cluster.stopped == [run.submission_id]
        await plane.tick()
        assert (await plane.job(job_id))["attempts"][0]["released_at"] is not None


class TestLoop:
    async def test_a_submission_starts_a_tick_at_once(self, settings: Settings, cluster: MemoryCluster) -> None:
        app = create_app(settings.model_copy(update={"tick_s": 1000.0}), cluster)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client,
            asyncio.timeout(60),
        ):
            await client.post("/v1/jobs", json=train_spec())
            await cluster.was_asked.wait()

    async def test_the_loop_continues_after_an_error(self, settings: Settings, clock: ManualClock) -> None:
        cluster = CrashingCluster(taken=False)
        plane = ControlPlane(settings, cluster, clock)
        await plane.submit(train_spec())
        dispatching = BackgroundTask(name="dispatcher", run_once=plane.dispatcher.run_once, period_s=0.01)
        running = asyncio.create_task(repeat(dispatching))
        async with asyncio.timeout(60):
            await cluster.was_asked.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await plane.close()

    async def test_two_control_planes_cannot_share_a_home(self, settings: Settings, cluster: MemoryCluster) -> None:
        first, second = create_app(settings, cluster), create_app(settings, cluster)
        async with first.router.lifespan_context(first):
            with pytest.raises(ConflictError, match="another control plane"):
                async with second.router.lifespan_context(second):
                    pass
        third = create_app(settings, MemoryCluster(TWO_CORES))
        async with third.router.lifespan_context(third):
            pass
        await second.state.services.database.close()


class TestOneRunOfMany:
    async def test_a_run_that_ray_does_not_answer_about_delays_no_other(
        self, plane: ControlPlane, cluster: MemoryCluster
    ) -> None:
        first = await plane.submit(train_spec())
        second = await plane.submit(train_spec())
        await plane.tick()
        cluster.refuses.add(f"fgd-{first}-1")
        await Run(plane, f"fgd-{second}-1").fails("data")
        await plane.tick()
        assert (await plane.job(second))["attempts"][0]["released_at"] is not None

    async def test_a_submission_that_ray_keeps_refusing_is_marked_lost(
        self, plane: ControlPlane, cluster: MemoryCluster
    ) -> None:
        job_id = await plane.submit(train_spec(retry={"losses": 0}))
        await plane.tick()
        cluster.forget(f"fgd-{job_id}-1")
        plane.clock.forward(301)
        await plane.tick()
        assert (await plane.job(job_id))["error"]["code"] == "lost_run"

    async def test_a_false_failed_does_not_end_a_run_that_saves(
        self, plane: ControlPlane, cluster: MemoryCluster
    ) -> None:
        job_id, run = await plane.started_job()
        await plane.http.post(f"/v1/jobs/{job_id}/cancel")
        cluster.say(run.submission_id, "FAILED")
        await plane.tick()
        plane.clock.forward(3)
        await run.reports(progress(2))
        await plane.tick()
        assert await plane.state(job_id) == "cancelling"
        await run.reports({"kind": "run_finished", "outcome": "stopped"})
        assert await plane.state(job_id) == "cancelled"
