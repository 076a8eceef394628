"""Launches a group's workers with Ray Train's `TorchTrainer`, in the process of the group's actor."""

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from ray.train import RunConfig, ScalingConfig, TrainingFailedError, WorkerGroupError
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.config import FailureConfig

from fgd_core.spec.events import RunFinished
from fgd_core.spec.resources import Resources
from workers.files.scratch import Scratch, remove_abandoned
from workers.training.ends import Lost, end_after, first_line
from workers.training.rank import work
from workers.training.task import GroupTask

_LONGEST_WAIT_S = 7 * 86_400
"""The other ranks wait while rank 0 alone scores a validation split or waits for a verdict; a death is noticed at once,
whatever this limit."""

_MAX_STARTS = 10
"""How often Ray Train waits for room, a minute each time; then the job waits in the control plane's queue again."""


def launch(task: GroupTask, actor: Any) -> RunFinished | Lost | None:
    """Run the task in its workers until all have ended.

    A lost worker ends the whole group: the control plane, or the study, decides whether the run starts again.

    Args:
        actor: the handle of the group's `GroupActor`.
    Returns:
        None if all workers succeeded.
    """
    remove_abandoned()
    with closing(Scratch("train")) as scratch:
        return _fit(task, actor, scratch.folder)


def _fit(task: GroupTask, actor: Any, folder: Path) -> RunFinished | Lost | None:
    trainer = TorchTrainer(
        partial(work, task, actor),
        torch_config=TorchConfig(backend="nccl" if task.spec.resources.gpus else "gloo", timeout_s=_LONGEST_WAIT_S),
        scaling_config=_scaling(task.spec.resources, task.num_workers),
        run_config=RunConfig(
            name=task.name,
            storage_path=str(folder),
            failure_config=FailureConfig(
                max_failures=0, max_preemption_failures=0, controller_failure_limit=_MAX_STARTS
            ),
        ),
    )
    try:
        trainer.fit()
        return None
    except WorkerGroupError as error:
        return end_after(error.worker_failures)
    except TrainingFailedError as error:
        return Lost(f"Ray Train: {first_line(error)}")


def _scaling(resources: Resources, num_workers: int) -> ScalingConfig:
    return ScalingConfig(
        num_workers=num_workers,
        use_gpu=resources.gpus > 0,
        resources_per_worker={"CPU": resources.cpus, "GPU": resources.gpus},
    )
