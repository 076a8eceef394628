"""How waiting jobs make a cluster with an autoscaler grow, and how that is taken back."""

import shlex

import pytest
from control_plane import ControlPlane, ManualClock, train_spec
from memory_cluster import MemoryCluster

from service.dispatcher.cluster import Submission
from service.dispatcher.growing import HOLD_S, LINGER_S, PREFIX, SETTLE_S, fleet
from service.jobs.cluster import Capacity, Node, NodeType
from service.settings import Settings
from service.settings.groups import RaySettings

FOUR_CORES = NodeType(cpus=4, max_nodes=2)
HEAD = Node(node_id="head", cpus_total=0, cpus_free=0)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"ray": RaySettings(node_types=(FOUR_CORES,))})


@pytest.fixture
def cluster() -> MemoryCluster:
    return MemoryCluster(Capacity((HEAD,)))


def demands(cluster: MemoryCluster) -> list[Submission]:
    return [each for each in cluster.submissions if each.submission_id.startswith(PREFIX)]


async def ticks(plane: ControlPlane, clock: ManualClock) -> None:
    """A tick that sees the jobs, and the next one after the time in which they must still wait."""
    await plane.tick()
    clock.forward(SETTLE_S)
    await plane.tick()


async def idle_ticks(plane: ControlPlane, clock: ManualClock) -> None:
    """A tick that sees that no job waits, and the next one after the time for which the demand lingers."""
    await plane.tick()
    clock.forward(LINGER_S)
    await plane.tick()


async def waiting_job(plane: ControlPlane, clock: ManualClock) -> str:
    job_id = await plane.submit(train_spec(resources={"cpus": 3}))
    await ticks(plane, clock)
    return job_id


class TestDemand:
    async def test_is_submitted_for_a_job_that_no_live_node_can_hold(
        self, plane: ControlPlane, cluster: MemoryCluster, clock: ManualClock
    ) -> None:
        job_id = await plane.submit(train_spec(resources={"cpus": 3}))
        await plane.tick()
        assert demands(cluster) == []
        clock.forward(SETTLE_S)
        await plane.tick()
        (demand,) = demands(cluster)
        assert shlex.split(demand.entrypoint)[1:] == ["-m", "workers.demand", "[[4, 0, 1]]", "--seconds", f"{HOLD_S:g}"]
        assert (demand.cpus, demand.gpus) == (0, 0)
        assert "asked the cluster to grow" in (await plane.job(job_id))["reason"]
        (row,) = (await plane.http.get("/v1/queue")).json()["items"]
        assert (row["code"], row["not_before"]) == ("growing", None)

    async def test_stays_the_same_until_it_must_be_renewed(
        self, plane: ControlPlane, cluster: MemoryCluster, clock: ManualClock
    ) -> None:
        await waiting_job(plane, clock)
        clock.forward(HOLD_S / 2 - 1)
        await plane.tick()
        assert len(demands(cluster)) == 1
        clock.forward(1)
        await plane.tick()
        await plane.tick()
        assert len(demands(cluster)) == 2
        assert cluster.stopped == [demands(cluster)[0].submission_id]

    async def test_ends_when_the_job_has_started_on_the_new_node(
        self, plane: ControlPlane, cluster: MemoryCluster, clock: ManualClock
    ) -> None:
        job_id = await waiting_job(plane, clock)
        cluster.largest = Capacity((HEAD, Node(node_id="new", cpus_total=4, cpus_free=4)))
        await plane.tick()
        await plane.tick()
        assert await plane.state(job_id) == "starting"
        clock.forward(LINGER_S - 1)
        await plane.tick()
        assert cluster.stopped == []
        clock.forward(1)
        await plane.tick()
        await plane.tick()
        assert cluster.stopped == [demands(cluster)[0].submission_id]
        assert not cluster.knows(cluster.stopped[0])

    async def test_ends_when_the_job_is_cancelled(
        self, plane: ControlPlane, cluster: MemoryCluster, clock: ManualClock
    ) -> None:
        job_id = await waiting_job(plane, clock)
        await plane.http.post(f"/v1/jobs/{job_id}/cancel")
        await idle_ticks(plane, clock)
        assert cluster.stopped == [demands(cluster)[0].submission_id]

    async def test_that_was_killed_is_taken_back_by_another_one(
        self, plane: ControlPlane, cluster: MemoryCluster, clock: ManualClock
    ) -> None:
        job_id = await waiting_job(plane, clock)
        cluster.say(demands(cluster)[0].submission_id, "FAILED")
        await plane.http.post(f"/v1/jobs/{job_id}/cancel")
        await idle_ticks(plane, clock)
        assert shlex.split(demands(cluster)[-1].entrypoint)[2:] == ["workers.demand", "[]"]

    async def test_grows_with_the_queue_up_to_the_largest_number_of_nodes(
        self, plane: ControlPlane, cluster: MemoryCluster, clock: ManualClock
    ) -> None:
        for _ in range(3):
            await waiting_job(plane, clock)
            clock.forward(1)
        await ticks(plane, clock)
        assert [shlex.split(each.entrypoint)[3] for each in demands(cluster)] == ["[[4, 0, 1]]", "[[4, 0, 2]]"]


class TestLeaders:
    async def test_the_next_one_takes_back_what_a_killed_one_asked(
        self, plane: ControlPlane, other: ControlPlane, cluster: MemoryCluster, clock: ManualClock
    ) -> None:
        job_id = await waiting_job(plane, clock)
        await plane.lease_expires()
        await other.http.post(f"/v1/jobs/{job_id}/cancel")
        await idle_ticks(other, clock)
        assert cluster.stopped == [demands(cluster)[0].submission_id]

    async def test_the_next_one_replaces_it_while_the_job_waits(
        self, plane: ControlPlane, other: ControlPlane, cluster: MemoryCluster, clock: ManualClock
    ) -> None:
        await waiting_job(plane, clock)
        await plane.lease_expires()
        await ticks(other, clock)
        await other.tick()
        first, second = demands(cluster)
        assert cluster.stopped == [first.submission_id]
        assert second.entrypoint == first.entrypoint


class TestFleet:
    def test_does_not_change_while_the_new_nodes_come_up(self) -> None:
        live = Node(node_id="live", cpus_total=4, cpus_free=0)
        assert fleet([HEAD, live], [FOUR_CORES]) == fleet([HEAD], [FOUR_CORES] * 2) == ((4, 0, 2),)

    def test_is_empty_if_no_node_is_to_be_added(self) -> None:
        assert fleet([Node(node_id="live", cpus_total=4, cpus_free=0)], []) == ()
