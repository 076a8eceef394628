"""A group of workers: an actor launches it with Ray Train and passes messages; the driver holds the actor."""

import threading
from collections import deque
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fgd_core.spec.events import RunFinished, TrainingWorker, WorkersStarted
from fgd_core.spec.trials import Verdict
from workers.remote.imported import Imported
from workers.remote.messages import Update
from workers.training.ends import Lost, WorkerLostError
from workers.training.task import GroupTask

_LAUNCH = Imported("workers.training.launch", "launch")
"""By name: Ray Train's `TorchTrainer` loads torch, which takes the driver seconds and memory."""
_THREADS = 8
_MAX_WAITING = 100
"""Updates; rank 0 waits until the driver has taken some."""
_CLOSE_S = 15.0
"""How long Ray Train has to end the workers of a run that is done, before the actor is killed."""

_ENVIRONMENT = {
    "RAY_TRAIN_V2_ENABLED": "1",
    # The working directory stays: relative paths of the spec would change their meaning.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    # Each worker sees its own GPU only, so that `cuda` means the same in all its threads.
    "TRAIN_ENABLE_SHARE_CUDA_VISIBLE_DEVICES": "0",
    # For the process group of workers that hang because another one died; they are killed afterwards.
    "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "3",
    # Ray's dashboard then shows the group.
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",
}


class GroupActor:
    """Launches the workers from its own process; its other methods, in other threads, pass messages on."""

    def __init__(self, name: str, num_workers: int) -> None:
        self._name, self._num_workers = name, num_workers
        self._changed = threading.Condition()
        self._updates: deque[Update] = deque()
        self._verdicts: list[Verdict] = []
        self._workers: dict[int, TrainingWorker] = {}

    def __repr__(self) -> str:
        # Ray's dashboard and logs show this.
        return f"workers of {self._name}"

    def launch(self, task: GroupTask) -> RunFinished | Lost | None:
        """Run the task to its end; returns None if all workers succeeded, whose outcome rank 0 has then reported."""
        end: RunFinished | Lost | None = _LAUNCH(task, ray.get_runtime_context().current_actor)
        return end

    def join(self, worker: TrainingWorker) -> None:
        """Announce a worker; the driver gets an event once all of them are there."""
        with self._changed:
            self._workers[worker.rank] = worker
            workers = [self._workers[rank] for rank in sorted(self._workers)]
        if len(workers) == self._num_workers:
            self.put(Update([WorkersStarted(workers=workers)]))

    def put(self, update: Update) -> None:
        """Pass an update on to the driver."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._updates) < _MAX_WAITING)
            self._updates.append(update)
            self._changed.notify_all()

    def take(self, timeout_s: float) -> Update:
        """Wait for the next update; returns an empty one after the timeout."""
        with self._changed:
            self._changed.wait_for(lambda: self._updates, timeout_s)
            self._changed.notify_all()
            return self._updates.popleft() if self._updates else Update()

    def set_verdict(self, verdict: Verdict) -> None:
        """Pass a verdict on to rank 0."""
        with self._changed:
            self._verdicts.append(verdict)
            self._changed.notify_all()

    def verdicts(self, after: int, timeout_s: float) -> list[Verdict]:
        """Wait for verdicts after the first `after`, and return them; none after the timeout."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._verdicts) > after, timeout_s)
            return self._verdicts[after:]


class Group:
    """Starts a group of workers on the cluster to which this process is connected, and follows it."""

    def __init__(self, task: GroupTask) -> None:
        self._actor = _start_actor(task)
        self._launched = self._actor.launch.remote(task)
        self.has_started = False
        """True once all workers run, so that they hold their room."""
        self._is_cancelled = False

    def update(self, timeout_s: float) -> Update:
        """Wait for the next update of the run; returns an empty one after the timeout.

        Raises:
            WorkerLostError: the group has lost a worker, and is ended.
        """
        if self._is_cancelled:
            return Update(finished=RunFinished(outcome="stopped"))
        try:
            # Asked first: a launch that is over has put all of its updates.
            is_over = self._is_over(0)
            update: Update = ray.get(self._actor.take.remote(0 if is_over else timeout_s))
            if update.is_empty and is_over:
                return Update(finished=self._finished())
        except RayActorError as error:
            raise WorkerLostError(f"the process that launches the workers died: {error}") from error
        self.has_started = self.has_started or not update.is_empty
        # A failure of rank 0 may only mean that another worker died; the launch says which.
        is_failure = update.finished is not None and update.finished.outcome == "failed"
        return replace(update, finished=None) if is_failure else update

    def set_verdict(self, verdict: Verdict) -> None:
        """Send rank 0 a verdict: every one but `continue` makes the run save a checkpoint and end.

        Workers that have not started yet, for example because they wait for room, are not started any more.
        """
        if verdict == "continue" or self.has_started:
            self._actor.set_verdict.remote(verdict)
        else:
            self._is_cancelled = True
            self.kill()

    def close(self) -> None:
        """Wait until the workers of a run that is over have ended; then free what they held."""
        if not self._is_cancelled:
            self._is_over(_CLOSE_S)
        self.kill()

    def kill(self) -> None:
        """End the workers at once; idempotent."""
        # Ray also ends the actors that this one has started.
        ray.kill(self._actor)

    def _is_over(self, timeout_s: float) -> bool:
        return bool(ray.wait([self._launched], timeout=timeout_s)[0])

    def _finished(self) -> RunFinished:
        end: RunFinished | Lost | None = ray.get(self._launched)
        if isinstance(end, RunFinished):
            return end
        raise WorkerLostError(end.cause if end is not None else "rank 0 ended without an outcome")


def _start_actor(task: GroupTask) -> Any:
    # In no placement group: a trial's actor would otherwise put this one, and the workers, into its own.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(GroupActor).options(
        num_cpus=0,
        max_concurrency=_THREADS,
        scheduling_strategy=here,
        runtime_env={"env_vars": _ENVIRONMENT},
    )
    return actor.remote(task.name, task.num_workers)
