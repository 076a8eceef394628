"""Which ended runs Ray's dashboard still shows, and that no link leads to one that it does not."""

from collections.abc import AsyncIterator

import pytest
from control_plane import ControlPlane, ManualClock, Run
from memory_cluster import MemoryCluster

from fgd_core.errors import ClusterError
from service.dispatcher.forgetting import MAX_REFUSALS, PAUSE_S, SETTLED_S
from service.settings import Settings

KEEP = 2


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"ray_keep_runs": KEEP})


@pytest.fixture
async def plane(settings: Settings, cluster: MemoryCluster, clock: ManualClock) -> AsyncIterator[ControlPlane]:
    plane = ControlPlane(settings, cluster, clock)
    yield plane
    await plane.close()


async def ended(plane: ControlPlane) -> tuple[str, Run]:
    """A job whose run is over and put away."""
    job_id, run = await plane.started_job()
    await run.fails("data")
    await plane.tick()
    return job_id, run


async def link(plane: ControlPlane, job_id: str) -> str | None:
    job = await plane.job(job_id)
    assert job["dashboard_url"] == job["attempts"][0]["dashboard_url"]
    found: str | None = job["dashboard_url"]
    return found


class TestForgetting:
    async def test_a_run_that_ended_stays_with_ray_and_its_link_leads_there(self, plane: ControlPlane) -> None:
        job_id, run = await ended(plane)
        for _ in range(3):
            plane.clock.forward(100_000)
            await plane.tick()
        assert plane.cluster.knows(run.submission_id)
        assert await link(plane, job_id) == f"http://127.0.0.1/ray/#/jobs/{run.submission_id}"

    async def test_of_too_many_the_first_goes_once_ray_has_settled_and_with_it_its_link(
        self, plane: ControlPlane
    ) -> None:
        runs = [await ended(plane) for _ in range(KEEP + 1)]
        plane.clock.forward(PAUSE_S)
        await plane.tick()
        assert all(plane.cluster.knows(run.submission_id) for _, run in runs)
        plane.clock.forward(SETTLED_S)
        await plane.tick()
        assert [plane.cluster.knows(run.submission_id) for _, run in runs] == [False, True, True]
        assert [await link(plane, job_id) is not None for job_id, _ in runs] == [False, True, True]

    async def test_a_ray_that_was_restarted_takes_all_links_with_it(self, plane: ControlPlane) -> None:
        runs = [await ended(plane) for _ in range(KEEP)]
        for _, run in runs:
            plane.cluster.forget(run.submission_id)
        later, _ = await ended(plane)
        plane.clock.forward(PAUSE_S)
        await plane.tick()
        assert [await link(plane, job_id) for job_id, _ in runs] == [None] * KEEP
        assert await link(plane, later) is not None

    async def test_a_run_that_was_gone_when_it_ended_has_no_link(self, plane: ControlPlane) -> None:
        before, _ = await ended(plane)
        job_id, run = await plane.started_job()
        await run.fails("data")
        plane.cluster.forget(run.submission_id)
        await plane.tick()
        assert (await link(plane, before) is not None, await link(plane, job_id)) == (True, None)

    async def test_a_ray_that_is_away_takes_none(self, plane: ControlPlane) -> None:
        job_id, _ = await ended(plane)
        plane.cluster.is_reachable = False
        plane.clock.forward(PAUSE_S)
        await plane.tick()
        assert await link(plane, job_id) is not None

    async def test_one_that_ray_will_not_talk_about_keeps_no_other_waiting(self, plane: ControlPlane) -> None:
        (_, odd), (job_id, run) = await ended(plane), await ended(plane)
        plane.cluster.refuses.add(odd.submission_id)
        plane.cluster.forget(run.submission_id)
        plane.clock.forward(PAUSE_S)
        await plane.tick()
        assert await link(plane, job_id) is None

    async def test_one_that_ray_never_forgets_is_left_to_it_in_the_end(
        self, plane: ControlPlane, cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []

        async def delete(submission_id: str) -> None:
            asked.append(submission_id)
            raise ClusterError("Ray could not forget a run")

        monkeypatch.setattr(cluster, "delete", delete)
        runs = [await ended(plane) for _ in range(KEEP + 1)]
        plane.clock.forward(SETTLED_S)
        for _ in range(3 * MAX_REFUSALS):
            plane.clock.forward(PAUSE_S)
            await plane.tick()
        assert asked == [runs[0][1].submission_id] * MAX_REFUSALS
        assert [await link(plane, job_id) is not None for job_id, _ in runs] == [False, True, True]

    async def test_many_go_without_a_pause(self, plane: ControlPlane) -> None:
        runs = [await ended(plane) for _ in range(25)]
        plane.clock.forward(PAUSE_S + SETTLED_S)
        await plane.tick()
        await plane.tick()
        assert sum(plane.cluster.knows(run.submission_id) for _, run in runs) == KEEP

    @pytest.mark.parametrize("is_reachable", [True, False])
    async def test_a_deleted_job_leaves_ray_as_well_where_it_can_be_reached(
        self, plane: ControlPlane, is_reachable: bool
    ) -> None:
        job_id, run = await ended(plane)
        plane.cluster.is_reachable = is_reachable
        assert (await plane.http.delete(f"/v1/jobs/{job_id}")).status_code == 204
        assert plane.cluster.knows(run.submission_id) is not is_reachable

    async def test_a_report_links_to_no_run_that_is_not_there(
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
