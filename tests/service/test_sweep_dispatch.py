"""How a sweep reaches the cluster."""

from control_plane import ControlPlane, train_spec
from memory_cluster import MemoryCluster
from sweeps import sweep_spec

from service.store import attempts, queue


class TestSubmission:
    async def test_a_sweep_claims_no_resources_for_its_driver(
        self, plane: ControlPlane, cluster: MemoryCluster
    ) -> None:
        await plane.submit(sweep_spec(resources={"cpus": 2}))
        await plane.tick()
        assert [(each.cpus, each.gpus) for each in cluster.submissions] == [(0, 0)]

    async def test_a_job_of_several_workers_claims_none_either(
        self, plane: ControlPlane, cluster: MemoryCluster
    ) -> None:
        await plane.submit(train_spec(resources={"workers": 2}))
        await plane.tick()
        assert [(each.cpus, each.gpus) for each in cluster.submissions] == [(0, 0)]

    async def test_a_lost_submission_is_repeated_unchanged(self, plane: ControlPlane, cluster: MemoryCluster) -> None:
        await plane.submit(sweep_spec(resources={"cpus": 2}))
        await plane.tick()
        cluster.forget(cluster.submissions.pop().submission_id)
        await plane.tick()
        assert [each.cpus for each in cluster.submissions] == [0]

    async def test_running_trials_reduce_the_room_for_other_jobs(self, plane: ControlPlane) -> None:
        sweep = await plane.submit(sweep_spec(concurrent_trials=2))
        other = await plane.submit(train_spec())
        await plane.tick()
        await plane.tick()
        assert (await plane.state(sweep), await plane.state(other)) == ("starting", "queued")
        assert "needs 1 CPU" in (await plane.job(other))["reason"]

    async def test_a_sweep_of_one_trial_at_a_time_leaves_the_rest_to_others(self, plane: ControlPlane) -> None:
        await plane.submit(sweep_spec())
        other = await plane.submit(train_spec())
        await plane.tick()
        assert await plane.state(other) == "starting"


class TestTasks:
    async def test_the_number_of_tasks_comes_from_the_spec_of_a_sweep(self, plane: ControlPlane) -> None:
        sweep = await plane.submit(sweep_spec(concurrent_trials=7))
        training = await plane.submit(train_spec())
        async with plane.services.database.reading() as session:
            startable = await queue.startable(session, plane.clock(), max_alike=5)
            waiting = await queue.described(session, startable)
        assert {job.job_id: job.tasks for job in startable} == {sweep: 7, training: 1}
        assert {item.job.job_id: item.job.tasks for item in waiting} == {sweep: 7, training: 1}

    async def test_the_tasks_of_an_active_sweep_count(self, plane: ControlPlane) -> None:
        await plane.started_job(sweep_spec(concurrent_trials=7))
        async with plane.services.database.reading() as session:
            active = [queue.active_of(*pair, is_placed=True) for pair in await attempts.active(session)]
        assert [each.tasks for each in active] == [7]

    async def test_workers_count_while_a_job_waits_and_while_it_runs(self, plane: ControlPlane) -> None:
        first, second = [await plane.submit(train_spec(resources={"workers": 2})) for _ in range(2)]
        await plane.tick()
        await plane.tick()
        assert (await plane.state(first), await plane.state(second)) == ("starting", "queued")
        assert "needs 2 workers of 1 CPU" in (await plane.job(second))["reason"]
        (row,) = (await plane.http.get("/v1/queue")).json()["items"]
        assert (row["pieces"], row["workers"], row["cpus"]) == (1, 2, 1)

    async def test_the_queue_shows_the_number_of_tasks(self, plane: ControlPlane) -> None:
        await plane.submit(sweep_spec(concurrent_trials=7, resources={"cpus": 2}))
        (row,) = (await plane.http.get("/v1/queue")).json()["items"]
        assert (row["pieces"], row["cpus"]) == (7, 2)
