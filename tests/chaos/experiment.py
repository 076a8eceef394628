"""The experiment from beginning to end: submit jobs, inject faults, wait, check."""

import asyncio
import functools
import random
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import httpx

from fgd_core.spec.views import JobView, MetricPage
from service.client.client import FgdClient
from service.dispatcher.cluster import RayCluster
from service.jobs.cluster import Capacity
from service.jobs.lifecycle import ON_CLUSTER, OVER
from tests.chaos.environment import Environment, started
from tests.chaos.faults import Fault, FaultInjector, Kind, draw
from tests.chaos.monitoring import Monitor, answered
from tests.chaos.user import User
from tests.chaos.verdict import JobRecord, violations
from tests.chaos.workload import PlannedJob, planned_jobs

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Configures an experiment."""

    num_jobs: int
    epochs: tuple[int, int]
    """Lowest and highest number of epochs of a training."""
    faults: Mapping[Kind, int]
    seed: int
    pause_s: tuple[float, float] = (2.0, 16.0)
    """Between two faults."""
    num_nodes: int = 2
    cpus_per_node: int = 2
    limit_s: float = 1800.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Holds what was observed, and what was wrong."""

    records: Sequence[JobRecord]
    faults: Sequence[Fault]
    changed_at: Sequence[float]
    """Wall-clock time of each change that a user saw."""
    violations: Sequence[str]
    wall_s: float


def run(plan: Plan, report: Report) -> Outcome:
    """Run an experiment. The logs are kept if something was wrong.

    Raises:
        TimeoutError: the jobs do not end in time.
    """
    rng = random.Random(plan.seed)
    began = time.monotonic()
    report("starting PostgreSQL, Ray and two control planes")
    with started(num_replicas=2, num_nodes=plan.num_nodes, cpus_per_node=plan.cpus_per_node) as environment:
        report(f"logs are in {environment.logs}")
        monitor = Monitor(environment.users_proxy.url)
        injector = FaultInjector(environment, rng)
        experiment = _Experiment(
            plan, rng=rng, environment=environment, monitor=monitor, injector=injector, report=report
        )
        try:
            outcome = experiment.run(began)
        finally:
            injector.restore()
            monitor.stop()
    if not outcome.violations:
        shutil.rmtree(environment.logs)
    return outcome


class _Experiment:
    def __init__(
        self,
        plan: Plan,
        *,
        rng: random.Random,
        environment: Environment,
        monitor: Monitor,
        injector: FaultInjector,
        report: Report,
    ) -> None:
        self._plan = plan
        self._rng = rng
        self._environment = environment
        self._monitor = monitor
        self._injector = injector
        self._report = report
        self._deadline = time.monotonic() + plan.limit_s
        self._violations: list[str] = []
        self._jobs: dict[str, PlannedJob] = {}
        self._user = User(environment.users_proxy.url)
        self._may_cancel = False
        """True after the last fault: until then the job that only a cancel ends is a target for faults. Database and
        network may still be away when it is cancelled."""

    def run(self, began: float) -> Outcome:
        self._submit()
        self._monitor.start()
        faults = self._inject_faults()
        self._may_cancel = True
        self._injector.restore()
        self._report("all faults are injected; waiting for the jobs")
        self._until(lambda: self._num_over() == len(self._jobs), "all jobs to end")
        self._report("all jobs are over; waiting until their resources are free")
        self._await_release()
        self._monitor.stop()
        records = [self._record(job_id, planned) for job_id, planned in self._jobs.items()]
        self._violations += [each for record in records for each in violations(record, faults)]
        self._violations += self._monitor.refusals
        if len(self._monitor.jobs) != len(self._jobs):
            self._violations.append(f"{len(self._jobs)} jobs were submitted, and there are {len(self._monitor.jobs)}")
        return Outcome(
            records=records,
            faults=faults,
            changed_at=self._monitor.changed_at,
            violations=self._violations,
            wall_s=time.monotonic() - began,
        )

    def _submit(self) -> None:
        with FgdClient(self._environment.users_proxy.url) as client:
            ids: list[str] = []
            for planned in planned_jobs(self._plan.num_jobs, self._rng, epochs=self._plan.epochs):
                spec = planned.spec if planned.teacher is None else planned.with_teacher(ids[planned.teacher])
                post = functools.partial(client.submit, spec, idempotency_key=planned.key)
                first, again = answered(post), answered(post)
                if first.job_id != again.job_id:
                    self._violations.append(
                        f"{planned.key} was posted twice and became {first.job_id} and {again.job_id}"
                    )
                ids.append(first.job_id)
                self._jobs[first.job_id] = planned
                if planned.user_action is not None:
                    self._user.plan(first.job_id, planned.user_action)
        self._report(f"{len(self._jobs)} jobs are submitted, each twice")

    def _inject_faults(self) -> list[Fault]:
        kinds = draw(self._plan.faults, self._rng)
        injected: list[Fault] = []
        while kinds:
            pause_s = self._rng.uniform(*self._plan.pause_s)
            if self._num_over() / len(self._jobs) > len(injected) / (len(injected) + len(kinds)):
                # Otherwise most jobs would end before the faults.
                pause_s /= 4
            self._act_until(time.monotonic() + pause_s)
            if not self._is_under_way():
                continue
            # If a kind of fault has no target now, the next kind is tried.
            for kind in dict.fromkeys(kinds):
                fault = self._injector.inject(kind)
                if fault is not None:
                    kinds.remove(kind)
                    injected.append(fault)
                    num_over = f"{self._num_over()} of {len(self._jobs)} jobs are over"
                    self._report(f"fault {len(injected)}: {kind} ({fault.what}); {num_over}")
                    break
        return injected

    def _is_under_way(self) -> bool:
        return any(job.state in ON_CLUSTER for job in self._monitor.jobs.values())

    def _num_over(self) -> int:
        return sum(job.state in OVER for job in self._monitor.jobs.values())

    def _act_until(self, then: float) -> None:
        while time.monotonic() < then:
            self._act()

    def _until(self, is_so: Callable[[], bool], what: str) -> None:
        while not is_so():
            if time.monotonic() > self._deadline:
                jobs = [job for job in self._monitor.jobs.values() if job.state not in OVER]
                states = sorted(f"{job.name} ({job.job_id}): {job.state}, {job.reason}" for job in jobs)
                raise TimeoutError(f"waited {self._plan.limit_s:g} s for {what}; {states}")
            self._act()

    def _act(self) -> None:
        self._user.act_on(self._monitor.jobs, may_cancel=self._may_cancel)
        time.sleep(0.2)

    def _await_release(self) -> None:
        """Wait until all resources are free; after 90 s record what is still in use."""
        deadline = time.monotonic() + 240
        while left := self._left():
            if time.monotonic() > deadline:
                self._violations += left
                return
            self._environment.ray.replace_ended()
            time.sleep(0.5)

    def _left(self) -> list[str]:
        left = [
            f"process {process.pid} of attempt {id_} still runs" for id_, process in self._environment.runs().items()
        ]
        left += [
            f"Ray reports that {job['submission_id']} is {job['status']}"
            for job in self._environment.ray.ask("/api/jobs/").json()
            if job["status"] in ("PENDING", "RUNNING")
        ]
        capacity = asyncio.run(self._capacity())
        cpus_free = sum(node.cpus_free for node in capacity.nodes)
        if not cpus_free == capacity.cpus_total == self._environment.ray.cpus:
            left.append(f"{cpus_free:g} of {capacity.cpus_total:g} CPUs are free, of {self._environment.ray.cpus}")
        with FgdClient(self._environment.users_proxy.url) as client:
            for job_id in self._jobs:
                job = answered(functools.partial(client.job, job_id))
                left += [f"{a.attempt_id} is not released" for a in job.attempts if a.released_at is None]
        return left

    async def _capacity(self) -> Capacity:
        async with RayCluster(self._environment.ray.dashboard_url, self._environment.ray.token) as cluster:
            return await cluster.capacity()

    def _record(self, job_id: str, planned: PlannedJob) -> JobRecord:
        with FgdClient(self._environment.users_proxy.url) as client:
            job: JobView = answered(lambda: client.job(job_id))
            events = answered(lambda: client.stored_events(job_id))
        answer = httpx.get(
            f"{self._environment.users_proxy.url}/v1/jobs/{job_id}/metrics",
            params={"max_points": 100_000},
            trust_env=False,
        )
        return JobRecord(
            planned=planned, job=job, events=events, curves=MetricPage.model_validate_json(answer.content).items
        )
