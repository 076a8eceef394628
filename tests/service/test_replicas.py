"""Several control planes share one PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from control_plane import ControlPlane, ManualClock, train_spec
from memory_cluster import MemoryCluster

from service.settings import Settings
from service.settings.groups import DatabaseSettings, StorageSettings

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
async def planes(
    tmp_path: Path, database_url: str, cluster: MemoryCluster, clock: ManualClock
) -> AsyncIterator[list[ControlPlane]]:
    planes = []
    for name in ("first", "second"):
        home = tmp_path / name
        home.mkdir()
        settings = Settings(
            home=home,
            database=DatabaseSettings(url=database_url),
            storage=StorageSettings(dir=tmp_path / "storage"),
            secret="the same for both" * 2,
        )
        planes.append(ControlPlane(settings, cluster, clock))
    yield planes
    for plane in planes:
        await plane.close()


async def test_one_idempotency_key_sent_to_both_creates_one_job(planes: list[ControlPlane]) -> None:
    requests = [
        plane.http.post("/v1/jobs", json=train_spec(), headers={"Idempotency-Key": "friday"}) for plane in planes * 8
    ]
    answers = await asyncio.gather(*requests)
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["job_id"] for answer in answers}) == 1
    assert len((await planes[0].http.get("/v1/jobs")).json()["items"]) == 1


async def test_a_stream_of_one_shows_events_received_by_the_other(planes: list[ControlPlane]) -> None:
    first, second = planes
    job_id, run = await first.started_job()
    reading = asyncio.create_task(second.http.get(f"/v1/jobs/{job_id}/events"))
    await asyncio.sleep(0.1)
    assert not reading.done()
    await run.succeeds()
    stream = (await asyncio.wait_for(reading, timeout=120)).text
    sequences = [int(line.removeprefix("id: ")) for line in stream.splitlines() if line.startswith("id: ")]
    assert sequences == [event.sequence for event in await first.events(job_id)]
    assert '"to_state":"succeeded"' in stream


async def test_both_accept_a_run_that_one_leased_and_the_other_submits(
    planes: list[ControlPlane], cluster: MemoryCluster
) -> None:
    first, second = planes
    job_id = await first.submit(train_spec())
    await first.tick()
    # For the cluster, it looks as if the first one died between its commit and the submission.
    lost = cluster.submissions.pop()
    cluster.forget(lost.submission_id)
    await first.lease_expires()
    await second.tick()
    assert [again.submission_id for again in cluster.submissions] == [lost.submission_id]
    await second.run().starts()
    assert await first.state(job_id) == "running"
