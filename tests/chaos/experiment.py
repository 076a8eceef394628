"""The experiment from beginning to end: submit, strike, wait, judge."""

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
from tests.chaos.blows import Blow, Hammer, Kind, drawn
from tests.chaos.grounds import Site, site
from tests.chaos.user import User
from tests.chaos.verdict import Story, complaints
from tests.chaos.watching import Watch, patiently
from tests.chaos.workload import Errand, errands

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    num_jobs: int
    epochs: tuple[int, int]
    """The fewest and the most of a training."""
    blows: Mapping[Kind, int]
    seed: int
    pause_s: tuple[float, float] = (2.0, 16.0)
    """Between two blows."""
    num_nodes: int = 2
    cpus_per_node: int = 2
    limit_s: float = 1800.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    stories: Sequence[Story]
    blows: Sequence[Blow]
    moved_at: Sequence[float]
    """Wall clock of each time at which a user saw something new."""
    complaints: Sequence[str]
    wall_s: float


def run(plan: Plan, say: Say) -> Outcome:
    """All of it; the logs stay where something was wrong.

    Raises:
        TimeoutError: something does not come to its end in time.
    """
    rng = random.Random(plan.seed)
    began = time.monotonic()
    say("starting PostgreSQL, Ray and two control planes")
    with site(num_replicas=2, num_nodes=plan.num_nodes, cpus_per_node=plan.cpus_per_node) as grounds:
        say(f"logs are in {grounds.logs}")
        watch = Watch(grounds.users_door.url)
        hammer = Hammer(grounds, rng)
        experiment = _Experiment(plan, rng=rng, grounds=grounds, watch=watch, hammer=hammer, say=say)
        try:
            outcome = experiment.run(began)
        finally:
            hammer.heal()
            watch.stop()
    if not outcome.complaints:
        shutil.rmtree(grounds.logs)
    return outcome


class _Experiment:
    def __init__(
        self, plan: Plan, *, rng: random.Random, grounds: Site, watch: Watch, hammer: Hammer, say: Say
    ) -> None:
        self._plan = plan
        self._rng = rng
        self._site = grounds
        self._watch = watch
        self._hammer = hammer
        self._say = say
        self._deadline = time.monotonic() + plan.limit_s
        self._wrong: list[str] = []
        self._jobs: dict[str, Errand] = {}
        self._user = User(grounds.users_door.url)

    def run(self, began: float) -> Outcome:
        self._submit()
        self._watch.start()
        blows = self._strike()
        self._hammer.heal()
        self._say("all blows have fallen; waiting for the jobs")
        self._until(lambda: self._num_over() == len(self._jobs), "all jobs to be over")
        self._say("all jobs are over; waiting for what they held")
        self._await_release()
        self._watch.stop()
        stories = [self._story(job_id, errand) for job_id, errand in self._jobs.items()]
        self._wrong += [each for story in stories for each in complaints(story, blows)]
        self._wrong += self._watch.refusals
        if len(self._watch.jobs) != len(self._jobs):
            self._wrong.append(f"{len(self._jobs)} jobs were submitted, and there are {len(self._watch.jobs)}")
        return Outcome(
            stories=stories,
            blows=blows,
            moved_at=self._watch.moved_at,
            complaints=self._wrong,
            wall_s=time.monotonic() - began,
        )

    def _submit(self) -> None:
        with FgdClient(self._site.users_door.url) as client:
            ids: list[str] = []
            for errand in errands(self._plan.num_jobs, self._rng, epochs=self._plan.epochs):
                spec = errand.spec if errand.teacher is None else errand.with_teacher(ids[errand.teacher])
                post = functools.partial(client.submit, spec, idempotency_key=errand.key)
                first, again = patiently(post), patiently(post)
                if first.job_id != again.job_id:
                    self._wrong.append(f"{errand.key} was posted twice and became {first.job_id} and {again.job_id}")
                ids.append(first.job_id)
                self._jobs[first.job_id] = errand
                if errand.deed is not None:
                    self._user.intends(first.job_id, errand.deed)
        self._say(f"{len(self._jobs)} jobs are submitted, each twice")

    def _strike(self) -> list[Blow]:
        kinds = drawn(self._plan.blows, self._rng)
        fallen: list[Blow] = []
        while kinds:
            pause_s = self._rng.uniform(*self._plan.pause_s)
            if self._num_over() / len(self._jobs) > len(fallen) / (len(fallen) + len(kinds)):
                # The work would be done before the blows are.
                pause_s /= 4
            self._until_then(time.monotonic() + pause_s)
            if self._num_over() == len(self._jobs):
                self._wrong.append(f"all jobs were over before the last {len(kinds)} blows: {kinds}")
                break
            if not self._is_under_way():
                continue
            # What finds nothing to hit lets the next one go first.
            for kind in dict.fromkeys(kinds):
                blow = self._hammer.strike(kind)
                if blow is not None:
                    kinds.remove(kind)
                    fallen.append(blow)
                    num_over = f"{self._num_over()} of {len(self._jobs)} jobs are over"
                    self._say(f"blow {len(fallen)}: {kind} ({blow.what}); {num_over}")
                    break
        return fallen

    def _is_under_way(self) -> bool:
        return any(job.state in ON_CLUSTER for job in self._watch.jobs.values())

    def _num_over(self) -> int:
        return sum(job.state in OVER for job in self._watch.jobs.values())

    def _until_then(self, then: float) -> None:
        while time.monotonic() < then:
            self._live()

    def _until(self, so: Callable[[], bool], what: str) -> None:
        while not so():
            if time.monotonic() > self._deadline:
                jobs = [job for job in self._watch.jobs.values() if job.state not in OVER]
                states = sorted(f"{job.name} ({job.job_id}): {job.state}, {job.reason}" for job in jobs)
                raise TimeoutError(f"waited {self._plan.limit_s:g} s for {what}; {states}")
            self._live()

    def _live(self) -> None:
        self._user.tend(self._watch.jobs)
        time.sleep(0.2)

    def _await_release(self) -> None:
        """Wait until nothing is held, and complain of what still is after a while."""
        deadline = time.monotonic() + 90
        while left := self._left():
            if time.monotonic() > deadline:
                self._wrong += left
                return
            time.sleep(0.5)

    def _left(self) -> list[str]:
        left = [f"process {process.pid} of attempt {id_} is left" for id_, process in self._site.runs().items()]
        left += [
            f"Ray says that {job['submission_id']} is {job['status']}"
            for job in self._site.ray.ask("/api/jobs/").json()
            if job["status"] in ("PENDING", "RUNNING")
        ]
        capacity = asyncio.run(self._capacity())
        cpus_free = sum(node.cpus_free for node in capacity.nodes)
        if not cpus_free == capacity.cpus_total == self._site.ray.cpus:
            left.append(f"{cpus_free:g} of {capacity.cpus_total:g} CPUs are free, of {self._site.ray.cpus}")
        with FgdClient(self._site.users_door.url) as client:
            for job_id in self._jobs:
                job = patiently(functools.partial(client.job, job_id))
                left += [f"{a.attempt_id} is not released" for a in job.attempts if a.released_at is None]
        return left

    async def _capacity(self) -> Capacity:
        async with RayCluster(self._site.ray.dashboard_url, self._site.ray.token) as cluster:
            return await cluster.capacity()

    def _story(self, job_id: str, errand: Errand) -> Story:
        with FgdClient(self._site.users_door.url) as client:
            job: JobView = patiently(lambda: client.job(job_id))
            events = patiently(lambda: client.stored_events(job_id))
        answer = httpx.get(
            f"{self._site.users_door.url}/v1/jobs/{job_id}/metrics", params={"max_points": 100_000}, trust_env=False
        )
        return Story(errand=errand, job=job, events=events, curves=MetricPage.model_validate_json(answer.content).items)
