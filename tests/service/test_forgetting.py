"""Ray keeps a limited number of ended runs, and no link leads to a run that Ray has deleted."""

from collections.abc import AsyncIterator

import pytest
from control_plane import ControlPlane, ManualClock, Run
from memory_cluster import MemoryCluster

from fgd_core.errors import ClusterError
from service.dispatcher.dashboard_cleanup import MAX_REFUSALS, PAUSE_S, SETTLED_S
from service.settings import Settings
from service.settings.groups import RaySettings

KEEP = 2


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"ray": RaySettings(keep_runs=KEEP)})


@pytest.fixture
async def plane(settings: Settings, cluster: MemoryCluster, clock: ManualClock) -> AsyncIterator[ControlPlane]:
    plane = ControlPlane(settings, cluster, clock)
    yield plane
    await plane.close()


async def ended(plane: ControlPlane) -> tuple[str, Run]:
    """Return a job whose run has ended and is archived, and the run."""
    job_id, run = await plane.started_job()
    await run.fails("data")
    await plane.tick()
    return job_id, run


async def link(plane: ControlPlane, job_id: str) -> str | None:
    job = await plane.job(job_id)
    assert job["dashboard_url"] == job["attempts"][0]["dashboard_url"]
    found: str | None = job["dashboard_url"]
    return found


class TestCleanup:
    async def test_ray_keeps_an_ended_run_and_its_link_works(self, plane: ControlPlane) -> None:
        job_id, run = await ended(plane)
        for _ in range(3):
            plane.clock.forward(100_000)
            await plane.tick()
        assert plane.cluster.knows(run.submission_id)
        assert await link(plane, job_id) == f"http://127.0.0.1/ray/#/jobs/{run.submission_id}"

    async def test_the_oldest_of_too_many_runs_is_deleted_with_its_link(self, plane: ControlPlane) -> None:
        runs = [await ended(plane) for _ in range(KEEP + 1)]
        plane.clock.forward(PAUSE_S)
        await plane.tick()
        assert all(plane.cluster.knows(run.submission_id) for _, run in runs)
        plane.clock.forward(SETTLED_S)
        await plane.tick()
        assert [plane.cluster.knows(run.submission_id) for _, run in runs] == [False, True, True]
        assert [await link(plane, job_id) is not None for job_id, _ in runs] == [False, True, True]

    async def test_a_restarted_ray_removes_all_links(self, plane: ControlPlane) -> None:
        runs = [await ended(plane) for _ in range(KEEP)]
        for _, run in runs:
            plane.cluster.forget(run.submission_id)
        later, _ = await ended(plane)
        plane.clock.forward(PAUSE_S)
        await plane.tick()
        assert [await link(plane, job_id) for job_id, _ in runs] == [None] * KEEP
        assert await link(plane, later) is not None

    async def test_a_run_missing_in_ray_when_it_ends_has_no_link(self, plane: ControlPlane) -> None:
        before, _ = await ended(plane)
        job_id, run = await plane.started_job()
        await run.fails("data")
        plane.cluster.forget(run.submission_id)
        await plane.tick()
        assert (await link(plane, before) is not None, await link(plane, job_id)) == (True, None)

    async def test_an_unreachable_ray_removes_no_link(self, plane: ControlPlane) -> None:
        job_id, _ = await ended(plane)
        plane.cluster.is_reachable = False
        plane.clock.forward(PAUSE_S)
        await plane.tick()
        assert await link(plane, job_id) is not None

    async def test_a_run_that_ray_cannot_describe_delays_no_other(self, plane: ControlPlane) -> None:
        (_, odd), (job_id, run) = await ended(plane), await ended(plane)
        plane.cluster.refuses.add(odd.submission_id)
        plane.cluster.forget(run.submission_id)
        plane.clock.forward(PAUSE_S)
        await plane.tick()
        assert await link(plane, job_id) is None

    async def test_a_run_that_ray_does_not_delete_is_given_up_in_the_end(
        self, plane: ControlPlane, cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        deleted: list[str] = []

        async def delete(submission_id: str) -> None:
            deleted.append(submission_id)
            raise ClusterError("Ray could not forget a run")

        monkeypatch.setattr(cluster, "delete", delete)
        runs = [await ended(plane) for _ in range(KEEP + 1)]
        plane.clock.forward(SETTLED_S)
        for _ in range(3 * MAX_REFUSALS):
            plane.clock.forward(PAUSE_S)
            await plane.tick()
        assert deleted == [runs[0][1].submission_id] * MAX_REFUSALS
        assert [await link(plane, job_id) is not None for job_id, _ in runs] == [False, True, True]

    async def test_many_runs_are_deleted_without_a_pause(self, plane: ControlPlane) -> None:
        runs = [await ended(plane) for _ in range(25)]
        plane.clock.forward(PAUSE_S + SETTLED_S)
        await plane.tick()
        await plane.tick()
        assert sum(plane.cluster.knows(run.submission_id) for _, run in runs) == KEEP

    @pytest.mark.parametrize("is_reachable", [True, False])
    async def test_a_deleted_job_is_deleted_in_a_reachable_ray(self, plane: ControlPlane, is_reachable: bool) -> None:
        job_id, run = await ended(plane)
        plane.cluster.is_reachable = is_reachable
        assert (await plane.http.delete(f"/v1/jobs/{job_id}")).status_code == 204
        assert plane.cluster.knows(run.submission_id) is not is_reachable

    async def test_a_report_links_only_to_runs_that_ray_has(
        self, settings: Settings, cluster: MemoryCluster, clock: ManualClock
    ) -> None:
        outside = settings.model_copy(update={"external_url": "https://lab.example"})
        plane = ControlPlane(outside, cluster, clock)
        job_id, run = await ended(plane)
        assert "/ray/#/jobs/" in (await plane.http.get(f"/v1/jobs/{job_id}/report?format=html")).text
        cluster.forget(run.submission_id)
        plane.clock.forward(PAUSE_S)
        await plane.tick()
        assert "/ray/#/jobs/" not in (await plane.http.get(f"/v1/jobs/{job_id}/report?format=html")).text
        await plane.close()
