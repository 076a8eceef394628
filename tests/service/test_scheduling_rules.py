"""The scheduling decisions: jobs to start, jobs to preempt, and reasons to wait. They need no cluster."""

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from service.jobs.cluster import Capacity, Node, NodeType
from service.jobs.queueing import Active, Limits, Queued
from service.jobs.scheduling import Choice, choose


def job(job_id: str, cpus: int = 1, gpus: int = 0, *, project: str = "p", priority: int = 0) -> Queued:
    return Queued(job_id=job_id, project=project, priority=priority, cpus=cpus, gpus=gpus)


def run(job_id: str, cpus: int = 1, gpus: int = 0, **others: object) -> Active:
    known: dict[str, object] = {"project": "p", "priority": 0, "is_placed": True, **others}
    return Active(job_id=job_id, cpus=cpus, gpus=gpus, **known)  # type: ignore[arg-type]


def node(cpus: float, gpus: float = 0, *, cpus_free: float | None = None, gpus_free: float | None = None) -> Node:
    return Node(
        node_id=f"{cpus}-{gpus}",
        cpus_total=cpus,
        cpus_free=cpus if cpus_free is None else cpus_free,
        gpus_total=gpus,
        gpus_free=gpus if gpus_free is None else gpus_free,
    )


def decide(
    queued: list[Queued],
    *nodes: Node,
    active: list[Active] | None = None,
    limits: Mapping[str, Limits] | None = None,
    node_types: tuple[NodeType, ...] = (),
) -> Choice:
    return choose(queued, active=active or [], capacity=Capacity(nodes, node_types), limits=limits or {})


class TestRoom:
    def test_the_oldest_jobs_that_fit_start(self) -> None:
        choice = decide([job("a", 2), job("b", 2), job("c", 1)], node(4))
        assert choice.start == ["a", "b"]
        assert choice.wait["c"].message == "needs 1 CPU on one node; 0 CPUs are free"

    def test_a_small_job_does_not_starve_a_big_one(self) -> None:
        assert decide([job("big", 4), job("small", 1)], node(4, cpus_free=3)).start == []

    def test_a_job_overtakes_one_that_waits_for_other_resources(self) -> None:
        assert decide([job("gpu", 1, 1), job("cpu", 1)], node(4, 1, gpus_free=0)).start == ["cpu"]

    def test_a_job_that_never_fits_has_that_reason_and_delays_no_other(self) -> None:
        choice = decide([job("huge", 8), job("a", 4)], node(4), node(4))
        assert choice.start == ["a"]
        assert choice.wait["huge"].code == "too_large"
        assert "the largest node has 4 CPUs" in choice.wait["huge"].message

    def test_a_job_needs_all_its_cpus_on_one_node(self) -> None:
        choice = decide([job("a", 4)], node(4, cpus_free=2), node(4, cpus_free=2))
        assert choice.start == []
        assert choice.wait["a"].message == "needs 4 CPUs on one node; 4 CPUs are free"

    def test_small_jobs_are_packed_so_that_a_large_one_still_fits(self) -> None:
        queued = [job("small", 1), job("large", 4)]
        assert decide(queued, node(4), node(2)).start == ["small", "large"]

    def test_resources_of_a_run_that_ray_has_not_placed_are_not_free(self) -> None:
        assert decide([job("a", 2)], node(4), active=[run("before", 3, is_placed=False)]).start == []

    def test_resources_of_an_active_run_are_not_free_even_if_ray_reports_them_free(self) -> None:
        assert decide([job("a", 2)], node(4), active=[run("before", 3)]).start == []

    def test_resources_that_other_programs_use_are_not_free(self) -> None:
        assert decide([job("a", 2)], node(4, cpus_free=1)).start == []

    @given(
        st.lists(
            st.tuples(st.integers(1, 4), st.integers(0, 1), st.integers(-2, 2), st.sampled_from("abc")), max_size=30
        ),
        st.lists(st.tuples(st.integers(0, 8), st.integers(0, 4)), min_size=1, max_size=4),
    )
    def test_started_jobs_fit_the_free_resources_and_every_other_job_waits(
        self, wanted: list[tuple[int, int, int, str]], nodes: list[tuple[int, int]]
    ) -> None:
        queued = [job(str(i), c, g, priority=p, project=name) for i, (c, g, p, name) in enumerate(wanted)]
        choice = decide(queued, *[node(cpus, gpus) for cpus, gpus in nodes])
        started = [each for each in queued if each.job_id in choice.start]
        assert sum(each.cpus for each in started) <= sum(cpus for cpus, _ in nodes)
        assert sum(each.gpus for each in started) <= sum(gpus for _, gpus in nodes)
        assert sorted([*choice.start, *choice.wait]) == sorted(each.job_id for each in queued)


class TestOrder:
    def test_higher_priority_goes_first(self) -> None:
        queued = [job("old"), job("urgent", priority=5), job("idle", priority=-5)]
        assert decide(queued, node(2)).start == ["urgent", "old"]

    def test_a_project_that_holds_less_goes_first(self) -> None:
        queued = [*(job(f"many{i}", project="busy") for i in range(3)), job("one", project="quiet")]
        assert decide(queued, node(3), active=[run("r", project="busy")]).start == ["one", "many0"]

    def test_projects_take_turns(self) -> None:
        queued = [*(job(f"a{i}", project="a") for i in range(4)), *(job(f"b{i}", project="b") for i in range(4))]
        assert decide(queued, node(4)).start == ["a0", "b0", "a1", "b1"]

    def test_a_project_of_twice_the_weight_gets_twice_the_share(self) -> None:
        queued = [*(job(f"a{i}", project="a") for i in range(6)), *(job(f"b{i}", project="b") for i in range(6))]
        started = decide(queued, node(6), limits={"a": Limits(weight=2.0)}).start
        assert sorted(name[0] for name in started) == ["a", "a", "a", "a", "b", "b"]

    def test_the_larger_share_of_cpus_and_gpus_counts(self) -> None:
        queued = [job("cpu", 1, project="cpus"), job("gpu", 1, project="gpus")]
        active = [run("c", 2, project="cpus"), run("g", 1, 1, project="gpus")]
        # 2 of 16 CPUs is less than 1 of 2 GPUs.
        assert decide(queued, node(16, 2, cpus_free=1), active=active).start == ["cpu"]


class TestQuotas:
    def test_a_project_does_not_exceed_its_limit_of_jobs(self) -> None:
        choice = decide([job("a"), job("b"), job("c")], node(8), limits={"p": Limits(max_running_jobs=2)})
        assert choice.start == ["a", "b"]
        assert (choice.wait["c"].code, choice.wait["c"].message) == (
            "quota",
            "project p may run 2 jobs at once, and runs 2",
        )

    def test_a_project_does_not_exceed_its_limit_of_gpus(self) -> None:
        limits = {"p": Limits(max_gpus=1)}
        choice = decide([job("a", 1, 1), job("b", 1)], node(8, 4), active=[run("r", 1, 1)], limits=limits)
        assert choice.start == ["b"]
        assert choice.wait["a"].code == "quota"

    def test_a_project_at_its_limit_delays_no_other(self) -> None:
        queued = [job("a", 4, project="full"), job("b", 4, project="free")]
        assert decide(queued, node(4), limits={"full": Limits(max_running_jobs=0)}).start == ["b"]


class TestPreemption:
    def test_an_urgent_job_preempts_the_preemptible_run_of_lowest_priority(self) -> None:
        active = [run("low", 2, priority=-1, is_preemptible=True), run("mid", 2, is_preemptible=True)]
        choice = decide([job("urgent", 2, priority=9)], node(4, cpus_free=0), active=active)
        assert choice.pause == {"low": "urgent"}
        assert choice.start == []

    def test_nothing_is_paused_for_a_job_of_the_same_priority(self) -> None:
        active = [run("r", 2, is_preemptible=True)]
        assert decide([job("a", 2)], node(2, cpus_free=0), active=active).pause == {}

    def test_nothing_is_paused_if_that_would_not_free_enough(self) -> None:
        active = [run("r", 1, is_preemptible=True), run("firm", 1)]
        assert decide([job("urgent", 2, priority=9)], node(2, cpus_free=0), active=active).pause == {}

    def test_nothing_more_is_paused_while_stopping_runs_free_enough(self) -> None:
        active = [run("stopping", 2, is_stopping=True), run("next", 2, is_preemptible=True)]
        assert decide([job("urgent", 2, priority=9)], node(4, cpus_free=0), active=active).pause == {}

    def test_one_run_is_not_preempted_for_two_jobs(self) -> None:
        active = [run("r", 2, is_preemptible=True)]
        queued = [job("first", 2, priority=9), job("second", 2, priority=9)]
        assert decide(queued, node(2, cpus_free=0), active=active).pause == {"r": "first"}


class TestEarliestStart:
    def test_a_waiting_job_starts_when_enough_runs_have_ended(self) -> None:
        active = [run("r1", 1, eta_s=30.0), run("r2", 1, eta_s=90.0)]
        waits = decide([job("one", 1), job("two", 2)], node(2, cpus_free=0), active=active).wait
        assert (waits["one"].not_before_s, waits["two"].not_before_s) == (30.0, 90.0)

    def test_the_start_is_unknown_if_a_run_reports_no_estimate(self) -> None:
        waits = decide([job("a", 2)], node(2, cpus_free=0), active=[run("r", 2)]).wait
        assert waits["a"].not_before_s is None

    def test_a_later_job_in_the_queue_starts_after_an_earlier_one(self) -> None:
        """Each job needs a GPU, and each run frees one."""
        active = [run("soon", 1, 1, eta_s=30.0), run("later", 1, 1, eta_s=90.0)]
        waits = decide([job(name, 1, 1) for name in "abc"], node(8, 2, gpus_free=0), active=active).wait
        assert [waits[name].not_before_s for name in "abc"] == [30.0, 90.0, None]

    def test_resources_of_a_job_that_starts_now_are_not_free_for_later_jobs(self) -> None:
        choice = decide([job("a", 2), job("b", 2)], node(4, cpus_free=2), active=[run("r", 2, eta_s=30.0)])
        assert choice.start == ["a"]
        assert choice.wait["b"].not_before_s == 30.0

    def test_a_job_that_waits_for_other_resources_delays_no_other(self) -> None:
        active = [run("gpu", 1, 1, eta_s=90.0), run("cpus", 3, eta_s=30.0)]
        waits = decide([job("a", 1, 1), job("b", 2)], node(4, 1, cpus_free=0, gpus_free=0), active=active).wait
        assert (waits["a"].not_before_s, waits["b"].not_before_s) == (90.0, 30.0)


class TestSweeps:
    def sweep(self, job_id: str, tasks: int, cpus: int = 1, gpus: int = 0, **others: Any) -> Queued:
        return job(job_id, cpus, gpus, **others)._replace(tasks=tasks)

    def test_a_sweep_takes_its_tasks_wherever_they_fit(self) -> None:
        choice = decide([self.sweep("s", 4, 2), job("behind", 1)], node(4), node(5))
        assert choice.start == ["s", "behind"]
        assert decide([self.sweep("s", 4, 2), job("behind", 2)], node(4), node(5)).start == ["s"]

    def test_a_sweep_starts_if_only_one_of_its_tasks_fits(self) -> None:
        choice = decide([self.sweep("s", 4)], node(4, cpus_free=1), active=[run("before", 3)])
        assert choice.start == ["s"]

    def test_a_sweep_larger_than_the_cluster_takes_the_whole_cluster(self) -> None:
        choice = decide([self.sweep("s", 64), job("behind")], node(2), node(2))
        assert choice.start == ["s"]
        assert choice.wait["behind"].code == "busy"

    def test_a_task_that_fits_on_no_node_is_too_large(self) -> None:
        assert decide([self.sweep("s", 2, 4)], node(3), node(3)).wait["s"].code == "too_large"

    def test_free_resources_are_reserved_for_the_missing_tasks_of_a_running_sweep(self) -> None:
        sweep = run("s", 1, tasks=3)
        others = [run("before", 1)]
        # Two of its tasks run; the third takes the core that is free.
        assert decide([job("a")], node(4, cpus_free=1), active=[sweep, *others]).start == []
        assert decide([job("a")], node(5, cpus_free=2), active=[sweep, *others]).start == ["a"]

    def test_a_running_sweep_holds_only_resources_that_other_runs_leave(self) -> None:
        sweep = run("s", 1, tasks=4, is_preemptible=True)
        choice = decide([job("urgent", 2, priority=9)], node(4, cpus_free=0), active=[run("firm", 3), sweep])
        # One core is all that it holds, so pausing it would not be enough.
        assert choice.pause == {}
        choice = decide([job("urgent", 2, priority=9)], node(4, cpus_free=0), active=[run("firm", 1), sweep])
        assert choice.pause == {"s": "urgent"}

    def test_tasks_of_a_sweep_that_is_not_placed_yet_are_reserved_on_all_nodes(self) -> None:
        active = [run("s", 2, tasks=2, is_placed=False)]
        assert decide([job("a", 2)], node(3), node(3), active=active).start == []

    def test_the_share_of_a_project_counts_all_tasks(self) -> None:
        queued = [job("of sweeper", project="sweeper"), job("other", project="other")]
        active = [run("s", 1, tasks=3, project="sweeper"), run("r", 2, project="other")]
        assert decide(queued, node(8, cpus_free=1), active=active).start == ["other"]

    def test_a_quota_counts_all_tasks_that_the_cluster_can_hold(self) -> None:
        limits = {"p": Limits(max_gpus=2)}
        wait = decide([self.sweep("s", 4, 1, 1)], node(8, 8), limits=limits).wait["s"]
        assert wait.code == "quota"
        assert "the sweep needs 4" in wait.message
        assert decide([self.sweep("s", 4, 1, 1)], node(8, 2), limits=limits).start == ["s"]
        busy = [run("r", 1, 1, tasks=2)]
        assert decide([job("a", 1, 1)], node(8, 4), active=busy, limits=limits).wait["a"].code == "quota"


def gang(job_id: str, workers: int, cpus: int = 1, gpus: int = 0, *, least: int | None = None, **others: Any) -> Queued:
    return job(job_id, cpus, gpus, **others)._replace(workers=workers, min_workers=least or workers)


class TestWorkers:
    def test_that_fit_on_several_nodes_start_together(self) -> None:
        assert decide([gang("g", 3, 4)], node(8), node(4)).start == ["g"]

    def test_that_fit_by_their_sum_only_can_never_start(self) -> None:
        wait = decide([gang("g", 3, 4)], node(6), node(6)).wait["g"]
        assert wait.code == "too_large"
        assert "3 workers of 4 CPUs, each on one node" in wait.message
        assert "room for 2 such workers" in wait.message

    def test_of_which_one_does_not_fit_all_wait_and_reserve_what_is_free(self) -> None:
        choice = decide([gang("g", 2, 4), job("small", 4)], node(4), node(4, cpus_free=0), active=[run("r", 4)])
        assert choice.start == []
        assert choice.wait["g"].message == "needs 2 workers of 4 CPUs, each on one node; 4 CPUs are free"
        assert choice.wait["small"].code == "behind"

    def test_leave_the_rest_of_their_nodes_to_others(self) -> None:
        assert decide([gang("g", 2, 3), job("a", 1), job("b", 1)], node(4), node(4)).start == ["g", "a", "b"]

    def test_of_an_elastic_job_take_what_fits(self) -> None:
        choice = decide([gang("g", 4, 2, least=2), job("a", 2)], node(6))
        assert choice.start == ["g"]
        assert decide([gang("g", 4, 2, least=2)], node(6, cpus_free=2), active=[run("r", 4)]).start == []

    def test_of_a_running_elastic_job_hold_only_what_others_leave(self) -> None:
        elastic = run("g", 1, workers=4, min_workers=2, is_preemptible=True)
        active = [elastic, run("firm", 1)]
        choice = decide([job("urgent", 3, priority=9)], node(4, cpus_free=0), active=active)
        assert choice.pause == {"g": "urgent"}
        assert decide([job("a", 1)], node(4, cpus_free=1), active=active).start == []

    def test_of_a_trial_are_placed_all_or_none(self) -> None:
        sweep = gang("s", 2, 2)._replace(tasks=3)
        choice = decide([sweep, job("a", 2)], node(5), node(5))
        # Each node has room for two workers, so two trials start.
        assert (choice.start, choice.wait["a"].code) == (["s"], "busy")
        assert decide([sweep], node(3)).wait["s"].code == "too_large"

    def test_all_count_in_the_share_and_in_the_quota(self) -> None:
        queued = [job("of wide", project="wide"), job("other", project="other")]
        active = [run("g", 1, workers=3, min_workers=3, project="wide"), run("r", 2, project="other")]
        assert decide(queued, node(8, cpus_free=1), active=active).start == ["other"]
        wait = decide([gang("g", 3, 1, 1)], node(8, 8), limits={"p": Limits(max_gpus=2)}).wait["g"]
        assert (wait.code, "needs 3 for its 3 workers" in wait.message) == ("quota", True)

    def test_wait_for_the_run_that_frees_the_last_place(self) -> None:
        active = [run("soon", 4, eta_s=30.0), run("later", 4, eta_s=90.0)]
        waits = decide([gang("g", 2, 4)], node(4, cpus_free=0), node(4, cpus_free=0), active=active).wait
        assert waits["g"].not_before_s == 90.0

    @given(
        st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), min_size=1, max_size=4),
        st.integers(1, 4),
        st.integers(0, 2),
        st.integers(1, 6),
    )
    def test_start_if_and_only_if_some_assignment_to_nodes_holds_them(
        self, nodes: list[tuple[int, int]], cpus: int, gpus: int, workers: int
    ) -> None:
        choice = decide([gang("g", workers, cpus, gpus)], *(node(*each) for each in nodes))
        assert bool(choice.start) is _some_assignment_holds(tuple(nodes), cpus, gpus, workers)

    @given(
        st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3)), min_size=1, max_size=4),
        st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 1), st.integers(1, 3)), max_size=6),
    )
    def test_that_start_together_fit_on_the_nodes_together(
        self, nodes: list[tuple[int, int]], wanted: list[tuple[int, int, int, int]]
    ) -> None:
        queued = [
            gang(str(i), workers, c, g, least=min(least, workers)) for i, (workers, c, g, least) in enumerate(wanted)
        ]
        jobs = {each.job_id: each for each in queued}
        choice = decide(queued, *(node(*each) for each in nodes))
        least = [
            (each.cpus, each.gpus)
            for each in (jobs[job_id] for job_id in choice.start)
            for _ in range(each.min_workers)
        ]
        assert _packs(tuple(nodes), tuple(least))
        assert sorted([*choice.start, *choice.wait]) == sorted(jobs)


def _some_assignment_holds(nodes: tuple[tuple[int, int], ...], cpus: int, gpus: int, workers: int) -> bool:
    return _packs(nodes, ((cpus, gpus),) * workers)


def _packs(nodes: tuple[tuple[int, int], ...], bundles: tuple[tuple[int, int], ...]) -> bool:
    """Try every node for each bundle."""
    if not bundles:
        return True
    (cpus, gpus), *rest = bundles
    return any(
        _packs((*nodes[:index], (free[0] - cpus, free[1] - gpus), *nodes[index + 1 :]), tuple(rest))
        for index, free in enumerate(nodes)
        if cpus <= free[0] and gpus <= free[1]
    )


class TestGrowth:
    SMALL = NodeType(cpus=4, max_nodes=3)
    GPU = NodeType(cpus=8, gpus=1, max_nodes=2)

    def grown(self, queued: list[Queued], *nodes: Node, **others: Any) -> Choice:
        return decide(queued, *nodes, node_types=(self.GPU, self.SMALL), **others)

    def test_a_job_that_only_an_added_node_can_hold_asks_for_the_smallest_that_does(self) -> None:
        choice = self.grown([job("a", 3), job("b", 1, 1)])
        assert choice.new_nodes == [self.SMALL, self.GPU]
        assert choice.wait["a"].code == "growing"
        assert choice.wait["a"].message == "needs 3 CPUs on one node; waits for a node: asked the cluster to grow"

    def test_jobs_share_a_new_node(self) -> None:
        assert self.grown([job("a", 2), job("b", 2)]).new_nodes == [self.SMALL]

    def test_workers_use_what_is_free_and_ask_for_the_rest(self) -> None:
        assert self.grown([gang("g", 3, 4)], node(4)).new_nodes == [self.SMALL] * 2

    def test_an_elastic_job_asks_for_its_fewest_workers_if_not_all_can_be_had(self) -> None:
        assert self.grown([gang("g", 9, 1, 1, least=2)]).new_nodes == [self.GPU] * 2

    def test_no_more_nodes_are_asked_for_than_the_cluster_may_have(self) -> None:
        choice = self.grown([job(str(i), 4) for i in range(9)], node(4, cpus_free=0), active=[run("r", 4)])
        # One of the three small ones is up; larger ones take the others.
        assert sorted(choice.new_nodes, key=lambda kind: kind.cpus) == [self.SMALL] * 2 + [self.GPU] * 2
        assert [wait.code for wait in choice.wait.values()] == ["growing"] * 6 + ["busy"] * 3

    def test_a_job_that_no_node_can_ever_hold_is_too_large_and_asks_for_nothing(self) -> None:
        choice = self.grown([job("huge", 9), gang("wide", 3, 1, 1)])
        assert {wait.code for wait in choice.wait.values()} == {"too_large"}
        assert choice.new_nodes == []

    def test_jobs_that_a_quota_or_a_preempted_run_decides_about_ask_for_nothing(self) -> None:
        assert self.grown([job("a")], limits={"p": Limits(max_running_jobs=0)}).new_nodes == []
        low = run("low", 4, priority=-1, is_preemptible=True)
        choice = self.grown([job("urgent", 4, priority=9)], node(4, cpus_free=0), active=[low])
        assert (choice.pause, choice.new_nodes) == ({"low": "urgent"}, [])

    def test_a_job_that_waits_for_a_new_kind_of_node_leaves_the_live_ones_to_others(self) -> None:
        assert self.grown([job("gpu", 1, 1), job("cpu", 4)], node(4)).start == ["cpu"]

    def test_a_job_that_starts_asks_for_nothing(self) -> None:
        assert self.grown([job("a", 4)], node(4)).new_nodes == []
