"""Job control: pause, resume, retry, priorities and the queue."""

from typing import Any

import httpx
import pytest
from control_plane import ControlPlane, progress, train_spec

from service.jobs.cluster import Capacity, Node


async def post(plane: ControlPlane, job_id: str, what: str, **headers: str) -> httpx.Response:
    return await plane.http.post(f"/v1/jobs/{job_id}/{what}", headers=headers)


async def accepted(plane: ControlPlane, job_id: str, what: str) -> dict[str, Any]:
    answer = await post(plane, job_id, what)
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"/v1/jobs/{job_id}"
    job: dict[str, Any] = answer.json()
    return job


class TestPause:
    async def test_a_running_job_saves_then_pauses_and_frees_its_resources(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        assert (await accepted(plane, job_id, "pause"))["state"] == "pausing"
        assert (await run.reports(progress(3)))["wish"] == "pause"
        await run.reports({"kind": "run_finished", "outcome": "stopped"})
        plane.cluster.say(run.submission_id, "SUCCEEDED")
        await plane.tick()
        job = await plane.job(job_id)
        assert (job["state"], job["ended_at"]) == ("paused", None)
        [attempt] = job["attempts"]
        assert attempt["cause"] == "stopped"
        assert attempt["released_at"] is not None
        await plane.tick()
        assert await plane.state(job_id) == "paused"

    async def test_a_resumed_job_gets_a_new_attempt_and_spends_no_retry(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        await accepted(plane, job_id, "pause")
        await run.reports({"kind": "run_finished", "outcome": "stopped"})
        assert (await accepted(plane, job_id, "resume"))["state"] == "queued"
        await plane.tick()
        assert plane.run().submission_id == f"fgd-{job_id}-2"
        job = await plane.job(job_id)
        assert (job["failures"], job["losses"]) == (0, 0)

    async def test_the_run_time_excludes_the_pause(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        plane.clock.forward(100)
        await accepted(plane, job_id, "pause")
        await run.reports({"kind": "run_finished", "outcome": "stopped"})
        plane.clock.forward(5000)
        await accepted(plane, job_id, "resume")
        await plane.tick()
        again = plane.run()
        await again.starts()
        [listed] = (await plane.http.get("/v1/jobs")).json()["items"]
        assert listed["ran_s"] == pytest.approx(100, abs=1)
        assert listed["running_since"] is not None
        plane.clock.forward(200)
        await again.succeeds()
        [listed] = (await plane.http.get("/v1/jobs")).json()["items"]
        assert listed["ran_s"] == pytest.approx(300, abs=1)
        assert listed["running_since"] is None
        assert (await plane.job(job_id))["ran_s"] == listed["ran_s"]
        report = (await plane.http.get(f"/v1/jobs/{job_id}/report")).json()
        assert report["jobs"][0]["ran_s"] == listed["ran_s"]

    async def test_a_run_that_does_not_stop_in_time_is_stopped_and_its_job_paused(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        await accepted(plane, job_id, "pause")
        plane.clock.forward(plane.settings.cancel_grace_s + 1)
        await plane.tick()
        assert plane.cluster.stopped == [run.submission_id]
        await plane.tick()
        plane.clock.forward(3)
        await plane.tick()
        assert await plane.state(job_id) == "paused"
        assert (await plane.moves(job_id))[-1] == ("paused", "run_took_too_long_to_stop")

    async def test_a_waiting_job_is_paused_at_once_and_never_starts(self, plane: ControlPlane) -> None:
        job_id = await plane.submit(train_spec())
        assert (await accepted(plane, job_id, "pause"))["state"] == "paused"
        await plane.tick()
        assert plane.cluster.submissions == []

    async def test_resuming_a_pausing_job_queues_it_after_the_pause(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        await accepted(plane, job_id, "pause")
        assert (await accepted(plane, job_id, "resume"))["state"] == "pausing"
        await run.reports({"kind": "run_finished", "outcome": "stopped"})
        assert await plane.state(job_id) == "queued"

    async def test_a_paused_job_is_cancelled_at_once(self, plane: ControlPlane) -> None:
        job_id = await plane.submit(train_spec())
        await accepted(plane, job_id, "pause")
        assert (await accepted(plane, job_id, "cancel"))["state"] == "cancelled"

    async def test_a_run_that_finishes_before_the_pause_signal_succeeds(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        await accepted(plane, job_id, "pause")
        await run.succeeds()
        assert await plane.state(job_id) == "succeeded"

    @pytest.mark.parametrize("what", ["pause", "resume", "cancel", "retry"])
    async def test_an_impossible_change_is_refused_with_the_state(self, plane: ControlPlane, what: str) -> None:
        job_id, run = await plane.started_job()
        await run.succeeds()
        answer = await post(plane, job_id, what)
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        assert "succeeded" in answer.json()["detail"]


class TestPreemption:
    async def test_an_urgent_job_preempts_a_preemptible_one_which_resumes_later(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job(train_spec(preemptible=True, resources={"cpus": 2}))
        urgent = await plane.submit(train_spec(priority=10, resources={"cpus": 2}))
        await plane.tick()
        assert await plane.state(job_id) == "pausing"
        assert [e.data["for_job"] for e in await plane.events(job_id) if e.kind == "pause_requested"] == [urgent]
        await run.reports({"kind": "run_finished", "outcome": "stopped"})
        plane.cluster.say(run.submission_id, "SUCCEEDED")
        await plane.tick()
        assert (await plane.state(job_id), await plane.state(urgent)) == ("queued", "starting")
        urgent_run = plane.run()
        await urgent_run.starts()
        await urgent_run.succeeds()
        await plane.tick()
        assert await plane.state(job_id) == "starting"
        assert ("paused", "run_paused") in await plane.moves(job_id)


class TestRetry:
    async def test_a_retried_job_has_full_budgets(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job(train_spec(retry={"failures": 0}))
        await run.fails("network", retryable=True)
        assert await plane.state(job_id) == "failed"
        job = await accepted(plane, job_id, "retry")
        assert (job["state"], job["error"], job["ended_at"], job["failures"]) == ("queued", None, None, 0)
        await plane.tick()
        assert plane.run().submission_id == f"fgd-{job_id}-2"

    async def test_failures_and_losses_have_separate_budgets(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job(train_spec(retry={"failures": 1, "losses": 1}))
        await run.fails("network", retryable=True)
        plane.clock.forward(60)
        await plane.tick()
        run = plane.run()
        await run.starts()
        await run.reports({"kind": "run_finished", "outcome": "stopped"})
        job = await plane.job(job_id)
        assert (job["state"], job["failures"], job["losses"]) == ("queued", 1, 1)
        assert [attempt["cause"] for attempt in job["attempts"]] == ["failed", "stopped"]

    async def test_out_of_memory_retries_with_half_the_batch_if_the_spec_allows_it(self, plane: ControlPlane) -> None:
        spec = train_spec(retry={"failures": 3, "on_out_of_memory": "halve_batch"})
        job_id, run = await plane.started_job(spec)
        for batch_size, rate in ((4, 0.005), (2, 0.0025)):
            await run.fails("out_of_memory")
            plane.clock.forward(60)
            await plane.tick()
            run = plane.run()
            assignment = await plane.http.get(f"/v1/attempts/{run.attempt_id}", headers=run.headers)
            training = assignment.json()["spec"]["training"]
            assert (training["batch_size"], training["optimizer"]["learning_rate"]) == (batch_size, rate)
            await run.starts()
        job = await plane.job(job_id)
        assert job["spec"]["training"]["batch_size"] == 8
        assert job["attempts"][-1]["spec_changes"]["training.batch_size"] == 2

    async def test_a_batch_that_cannot_be_halved_ends_the_job_with_its_error(self, plane: ControlPlane) -> None:
        spec = train_spec(
            retry={"failures": 9, "on_out_of_memory": "halve_batch"}, training={"batch_size": 2, "epochs": 1}
        )
        job_id, run = await plane.started_job(spec)
        await run.fails("out_of_memory")
        plane.clock.forward(60)
        await plane.tick()
        run = plane.run()
        await run.starts()
        await run.fails("out_of_memory")
        job = await plane.job(job_id)
        assert (job["state"], job["error"]["code"], len(job["attempts"])) == ("failed", "out_of_memory", 2)
        assert ("failed", "run_failed") in await plane.moves(job_id)


class TestPatch:
    async def test_a_change_of_priority_is_an_event(self, plane: ControlPlane) -> None:
        first = await plane.submit(train_spec(resources={"cpus": 2}))
        second = await plane.submit(train_spec(resources={"cpus": 2}))
        answer = await plane.http.patch(f"/v1/jobs/{second}", json={"priority": 7})
        assert (answer.status_code, answer.json()["priority"]) == (200, 7)
        await plane.tick()
        assert (await plane.state(first), await plane.state(second)) == ("queued", "starting")
        [changed] = [event.data for event in await plane.events(second) if event.kind == "priority_changed"]
        assert (changed["from_priority"], changed["to_priority"], changed["by"]) == (0, 7, "anonymous")

    async def test_a_change_with_an_outdated_etag_is_refused(self, plane: ControlPlane) -> None:
        job_id = await plane.submit(train_spec())
        etag = (await plane.http.get(f"/v1/jobs/{job_id}")).headers["ETag"]
        path = f"/v1/jobs/{job_id}"
        assert (await plane.http.patch(path, json={"priority": 1}, headers={"If-Match": etag})).status_code == 200
        answer = await plane.http.patch(path, json={"priority": 2}, headers={"If-Match": etag})
        assert (answer.status_code, answer.json()["code"]) == (412, "changed_meanwhile")
        assert (await plane.job(job_id))["priority"] == 1

    async def test_a_change_of_state_changes_the_etag_but_progress_does_not(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        etag = (await plane.http.get(f"/v1/jobs/{job_id}")).headers["ETag"]
        await run.reports(progress(1))
        assert (await plane.http.get(f"/v1/jobs/{job_id}")).headers["ETag"] == etag
        assert (await post(plane, job_id, "pause")).headers["ETag"] != etag


class TestQueue:
    async def queue(self, plane: ControlPlane) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = (await plane.http.get("/v1/queue")).json()["items"]
        return items

    async def test_it_lists_jobs_in_order_with_their_reasons(self, plane: ControlPlane) -> None:
        running, run = await plane.started_job(train_spec(resources={"cpus": 2}))
        await run.reports(progress(1))
        plane.cluster.largest = Capacity((Node(node_id="here", cpus_total=2, cpus_free=0),))
        plane.clock.forward(5)
        patient = await plane.submit(train_spec())
        urgent = await plane.submit(train_spec(priority=3))
        student = await plane.submit(
            {**train_spec(), "detector": {"type": "retinanet", "weights": f"job:{running}/best"}, "name": "a student"}
        )
        items = await self.queue(plane)
        assert [(item["job_id"], item["code"], item["position"]) for item in items] == [
            (urgent, "busy", 1),
            (patient, "busy", 2),
            (student, "dependencies", 3),
        ]
        assert running in items[2]["message"]
        # The run reports that it needs 3 s more.
        assert items[0]["not_before"] is not None

    async def test_a_job_in_backoff_has_that_reason(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job()
        await run.fails("network", retryable=True)
        [item] = await self.queue(plane)
        assert item["code"] == "backoff"
        assert "1 of 2 failures" in item["message"]

    async def test_a_job_that_fits_no_node_has_that_reason(self, plane: ControlPlane) -> None:
        plane.cluster.is_reachable = False
        await plane.submit(train_spec(resources={"cpus": 64}))
        plane.cluster.is_reachable = True
        # The capacity of an unreachable cluster is cached for 2 s.
        plane.clock.forward(2)
        [item] = await self.queue(plane)
        assert (item["code"], item["not_before"]) == ("too_large", None)
        await plane.tick()
        assert await plane.state(item["job_id"]) == "queued"
