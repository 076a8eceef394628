from typing import Any

import pytest
from control_plane import ControlPlane, evaluate_spec, progress, train_spec
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from service.jobs.cluster import Capacity, Node
from service.store.tables import Base

TABLES = Base.metadata.sorted_tables


class TestAssignment:
    async def test_a_run_gets_everything_it_needs(self, plane: ControlPlane) -> None:
        teacher, run = await plane.started_job()
        await run.saves_checkpoint("/somewhere/best.pt")
        await run.succeeds()
        await plane.tick()
        job_id = await plane.submit(evaluate_spec(f"job:{teacher}/best"))
        await plane.tick()
        run = plane.run()
        answer = await plane.http.get(f"/v1/attempts/{run.attempt_id}", headers=run.headers)
        assignment = answer.json()
        assert (assignment["job_id"], assignment["number"], assignment["spec"]["kind"]) == (job_id, 1, "evaluate")
        assert assignment["checkpoints"] == {f"job:{teacher}/best": "/somewhere/best.pt"}
        assert assignment["job_uri"] == (plane.settings.storage.dir / "jobs" / job_id).as_uri()

    async def test_a_wrong_token_is_rejected(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job()
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic abc"}):
            answer = await plane.http.get(f"/v1/attempts/{run.attempt_id}", headers=headers)
            assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
            answer = await plane.http.post(f"/v1/attempts/{run.attempt_id}/events", json={}, headers=headers)
            assert answer.status_code == 401

    async def test_the_token_is_not_stored_in_plain_text(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job()
        token = run.headers["Authorization"].removeprefix("Bearer ")
        async with plane.services.database.reading() as session:
            stored = {table.name: str((await session.execute(table.select())).all()) for table in TABLES}
        assert run.attempt_id in stored["attempts"]
        assert not [name for name, rows in stored.items() if token in rows]


class TestIdempotency:
    async def test_a_batch_sent_twice_is_stored_once(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        batch = run.batch(progress(1), progress(2))
        first, second = await run.post(batch), await run.post(batch)
        assert first.json() == second.json() == {"acknowledged": 3, "wish": "continue"}
        assert [event.kind for event in await plane.events(job_id)].count("progress") == 2

    async def test_only_new_events_of_an_overlapping_batch_are_stored(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        first = run.batch(progress(1), progress(2))
        await run.post(first)
        second = run.batch(progress(3))
        await run.post({"events": first["events"] + second["events"]})
        steps = [event.data["step"] for event in await plane.events(job_id) if event.kind == "progress"]
        assert steps == [1, 2, 3]

    async def test_a_gap_is_rejected_with_the_expected_sequence(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        run.batch(progress(1))
        answer = await run.post(run.batch(progress(2)))
        assert answer.status_code == 422
        assert answer.json()["details"]["expected"] == 2
        assert "progress" not in [event.kind for event in await plane.events(job_id)]

    async def test_a_very_wide_gap_is_rejected_quickly(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job()
        batch = run.batch(progress(1), progress(2))
        batch["events"][1]["sequence"] += 2**50
        assert (await run.post(batch)).status_code == 422

    async def test_each_stream_has_its_own_sequences(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job()
        batch = {"stream": "trial-1", **run.batch(progress(1))}
        batch["events"][0]["sequence"] = 1
        assert (await run.post(batch)).json()["acknowledged"] == 1

    async def test_the_final_event_may_be_repeated(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        batch = run.batch({"kind": "run_finished", "outcome": "cancelled"})
        await plane.http.post(f"/v1/jobs/{job_id}/cancel")
        first, second = await run.post(batch), await run.post(batch)
        assert first.status_code == second.status_code == 200
        assert first.json()["acknowledged"] == second.json()["acknowledged"] == 2


class TestStaleAttempts:
    async def test_an_attempt_is_stale_after_its_final_event(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job()
        await run.succeeds()
        for batch in ({"events": []}, run.batch(progress(9))):
            answer = await run.post(batch)
            assert (answer.status_code, answer.json()["code"]) == (409, "stale_attempt")
        answer = await plane.http.get(f"/v1/attempts/{run.attempt_id}", headers=run.headers)
        assert (answer.status_code, answer.json()["code"]) == (409, "stale_attempt")

    async def test_a_replaced_attempt_cannot_write(self, plane: ControlPlane) -> None:
        job_id, old = await plane.started_job()
        await old.fails("lost_run", retryable=True)
        plane.clock.forward(10)
        await plane.tick()
        await plane.run().starts()
        answer = await old.post(old.batch(progress(9)))
        assert (answer.status_code, answer.json()["code"]) == (409, "stale_attempt")
        assert (await plane.job(job_id))["progress"]["step"] is None


class TestEffects:
    async def test_start_and_end_in_one_batch(self, plane: ControlPlane) -> None:
        job_id = await plane.submit(train_spec())
        await plane.tick()
        run = plane.run()
        started = {"kind": "run_started", "host": "here", "pid": 1, "python": "3.11"}
        error = {"code": "data", "message": "there are no boxes", "details": {"file": "x.json"}}
        await run.reports(started, {"kind": "run_finished", "outcome": "failed", "error": error})
        job = await plane.job(job_id)
        assert job["state"] == "failed"
        assert (job["error"]["code"], job["error"]["details"]) == ("data", {"file": "x.json"})
        assert job["reason"] == "there are no boxes"
        assert job["started_at"] is not None and job["ended_at"] is not None
        assert job["attempts"][0]["error"]["code"] == "data"
        assert await plane.moves(job_id) == [
            ("starting", "leased"),
            ("running", "run_started"),
            ("failed", "run_failed"),
        ]

    async def test_a_success_stores_the_result_and_the_checkpoint(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        await run.saves_checkpoint()
        await run.succeeds()
        job = await plane.job(job_id)
        assert (job["state"], job["result"]["scores"]["ap"], job["error"]) == ("succeeded", 0.5, None)
        assert [artifact["name"] for artifact in job["artifacts"]] == ["best.pt"]

    async def test_a_resumed_run_overwrites_the_points_of_repeated_steps(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        logged = {"kind": "metrics_logged", "steps": [1, 2], "values": {"loss": [5.0, 4.0]}}
        await run.reports(logged, logged | {"steps": [2], "values": {"loss": [3.0]}})
        page = (await plane.http.get(f"/v1/jobs/{job_id}/metrics?name=loss")).json()
        assert page["items"][0]["points"] == [{"step": 1, "value": 5.0}, {"step": 2, "value": 3.0}]

    async def test_every_reply_carries_the_control_signal(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        assert (await run.post({})).json()["wish"] == "continue"
        await plane.http.post(f"/v1/jobs/{job_id}/cancel")
        assert (await run.post({})).json()["wish"] == "cancel"


class TestLeniency:
    ODD: list[dict[str, Any]] = [
        {},
        {"kind": "dream", "about": "sheep"},
        {"kind": "line\nbreak"},
        {"kind": 7},
        {"kind": "progress", "step": "many"},
        {"kind": "run_finished", "outcome": "won"},
        {"kind": "warned", "code": "x", "message": "\ud800 and \x00"},
        {"kind": "artifact_saved", "name": "n", "uri": "u", "media_type": "m", "sha256": "s", "size_bytes": 10**30},
        progress(10**30),
    ]

    @pytest.mark.parametrize("event", ODD)
    async def test_an_unknown_event_is_stored_and_can_be_read(self, plane: ControlPlane, event: dict[str, Any]) -> None:
        job_id, run = await plane.started_job()
        await run.reports(event)
        stored = (await plane.events(job_id))[-1]
        assert set(stored.data) == set(event)
        assert (await plane.job(job_id))["state"] == "running"

    async def test_nan_deep_nesting_and_odd_times_do_not_fail_the_batch(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job()
        deep = "[" * 300 + "]" * 300
        body = (
            '{"events": [{"sequence": 2, "at": "0001-01-01T00:00:00+14:00", "event": {"kind": "progress", "x": NaN}},'
            f'{{"sequence": 3, "at": "2026-01-01T00:00:00", "event": {{"kind": "deep", "x": {deep}}}}}]}}'
        )
        path = f"/v1/attempts/{run.attempt_id}/events"
        headers = run.headers | {"Content-Type": "application/json"}
        answer = await plane.http.post(path, content=body, headers=headers)
        assert (answer.status_code, answer.json()["acknowledged"]) == (200, 3)

    async def test_a_malformed_batch_is_rejected(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job()
        for batch in (
            {"event": []},
            {"events": [{"sequence": 0, "at": "2026-01-01T00:00:00Z", "event": {}}]},
            {"events": [{"sequence": 10**40, "at": "2026-01-01T00:00:00Z", "event": {}}]},
            {"stream": "a b", "events": []},
        ):
            assert (await run.post(batch)).status_code == 422, batch

    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
        max_leaves=8,
    )

    @hypothesis_settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.lists(
            st.dictionaries(st.sampled_from(["step", "values", "scores", "name"]) | st.text(), json_values), max_size=20
        )
    )
    async def test_no_event_causes_a_server_error(self, plane: ControlPlane, odd: list[dict[str, Any]]) -> None:
        plane.cluster.largest = Capacity((Node(node_id="here", cpus_total=99, cpus_free=99),))
        job_id, run = await plane.started_job()
        before = len(await plane.events(job_id))
        await run.reports(*(progress(1) | event for event in odd))
        assert len(await plane.events(job_id)) == before + len(odd)
