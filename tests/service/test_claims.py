"""The claim: a run exchanges its claim code, which everybody on the cluster can read, for a token once."""

import asyncio

import httpx
import pytest
from control_plane import ControlPlane, progress, train_spec
from pydantic import SecretStr
from structlog.testing import capture_logs

FIRST, SECOND = {"secret": "a" * 43}, {"secret": "b" * 43}


async def claim(plane: ControlPlane, secret: dict[str, str], *, index: int = -1, code: str = "") -> httpx.Response:
    environment = plane.cluster.submissions[index].environment
    return await plane.http.post(
        f"/v1/attempts/{environment['FGD_ATTEMPT_ID']}/claim",
        json=secret,
        headers={"Authorization": f"Bearer {code or environment['FGD_ATTEMPT_CLAIM']}"},
    )


class TestClaim:
    async def test_the_first_claim_returns_the_token_and_the_assignment(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        answer = await claim(plane, FIRST)
        assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
        assert {"Authorization": f"Bearer {answer.json()['token']}"} == run.headers
        assert answer.json()["assignment"]["job_id"] == job_id
        fetched = await plane.http.get(f"/v1/attempts/{run.attempt_id}", headers=run.headers)
        assert fetched.json() == answer.json()["assignment"]

    async def test_repeating_a_claim_returns_the_same_answer(self, plane: ControlPlane) -> None:
        await plane.started_job()
        first, second = await claim(plane, FIRST), await claim(plane, FIRST)
        assert second.status_code == 200
        assert second.json() == first.json()

    async def test_a_claim_with_another_secret_is_refused_and_logged(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job()
        await claim(plane, FIRST)
        with capture_logs() as logged:
            answer = await claim(plane, SECOND)
        assert (answer.status_code, answer.json()["code"]) == (409, "already_claimed")
        assert "token" not in answer.json()
        assert [(line["event"], line["attempt_id"]) for line in logged if line["log_level"] == "warning"] == [
            ("claimed_twice", run.attempt_id)
        ]
        assert (await claim(plane, FIRST)).status_code == 200

    async def test_of_concurrent_claims_one_succeeds(self, plane: ControlPlane) -> None:
        await plane.started_job()
        answers = await asyncio.gather(*(claim(plane, {"secret": str(each) * 40}) for each in range(8)))
        assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7

    async def test_an_ended_attempt_is_stale(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job()
        await run.succeeds()
        answer = await claim(plane, FIRST)
        assert (answer.status_code, answer.json()["code"]) == (409, "stale_attempt")

    async def test_a_replaced_attempt_is_stale(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job()
        await run.fails("lost_run", retryable=True)
        await plane.tick()
        plane.clock.forward(600)
        await plane.tick()
        assert len(plane.cluster.submissions) == 2
        assert (await claim(plane, FIRST, index=0)).json()["code"] == "stale_attempt"
        assert (await claim(plane, FIRST)).status_code == 200

    async def test_only_the_claim_code_claims_and_it_opens_nothing_else(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job()
        code = plane.cluster.submissions[0].environment["FGD_ATTEMPT_CLAIM"]
        with_the_code = {"Authorization": f"Bearer {code}"}
        assert (await plane.http.get(f"/v1/attempts/{run.attempt_id}", headers=with_the_code)).status_code == 401
        report = await plane.http.post(f"/v1/attempts/{run.attempt_id}/events", json={}, headers=with_the_code)
        assert report.status_code == 401
        await plane.started_job()
        other = plane.cluster.submissions[1].environment["FGD_ATTEMPT_CLAIM"]
        for wrong in (other, run.headers["Authorization"].removeprefix("Bearer "), "fgdc_", "fgdc_" + "A" * 43):
            assert (await claim(plane, FIRST, index=0, code=wrong)).status_code == 401

    @pytest.mark.one_database
    @pytest.mark.parametrize("secret", ["short", "x" * 129, None, ["a" * 43]])
    async def test_a_weak_secret_is_refused(self, plane: ControlPlane, secret: object) -> None:
        await plane.started_job()
        answer = await claim(plane, {"secret": secret})  # type: ignore[dict-item]
        assert answer.status_code == 422

    async def test_the_secret_is_not_stored(self, plane: ControlPlane) -> None:
        await plane.started_job()
        await claim(plane, FIRST)
        async with plane.services.database.reading() as session:
            rows = (await session.connection()).exec_driver_sql("SELECT * FROM attempts")
            stored = str((await rows).all())
        assert FIRST["secret"] not in stored


class TestCode:
    async def test_the_environment_holds_the_code_but_no_token(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job()
        environment = plane.cluster.submissions[0].environment
        assert environment["FGD_ATTEMPT_CLAIM"].startswith("fgdc_")
        assert len(environment["FGD_ATTEMPT_CLAIM"]) == 48
        token = run.headers["Authorization"].removeprefix("Bearer ")
        assert [name for name, value in environment.items() if token in value] == []


class TestChangedServerSecret:
    async def test_runs_with_a_token_continue_and_one_without_is_retried(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job()
        waiting = await plane.submit(train_spec())
        await plane.tick()
        changed = plane.settings.model_copy(update={"secret": SecretStr("another" * 5)})
        restarted = ControlPlane(changed, plane.cluster, plane.clock)
        path = f"/v1/attempts/{run.attempt_id}/events"
        report = await restarted.http.post(path, json=run.batch(progress(1)), headers=run.headers)
        assert (report.status_code, report.json()["wish"]) == (200, "continue")
        assert (await claim(restarted, FIRST)).status_code == 401
        # Ray reports a run that could not claim as failed.
        plane.cluster.say(plane.cluster.submissions[-1].submission_id, "FAILED")
        for _ in range(3):
            plane.clock.forward(60)
            await restarted.tick()
        assert (await restarted.moves(waiting))[1:] == [
            ("lost", "run_lost"),
            ("queued", "retry"),
            ("starting", "leased"),
        ]
        assert (await claim(restarted, FIRST)).status_code == 200
        await restarted.close()
