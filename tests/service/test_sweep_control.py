"""What people ask of a sweep: its trials, one more, one less, a larger budget."""

from typing import Any

import httpx
import pytest
from control_plane import ControlPlane, Run, train_spec
from memory_cluster import MemoryCluster
from sweeps import begun, ended, reported, sweep_spec

from service.jobs.lifecycle import OVER
from service.settings import Settings
from service.settings.groups import WebhookSettings

RATE = "training.optimizer.learning_rate"


async def ask(plane: ControlPlane, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
    return await plane.http.post(f"/v1/jobs/{path}", json=body)


async def trials(plane: ControlPlane, job_id: str) -> dict[int, dict[str, Any]]:
    answer = await plane.http.get(f"/v1/jobs/{job_id}/trials")
    assert answer.status_code == 200, answer.text
    return {item["trial"]: item for item in answer.json()["items"]}


async def told(plane: ControlPlane, job_id: str, kind: str) -> list[dict[str, Any]]:
    return [event.data for event in await plane.events(job_id) if event.kind == kind]


def reasons(answer: httpx.Response) -> dict[str, str]:
    assert (answer.status_code, answer.json()["code"]) == (422, "admission"), answer.text
    return {each["loc"]: each["code"] for each in answer.json()["reasons"]}


class TestTrials:
    async def test_they_are_told_as_they_stand(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job(sweep_spec())
        await run.reports(begun(0), reported(0, 1, 0.3), reported(0, 2, 0.2), ended(0, "stopped", 2), begun(1))
        found = await trials(plane, job_id)
        assert {number: trial["state"] for number, trial in found.items()} == {0: "stopped", 1: "running"}
        assert (found[0]["objectives"], found[0]["best_epoch"], found[0]["epoch"]) == ([0.3], 1, 2)
        page = (await plane.http.get(f"/v1/jobs/{job_id}/trials")).json()
        assert page["last_sequence"] == (await plane.job(job_id))["last_sequence"]
        assert (await plane.http.get(f"/v1/jobs/{job_id}/trials/0")).json() == found[0]
        some = await plane.http.get(f"/v1/jobs/{job_id}/trials", params={"number": [1, 7]})
        assert some.json()["items"] == [found[1]]

    async def test_a_trial_that_was_not_begun_and_a_job_without_trials(self, plane: ControlPlane) -> None:
        job_id, _ = await plane.started_job(sweep_spec())
        assert (await plane.http.get(f"/v1/jobs/{job_id}/trials/0")).status_code == 404
        assert await trials(plane, job_id) == {}
        training = await plane.submit(train_spec())
        answer = await plane.http.get(f"/v1/jobs/{training}/trials")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert (await plane.http.get("/v1/jobs/nobody/trials")).status_code == 404


class TestOneMore:
    async def test_values_are_checked_and_handed_to_the_driver_in_order(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job(sweep_spec())
        first = await ask(plane, f"{job_id}/trials", {"values": {RATE: 1}})
        second = await ask(plane, f"{job_id}/trials", {"values": {"training.batch_size": 4.0}})
        assert [(each.status_code, each.json()["number"]) for each in (first, second)] == [(202, 0), (202, 1)]
        log = await plane.http.get(f"/v1/attempts/{run.attempt_id}/study", headers=run.headers)
        asked = [entry["event"] for entry in log.json()["entries"]]
        assert [(each["number"], each["values"], each["by"]) for each in asked] == [
            (0, {RATE: 1.0}, "anonymous"),
            (1, {"training.batch_size": 4}, "anonymous"),
        ]
        assert isinstance(asked[1]["values"]["training.batch_size"], int)

    async def test_all_that_is_wrong_with_its_values_is_told_and_nothing_stored(self, plane: ControlPlane) -> None:
        job_id, _ = await plane.started_job(sweep_spec())
        answer = await ask(plane, f"{job_id}/trials", {"values": {RATE: -1, "training.batch_size": 0}})
        assert set(reasons(answer)) == {f"values.{RATE}", "values.training.batch_size"}
        assert await told(plane, job_id, "trial_asked") == []

    async def test_a_sweep_that_waits_takes_one_and_one_that_is_over_does_not(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job(sweep_spec())
        waiting = await plane.submit(sweep_spec(resources={"cpus": 2}))
        assert (await ask(plane, f"{waiting}/trials", {"values": {}})).status_code == 202
        await run.succeeds()
        answer = await ask(plane, f"{job_id}/trials", {"values": {}})
        assert answer.status_code == 409
        assert "raise its budget" in answer.json()["detail"]


class TestOneLess:
    async def test_a_trial_is_asked_to_stop(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job(sweep_spec())
        await run.reports(begun(0), begun(1), ended(1, "paused", 1))
        for number in (0, 1):
            assert (await ask(plane, f"{job_id}/trials/{number}/stop")).status_code == 202
        assert [each["trial"] for each in await told(plane, job_id, "trial_stop_asked")] == [0, 1]

    async def test_one_that_is_over_or_was_never_begun_is_not(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job(sweep_spec())
        await run.reports(begun(0), ended(0))
        answer = await ask(plane, f"{job_id}/trials/0/stop")
        assert (answer.status_code, answer.json()["detail"]) == (409, "trial 0 is already completed")
        assert (await ask(plane, f"{job_id}/trials/7/stop")).status_code == 404
        await run.succeeds()
        assert (await ask(plane, f"{job_id}/trials/0/stop")).status_code == 409


class TestMoreBudget:
    async def test_a_sweep_under_way_is_told_and_stays_where_it_is(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job(sweep_spec())
        answer = await ask(plane, f"{job_id}/budget", {"trials": 5})
        assert (answer.status_code, answer.json()["state"]) == (202, "running")
        log = await plane.http.get(f"/v1/attempts/{run.attempt_id}/study", headers=run.headers)
        assert [(each["event"]["kind"], each["event"]["trials"]) for each in log.json()["entries"]] == [
            ("budget_raised", 5)
        ]

    @pytest.mark.parametrize("end", ["succeeds", "fails", "cancelled", "paused"])
    async def test_one_that_stands_still_is_queued_again_and_goes_on_with_its_trials(
        self, plane: ControlPlane, end: str
    ) -> None:
        job_id, run = await plane.started_job(sweep_spec())
        await run.reports(begun(0), ended(0))
        await self.end(plane, job_id, run, end)
        await plane.tick()
        answer = await ask(plane, f"{job_id}/budget", {"trials": 5})
        assert answer.status_code == 202, answer.text
        view = answer.json()
        assert (view["state"], view["reason_code"]) == ("queued", "budget_raised")
        assert (view["result"], view["error"], view["ended_at"]) == (None, None, None)
        await plane.tick()
        again = plane.run()
        assert again.submission_id != run.submission_id
        await again.starts()
        log = await plane.http.get(f"/v1/attempts/{again.attempt_id}/study", headers=again.headers)
        kinds = [entry["event"]["kind"] for entry in log.json()["entries"]]
        assert kinds == ["trial_started", "trial_ended", "budget_raised"]
        await again.succeeds()
        assert (await plane.job(job_id))["state"] == "succeeded"

    async def end(self, plane: ControlPlane, job_id: str, run: Run, how: str) -> None:
        match how:
            case "succeeds":
                await run.succeeds()
            case "fails":
                await run.fails("data")
            case _:
                await ask(plane, f"{job_id}/{'pause' if how == 'paused' else 'cancel'}")
                await run.reports({"kind": "run_finished", "outcome": "stopped"})
                plane.cluster.say(run.submission_id, "SUCCEEDED")
        assert await plane.state(job_id) == {"succeeds": "succeeded", "fails": "failed"}.get(how, how)

    async def test_one_that_is_being_cancelled_is_not_held_up(self, plane: ControlPlane) -> None:
        job_id, _ = await plane.started_job(sweep_spec())
        await ask(plane, f"{job_id}/cancel")
        assert (await ask(plane, f"{job_id}/budget", {"trials": 5})).status_code == 409
        assert await told(plane, job_id, "budget_raised") == []

    async def test_what_would_change_nothing_is_refused(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job(sweep_spec())
        await run.succeeds()
        assert reasons(await ask(plane, f"{job_id}/budget", {})) == {"": "nothing_raised"}
        assert reasons(await ask(plane, f"{job_id}/budget", {"epochs": 5})) == {"epochs": "no_limit"}
        assert (await ask(plane, f"{job_id}/budget", {"trials": -1})).status_code == 422
        assert await plane.state(job_id) == "succeeded"

    async def test_another_job_that_succeeded_stays_so(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        await run.succeeds()
        assert (await ask(plane, f"{job_id}/budget", {"trials": 5})).status_code == 404
        assert (await ask(plane, f"{job_id}/retry")).status_code == 409
        assert await plane.state(job_id) == "succeeded"


class TestSurroundings:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"webhooks": WebhookSettings(allow_private=True)})

    async def test_the_end_of_a_sweep_is_told_to_webhooks_and_so_is_its_second_end(self, plane: ControlPlane) -> None:
        # An address reserved for documentation: deliveries fail, but are counted.
        hook = (await plane.http.post("/v1/webhooks", json={"url": "https://192.0.2.1/hook"})).json()
        job_id, run = await plane.started_job(sweep_spec())
        await run.succeeds()
        await plane.tick()
        await ask(plane, f"{job_id}/budget", {"trials": 1})
        await plane.tick()
        again = plane.run()
        await again.starts()
        await again.fails("data")
        page = (await plane.http.get(f"/v1/webhooks/{hook['webhook_id']}/deliveries")).json()
        ends = [event.sequence for event in await plane.events(job_id) if event.data.get("to_state") in OVER]
        assert sorted(item["sequence"] for item in page["items"]) == ends
        assert len(ends) == 2

    async def test_what_was_asked_is_in_the_audit_trail(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job(sweep_spec())
        await run.reports(begun(0))
        await ask(plane, f"{job_id}/trials", {"values": {}})
        await ask(plane, f"{job_id}/trials/0/stop")
        await ask(plane, f"{job_id}/budget", {"trials": 2})
        rows = (await plane.http.get("/v1/audit")).json()["items"]
        found = {row["action"]: row for row in rows}
        assert {"add_trial", "stop_trial", "raise_budget"} <= set(found)
        assert found["raise_budget"]["details"]["trials"] == 2
        assert found["raise_budget"]["project"] == "default"

    async def test_the_best_of_a_sweep_can_be_waited_for_by_another_job(
        self, plane: ControlPlane, cluster: MemoryCluster
    ) -> None:
        sweep, run = await plane.started_job(sweep_spec())
        evaluation = {"kind": "evaluate", "name": "e", "checkpoint": f"job:{sweep}/best", "data": {"type": "shapes"}}
        waiting = await plane.submit(evaluation)
        last = await plane.http.post("/v1/jobs", json=evaluation | {"checkpoint": f"job:{sweep}/last"})
        assert reasons(last) == {"checkpoint": "no_checkpoint"}
        file = {"uri": "/x/best.pt", "media_type": "x/y", "sha256": "0" * 64, "size_bytes": 1}
        await run.reports({"kind": "artifact_saved", "name": "best.pt", **file})
        await run.succeeds()
        await plane.tick()
        await plane.tick()
        assert await plane.state(waiting) == "starting"
