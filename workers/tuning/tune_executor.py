"""Runs trials under Ray Tune: it places them, starts and reuses their actors, and notices when one dies.

Each segment of a trial is one trial of Tune's. The study stays the truth: Tune asks it, through its own extension
points, what to start (`Searcher`) and whether a trial goes on (`TrialScheduler`). Nothing is restored from Tune's
files: it loses the state of schedulers, and cannot change a space. A new attempt replays the study in a new `Tuner`.
"""

import logging
import os
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Self

import ray
from ray import tune
from ray.actor import ActorHandle
from ray.tune import Callback, CheckpointConfig, FailureConfig, RunConfig, Stopper, TuneConfig, Tuner
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from fgd_core.spec.resources import Resources
from workers.files.scratch import Scratch, remove_abandoned
from workers.remote.messages import Update
from workers.tuning.driver import Driver
from workers.tuning.group_trial_worker import GroupTrialWorker
from workers.tuning.messages import TrialMessage, TrialTask
from workers.tuning.trial_actor import Result, Segment, TrialActor
from workers.tuning.trial_context import Share
from workers.tuning.trial_worker import Execute, TrialWorker

_ENVIRONMENT = {
    # The driver reads results as they come; Tune's own files and tables would be copies.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": str(10**9),
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # The run has signal handlers of its own.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Relative paths in a spec mean the same in a trial as in any other run.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


class TuneExecutor:
    """Runs the trials of one sweep on the Ray cluster to which this process is connected.

    Args:
        execute: runs a trial; a picklable reference, which the actors resolve.
        share: opens the teacher that trials share.
        name: of Tune's folders; different for each sweep of a cluster.
    """

    def __init__(
        self, execute: Execute, resources: Resources, *, name: str, max_trials: int, share: Share | None = None
    ) -> None:
        worker = partial(GroupTrialWorker, execute) if resources.workers > 1 else partial(TrialWorker, execute, share)
        self._trainable = tune.with_resources(tune.with_parameters(TrialActor, worker=worker), _bundles(resources))
        # Ray's dashboard shows this name of the class, which Tune has wrapped twice.
        self._trainable.__qualname__ = TrialActor.__qualname__
        self._name, self._max_trials = name, max_trials

    def run(self, driver: Driver) -> None:
        """Run trials until the driver is over."""
        os.environ.update(_ENVIRONMENT)
        # At its end, Tune warns that each trial's result file is missing.
        logging.getLogger("ray.tune").setLevel(logging.ERROR)
        scheduler = _StudyScheduler(driver)
        remove_abandoned()
        with closing(Scratch("tune")) as scratch:
            Tuner(
                self._trainable,
                tune_config=TuneConfig(
                    search_alg=_StudySearcher(driver),
                    scheduler=scheduler,
                    num_samples=-1,
                    max_concurrent_trials=self._max_trials,
                    reuse_actors=True,
                    trial_name_creator=_trial_name,
                    trial_dirname_creator=_trial_name,
                ),
                run_config=RunConfig(
                    name=self._name,
                    storage_path=str(scratch.folder),
                    verbose=0,
                    failure_config=FailureConfig(max_failures=0),
                    # A trial stores its own checkpoints.
                    checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
                    stop=_WhenStopped(driver, scheduler),
                    callbacks=[_Tick(driver)],
                ),
            ).fit()


def _bundles(resources: Resources) -> tune.PlacementGroupFactory:
    if resources.workers > 1:
        # Ray Train places the workers together; the trial's actor only drives them. Tune refuses a group that needs
        # nothing, so that this one needs a byte of the memory that nodes offer.
        return tune.PlacementGroupFactory([{"memory": 1}])
    return tune.PlacementGroupFactory([{"CPU": resources.cpus, "GPU": resources.gpus}])


def _task(trial: Trial) -> TrialTask:
    segment: Segment = trial.config["segment"]
    return segment.task


def _trial_name(trial: Trial) -> str:
    task = _task(trial)
    return f"trial {task.trial} segment {task.segment}" if task.segment else f"trial {task.trial}"


class _Unstored:
    """Lets Tune store and copy its configuration, from which a sweep is never restored, without what belongs to us."""

    def __getstate__(self) -> dict[str, object]:
        return {}

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self


class _StudySearcher(_Unstored, Searcher):
    """Suggests what the study starts next."""

    def __init__(self, driver: Driver) -> None:
        super().__init__()
        self._driver = driver

    def suggest(self, trial_id: str) -> Any:
        if self._driver.is_over:
            return Searcher.FINISHED
        task = self._driver.begin()
        if task is not None:
            return {"segment": Segment(task)}
        # The last trial may have failed to start.
        return Searcher.FINISHED if self._driver.is_over else None

    def on_trial_complete(self, trial_id: str, result: object = None, error: bool = False) -> None:
        return

    def save(self, checkpoint_path: str) -> None:
        return

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a sweep is restored from its study, not from Tune's files")


class _StudyScheduler(_Unstored, FIFOScheduler):
    """Passes each trial's messages to the driver, and the driver's verdict to the trial.

    A trial that must pause or stop ends itself: it saves a checkpoint and reports how it ended, so its last events are
    not lost. Tune therefore always hears that the trial goes on, until it is done.
    """

    def __init__(self, driver: Driver) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._driver = driver
        self.running: dict[str, ActorHandle[TrialActor]] = {}
        """The actor of each Tune trial that has sent a message and has not ended."""

    def on_trial_result(self, tune_controller: object, trial: Trial, result: Result) -> str:
        task = _task(trial)
        if "actor" in result:
            self.running[trial.trial_id] = result["actor"]
            result["actor"].runs.options(name=task.title).remote()
        verdict = self._driver.handle(TrialMessage(task.trial, _update(result)))
        if self._driver.should_stop(task.trial):
            verdict = "stop"
        if verdict not in (None, "continue"):
            # Tune's next call of the actor, which means `continue`, comes after this one.
            self.running[trial.trial_id].set_verdict.options(name=f"{task.title}: {verdict}").remote(verdict)
        return str(TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: object, trial: Trial, result: Result) -> None:
        self.running.pop(trial.trial_id, None)
        self._driver.handle(TrialMessage(_task(trial).trial, _update(result)))
        trial.last_result.pop("update", None)

    def on_trial_error(self, tune_controller: object, trial: Trial) -> None:
        self.running.pop(trial.trial_id, None)
        self._driver.handle(TrialMessage(_task(trial).trial, None, _cause(trial)))


def _update(result: Result) -> Update:
    update = result["update"]
    assert isinstance(update, Update)
    return update


def _cause(trial: Trial) -> str:
    # Tune writes the error into a file on the driver's node.
    path = trial.pickled_error_file
    if path is not None and Path(path).exists():
        error = ray.cloudpickle.loads(Path(path).read_bytes())
        return f"{type(error).__name__}: {error}".splitlines()[0]
    path = trial.error_file
    lines = Path(path).read_text().strip().splitlines() if path is not None and Path(path).exists() else []
    return lines[-1] if lines else "its process did not start"


class _Tick(_Unstored, Callback):
    """Lets the driver look around at each turn of Tune's loop, ten times a second or more often."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: object) -> None:
        self._driver.tick()

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: Result, **info: object
    ) -> None:
        # Tune keeps the newest result of each trial; the driver has stored what was in it, unless it is the last one.
        result.pop("actor", None)
        if not result["done"]:
            result.pop("update", None)


class _WhenStopped(_Unstored, Stopper):
    """Ends Tune's trials that wait for resources, once the sweep is stopping and the others have ended."""

    def __init__(self, driver: Driver, scheduler: _StudyScheduler) -> None:
        self._driver, self._scheduler = driver, scheduler

    def __call__(self, trial_id: str, result: Result) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._driver.is_stopping and not self._scheduler.running
