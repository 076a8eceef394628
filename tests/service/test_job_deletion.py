from typing import Any

import pytest
from control_plane import ControlPlane, evaluate_spec, progress, train_spec
from sqlalchemy import func, inspect, select

from service.settings import Settings
from service.store import deletion
from service.store.tables import Base, Job, JobCount, JobKindCount


@pytest.fixture
def settings(settings: Settings, stored: dict[str, Any]) -> Settings:
    return settings.model_copy(update=stored)


def left(plane: ControlPlane, job_id: str) -> list[str]:
    return [file.path for file in plane.storage.listing(f"jobs/{job_id}")]


async def ended_job(plane: ControlPlane) -> str:
    job_id, run = await plane.started_job()
    await run.reports(*(progress(step) for step in range(1, 30)))
    await run.saves_checkpoint()
    await run.succeeds()
    run.writes("checkpoints/best.pt", b"weights")
    await plane.tick()
    return job_id


async def delete(plane: ControlPlane, job_id: str) -> tuple[int, str]:
    """Delete a job; returns (status, code)."""
    answer = await plane.http.delete(f"/v1/jobs/{job_id}")
    return answer.status_code, answer.json()["code"] if answer.content else ""


async def num_rows(plane: ControlPlane) -> dict[str, int]:
    """Return the number of rows of each table, without the audit trail, the leases and the schema's own table.

    Of the counts of jobs it is the jobs that they count: a count of 0 keeps its row.
    """
    async with plane.services.database.reading() as session:
        counted = {
            table.name: await session.scalar(select(func.count()).select_from(table)) or 0
            for table in Base.metadata.sorted_tables
        }
        for table in (JobCount, JobKindCount):
            counted[table.__tablename__] = await session.scalar(select(func.sum(table.num_jobs))) or 0
    return {
        name: rows for name, rows in counted.items() if rows and name not in ("audit_entries", "leases", "schema_floor")
    }


async def test_a_deleted_job_leaves_neither_rows_nor_files(plane: ControlPlane) -> None:
    job_id = await ended_job(plane)
    assert len(await num_rows(plane)) >= 6
    assert await delete(plane, job_id) == (204, "")
    assert await num_rows(plane) == {}
    assert left(plane, job_id) == []
    assert await delete(plane, job_id) == (404, "not_found")


async def test_only_that_job_is_deleted(plane: ControlPlane) -> None:
    kept, gone = await ended_job(plane), await ended_job(plane)
    before = await plane.events(kept)
    await delete(plane, gone)
    assert await plane.events(kept) == before
    assert left(plane, kept) == ["checkpoints/best.pt"]
    assert left(plane, gone) == []


@pytest.mark.parametrize("state", ["queued", "starting", "running", "cancelling"])
async def test_a_job_that_is_not_over_is_rejected_with_the_cure(plane: ControlPlane, state: str) -> None:
    job_id = await plane.submit(train_spec())
    if state != "queued":
        await plane.tick()
    if state in ("running", "cancelling"):
        await plane.run().starts()
    if state == "cancelling":
        await plane.http.post(f"/v1/jobs/{job_id}/cancel")
    assert await plane.state(job_id) == state
    answer = await plane.http.delete(f"/v1/jobs/{job_id}")
    assert answer.status_code == 409
    assert "cancel it first" in answer.json()["detail"]


async def test_a_job_that_another_needs_is_not_deleted(plane: ControlPlane) -> None:
    job_id = await ended_job(plane)
    plane.cluster.is_reachable = False
    student = await plane.submit(evaluate_spec(f"job:{job_id}/best"))
    answer = await plane.http.delete(f"/v1/jobs/{job_id}")
    assert (answer.status_code, answer.json()["details"]["needed_by"]) == (409, [student])
    await plane.http.post(f"/v1/jobs/{student}/cancel")
    assert await delete(plane, job_id) == (204, "")
    assert await plane.state(student) == "cancelled"


async def test_a_job_that_the_cluster_still_holds_is_not_deleted(plane: ControlPlane) -> None:
    job_id, run = await plane.started_job()
    await run.succeeds()
    assert await delete(plane, job_id) == (409, "still_held")
    await plane.tick()
    assert await delete(plane, job_id) == (204, "")


async def test_the_next_pass_finishes_an_interrupted_deletion(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await ended_job(plane)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    for where, name in ((plane.storage, "delete_folder"), (deletion, "delete_step")):
        monkeypatch.setattr(where, name, die)
        with pytest.raises(KeyboardInterrupt):
            await plane.http.delete(f"/v1/jobs/{job_id}")
        monkeypatch.undo()
        job = await plane.job(job_id)
        assert (job["reason"], job["artifacts"]) == ("is being deleted", [])
    assert left(plane, job_id) == []
    view = (await plane.http.post("/v1/housekeeping")).json()
    assert [item["kind"] for item in view["items"]] == ["unfinished_deletion"]
    assert await num_rows(plane) == {}


async def test_no_new_job_can_refer_to_a_job_that_is_being_deleted(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await ended_job(plane)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(plane.storage, "delete_folder", die)
    with pytest.raises(KeyboardInterrupt):
        await plane.http.delete(f"/v1/jobs/{job_id}")
    assert (await plane.http.post("/v1/jobs", json=evaluate_spec(f"job:{job_id}/best"))).status_code == 422


async def test_a_job_that_is_being_deleted_cannot_be_retried(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = {name: value for name, value in train_spec().items() if name != "name"}
    space = {"training.optimizer.learning_rate": {"type": "choice", "values": [0.1, 0.2]}}
    sweep = {"kind": "sweep", "name": "a sweep", "base": base, "space": space}
    job_ids = [await plane.submit(train_spec()), await plane.submit(sweep)]

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    for job_id in job_ids:
        await plane.http.post(f"/v1/jobs/{job_id}/cancel")
        monkeypatch.setattr(plane.storage, "delete_folder", die)
        with pytest.raises(KeyboardInterrupt):
            await plane.http.delete(f"/v1/jobs/{job_id}")
        monkeypatch.undo()
    for path, body in (
        (f"{job_ids[0]}/retry", None),
        (f"{job_ids[1]}/retry", None),
        (f"{job_ids[1]}/budget", {"trials": 1}),
    ):
        answer = await plane.http.post(f"/v1/jobs/{path}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict"), path
        assert "is being deleted" in answer.json()["detail"]
    await plane.http.post("/v1/housekeeping")
    assert [(await plane.http.get(f"/v1/jobs/{job_id}")).status_code for job_id in job_ids] == [404, 404]


async def test_a_long_curve_is_deleted_in_short_steps(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = await ended_job(plane)
    monkeypatch.setattr(deletion, "_STEP_ROWS", 10)
    steps = 0
    delete_step = deletion.delete_step

    async def counted(*args: object) -> bool:
        nonlocal steps
        steps += 1
        return await delete_step(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(deletion, "delete_step", counted)
    assert await delete(plane, job_id) == (204, "")
    assert steps > 10
    assert await num_rows(plane) == {}


def test_deletion_covers_every_table_that_refers_to_a_job() -> None:
    job_table = Base.metadata.tables["jobs"]
    known = {name for name, value in vars(deletion).items() if isinstance(value, type) and issubclass(value, Base)}
    for mapper in Base.registry.mappers:
        table = inspect(mapper.class_).local_table
        if any(key.column.table is job_table for key in table.foreign_keys):
            assert mapper.class_.__name__ in known, f"add {table.name} to service.store.deletion"
    assert Job.__name__ in known
