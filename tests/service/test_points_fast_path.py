"""The fast path for points stores and rejects the same batches as the usual path."""

import asyncio
from datetime import timedelta
from typing import Any

from control_plane import ControlPlane
from sqlalchemy import event, select, update

from service.store.tables import Attempt, Job


def points(*steps: int, name: str = "loss") -> dict[str, Any]:
    return {"kind": "metrics_logged", "steps": list(steps), "values": {name: [step / 10 for step in steps]}}


async def curve(plane: ControlPlane, job_id: str, name: str = "loss") -> list[tuple[int, float]]:
    page = (await plane.http.get(f"/v1/jobs/{job_id}/metrics?name={name}")).json()
    return [(point["step"], point["value"]) for item in page["items"] for point in item["points"]]


class Statements:
    """Records the statements that are sent to the database."""

    def __init__(self, plane: ControlPlane) -> None:
        self._engine = plane.services.database._engine.sync_engine
        self.seen: list[str] = []

    def __enter__(self) -> "Statements":
        event.listen(self._engine, "before_cursor_execute", self._note)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._note)

    def _note(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        self.seen.append(statement)


class TestFastPath:
    async def test_is_one_statement_for_an_existing_curve(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        await run.reports(points(1, 2))
        with Statements(plane) as statements:
            assert await run.reports(points(3), points(4)) == {"acknowledged": 4, "wish": "continue"}
        if plane.settings.database.url.startswith("postgresql"):
            assert len(statements.seen) == 1
        assert await curve(plane, job_id) == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4)]

    async def test_newer_values_replace_older_ones(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        await run.reports(points(1, 2))
        await run.reports({"kind": "metrics_logged", "steps": [2], "values": {"loss": [9.0]}})
        assert await curve(plane, job_id) == [(1, 0.1), (2, 9.0)]

    async def test_a_repeated_batch_is_acknowledged_and_a_gap_rejected(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        await run.reports(points(1))
        batch = run.batch(points(2))
        first, second = await run.post(batch), await run.post(batch)
        assert first.json() == second.json() == {"acknowledged": 3, "wish": "continue"}
        run.batch(points(3))
        gap = await run.post(run.batch(points(4)))
        assert (gap.status_code, gap.json()["details"]["expected"]) == (422, 4)
        assert await curve(plane, job_id) == [(1, 0.1), (2, 0.2)]

    async def test_a_batch_with_a_new_curve_is_stored_completely(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        await run.reports(points(1))
        both = {"kind": "metrics_logged", "steps": [2], "values": {"loss": [0.2], "new": [5.0]}}
        await run.reports(both)
        assert await curve(plane, job_id) == [(1, 0.1), (2, 0.2)]
        assert await curve(plane, job_id, "new") == [(2, 5.0)]

    async def test_returns_the_control_signal_and_writes_the_heartbeat(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        await run.reports(points(1))
        plane.clock.forward(60)
        await plane.http.post(f"/v1/jobs/{job_id}/cancel")
        assert (await run.reports(points(2)))["wish"] == "cancel"
        async with plane.services.database.reading() as session:
            heartbeat_at = await session.scalar(select(Attempt.heartbeat_at).where(Attempt.id == run.attempt_id))
        assert heartbeat_at is not None and plane.clock.now - heartbeat_at < timedelta(seconds=1)

    async def test_a_wrong_token_stores_nothing(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        await run.reports(points(1))
        run.headers = {"Authorization": "Bearer wrong"}
        assert (await run.post(run.batch(points(2)))).status_code == 401
        assert await curve(plane, job_id) == [(1, 0.1)]

    async def test_an_attempt_replaced_while_its_points_wait_for_the_lock_stores_nothing(
        self, plane: ControlPlane
    ) -> None:
        job_id, run = await plane.started_job()
        await run.reports(points(1))
        async with plane.services.database.writing() as session:
            # Another control plane is replacing the attempt; it holds the lock on the job's row.
            await session.execute(update(Job).where(Job.id == job_id).values(current_attempt_id=None, state="queued"))
            waiting = asyncio.create_task(run.post(run.batch(points(2))))
            done, _ = await asyncio.wait({waiting}, timeout=0.3)
            assert not done
        answer = await waiting
        assert (answer.status_code, answer.json()["code"]) == (409, "stale_attempt")
        assert await curve(plane, job_id) == [(1, 0.1)]
