from control_plane import ControlPlane
from memory_cluster import MemoryCluster

from service.dispatcher.forgetting import PAUSE_S


class TestForgetting:
    async def test_a_run_that_the_cluster_remembers_again_is_deleted_again(
        self, plane: ControlPlane, cluster: MemoryCluster
    ) -> None:
        _, run = await plane.started_job()
        await run.fails("data")
        cluster.say(run.submission_id, "FAILED")
        await plane.tick()
        assert not cluster.knows(run.submission_id)
        # Ray's watch over the supervisor finds no record, and makes one.
        cluster.say(run.submission_id, "FAILED", "Job supervisor actor died")
        plane.clock.forward(PAUSE_S)
        await plane.tick()
        assert not cluster.knows(run.submission_id)
