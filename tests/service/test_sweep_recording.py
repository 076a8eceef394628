"""Events of a sweep's driver are stored, and the next driver continues from them."""

from typing import Any

import httpx
from control_plane import ControlPlane, Run, progress, scores
from sweeps import begun, ended, progressed, reported, sweep_spec, trial_event


async def curves(plane: ControlPlane, job_id: str, **query: Any) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """Return the points of all curves as {(trial, name): points}."""
    page = (await plane.http.get(f"/v1/jobs/{job_id}/metrics", params=query)).json()
    return {
        (item["trial"], item["name"]): [(point["step"], point["value"]) for point in item["points"]]
        for item in page["items"]
    }


async def study(plane: ControlPlane, run: Run, after: int = 0) -> httpx.Response:
    return await plane.http.get(f"/v1/attempts/{run.attempt_id}/study", params={"after": after}, headers=run.headers)


class TestCurvesOfTrials:
    async def test_each_trial_has_its_own_curves(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job(sweep_spec())
        points = {"kind": "metrics_logged", "steps": [1, 2], "values": {"loss": [3.0, 2.0]}}
        later = {trial: points | {"steps": [3], "values": {"loss": [loss]}} for trial, loss in ((0, 1.0), (1, 9.0))}
        await run.reports(trial_event(0, points), trial_event(1, later[1]), trial_event(0, later[0]))
        found = await curves(plane, job_id, name="loss")
        assert found == {("0", "loss"): [(1, 3.0), (2, 2.0), (3, 1.0)], ("1", "loss"): [(3, 9.0)]}
        assert await curves(plane, job_id, name="loss", trial="1") == {("1", "loss"): [(3, 9.0)]}

    async def test_points_leave_no_event_and_other_events_are_stored_unchanged(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job(sweep_spec())
        before = (await plane.job(job_id))["last_sequence"]
        points = {"kind": "metrics_logged", "steps": [1], "values": {"loss": [3.0]}}
        scored = {"kind": "evaluated", "epoch": 1, "step": 5, "scores": scores(0.4)}
        unknown = {"kind": "from_the_future", "x": 1}
        await run.reports(trial_event(0, points), trial_event(0, scored), trial_event(0, unknown), begun(1))
        events = [event.data for event in await plane.events(job_id) if event.sequence > before]
        assert events == [trial_event(0, scored), trial_event(0, unknown), begun(1)]
        assert (await curves(plane, job_id))["0", "val/ap"] == [(5, 0.4)]

    async def test_a_trials_checkpoint_is_not_an_artifact_of_the_sweep(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job(sweep_spec())
        saved = {"uri": "/x/best.pt", "sha256": "0" * 64, "size_bytes": 1, "epoch": 1, "step": 5, "ap": 0.5}
        await run.reports(trial_event(0, {"kind": "checkpoint_saved", "name": "best", **saved}))
        assert (await plane.job(job_id))["artifacts"] == []

    async def test_unknown_events_of_a_trial_do_not_fail_the_batch(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job(sweep_spec())
        broken = {"kind": "metrics_logged", "steps": "many"}
        nan = progress(3, loss=float("nan"))
        huge = trial_event(10**80, {"kind": "metrics_logged", "steps": [1], "values": {"loss": [1.0]}})
        nobody = {"kind": "trial_event", "event": broken}
        await run.reports(trial_event(0, broken), trial_event(0, nan), huge, nobody, trial_event(-1, broken))
        assert [event.kind for event in await plane.events(job_id)][-5:] == ["trial_event"] * 5
        assert await curves(plane, job_id) == {}

    async def test_the_progress_of_a_sweep_is_that_of_its_trials(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job(sweep_spec())
        await run.reports(progressed(done=3, planned=12, best=0.31), trial_event(0, progress(3)))
        at = (await plane.job(job_id))["progress"]
        assert (at["step"], at["steps"], at["eta_s"], at["best_ap"]) == (3, 12, 9.0, 0.31)


class TestStudy:
    async def test_a_driver_reads_its_trials_and_the_requests_in_order(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job(sweep_spec())
        facts = [begun(0), reported(0, 1, 0.2), ended(0)]
        await run.reports(
            begun(0), trial_event(0, progress(1)), reported(0, 1, 0.2), progressed(done=0, planned=1), ended(0)
        )
        log = (await study(plane, run)).json()
        assert [entry["event"]["kind"] for entry in log["entries"]] == [fact["kind"] for fact in facts]
        assert log["entries"][1]["event"]["objectives"] == [0.2]
        newest = [entry["sequence"] for entry in log["entries"]]
        assert newest == sorted(newest)
        behind = (await study(plane, run, after=newest[1])).json()
        assert [entry["sequence"] for entry in behind["entries"]] == newest[2:]

    async def test_an_unreadable_entry_is_skipped(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job(sweep_spec())
        await run.reports({"kind": "trial_started", "trial": "the first"}, begun(1))
        assert [entry["event"]["trial"] for entry in (await study(plane, run)).json()["entries"]] == [1]

    async def test_the_next_attempt_continues_with_the_time_already_spent(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job(sweep_spec())
        await run.reports(begun(0))
        plane.clock.forward(100)
        await run.fails("network", retryable=True)
        plane.clock.forward(3600)
        await plane.tick()
        again = plane.run()
        await again.starts()
        log = (await study(plane, again)).json()
        assert 100 <= log["seconds"] < 101
        assert [entry["event"]["trial"] for entry in log["entries"]] == [0]
        assert (await study(plane, run)).status_code == 409

    async def test_it_requires_the_token_of_the_attempt(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job(sweep_spec())
        path = f"/v1/attempts/{run.attempt_id}/study"
        assert (await plane.http.get(path)).status_code == 401
        assert (await plane.http.get(path, headers={"Authorization": "Bearer wrong"})).status_code == 401


class TestEarlierTrials:
    async def first(self, plane: ControlPlane, **changes: Any) -> str:
        job_id, run = await plane.started_job(sweep_spec(**changes))
        await run.reports(begun(0), reported(0, 1, 0.2), ended(0), begun(1, rate=0.1), reported(1, 1, 0.1))
        await run.reports(ended(1, "stopped", 1), begun(2), ended(2, "failed", 0), begun(3))
        await run.reports(begun(4), ended(4, "stopped", 1, by_user=True), begun(5, repeats=0), ended(5))
        await run.succeeds()
        return job_id

    async def test_a_fork_counts_the_finished_trials_of_its_sweep(self, plane: ControlPlane) -> None:
        earlier = await self.first(plane)
        _, run = await plane.started_job(sweep_spec(fork=earlier))
        found = (await study(plane, run)).json()["earlier"]
        assert [(each["trial"], each["counts"], each["ended"]["cause"]) for each in found] == [
            (0, True, "completed"),
            (1, True, "stopped"),
        ]
        assert found[1]["values"] == {"training.optimizer.learning_rate": 0.1}
        assert [each["objectives"] for each in found[1]["reports"]] == [[0.1]]

    async def test_a_warm_start_learns_from_other_sweeps_only_at_its_start(self, plane: ControlPlane) -> None:
        earlier = await self.first(plane)
        _, run = await plane.started_job(sweep_spec(warm_start=[earlier]))
        assert [each["counts"] for each in (await study(plane, run)).json()["earlier"]] == [False, False]
        assert (await study(plane, run, after=1)).json()["earlier"] == []
