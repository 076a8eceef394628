"""Groups of two workers on a real Ray: a trial, a run that fails, and a training that grows from one worker to two."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import ray
import torch
import torch.distributed as dist
from ray.util.placement_group import placement_group, remove_placement_group

from fgd_core.errors import DataError
from fgd_core.spec.attempts import Assignment
from fgd_core.spec.backbones import ResNet
from fgd_core.spec.data import InputSpec, Shapes
from fgd_core.spec.detectors import RetinaNet
from fgd_core.spec.events import CheckpointSaved, Evaluated, Resumed, RunEvent, RunFinished, WorkersStarted
from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.resources import Resources
from fgd_core.spec.results import ErrorReport
from fgd_core.spec.training import TrainingSpec
from fgd_core.training.context import AwaitsVerdicts, RunContext
from tests.tuning.function_trials import scores
from workers.remote.context import RemoteContext
from workers.remote.workspace import SharedRemoteWorkspace
from workers.training.driver import drive
from workers.training.group import Group
from workers.training.task import GroupTask
from workers.tuning.group_trial_worker import GroupTrialWorker
from workers.tuning.messages import TrialTask

UPDATE_S = 1.0


def reports(spec: JobSpec, context: RunContext) -> RunFinished:
    """Let rank 0 report a sum over the ranks after each epoch, until a verdict stops it."""
    for epoch in range(1, 100):
        total = torch.tensor([dist.get_rank() + 1.0])
        dist.all_reduce(total)
        if dist.get_rank() == 0:
            context.emit(Evaluated(epoch=epoch, step=epoch, scores=scores(total.item() / 100)))
            if isinstance(context, AwaitsVerdicts):
                context.wait_for_verdict()
        is_over = [dist.get_rank() == 0 and context.should_stop()]
        dist.broadcast_object_list(is_over, src=0)
        if is_over[0]:
            break
    return RunFinished(outcome="stopped")


def fails(spec: JobSpec, context: RunContext) -> RunFinished:
    """Fail in worker 1 while worker 0 waits for it."""
    if dist.get_rank() == 1:
        error = DataError("an image is missing; restore it", image="7.jpg")
        return RunFinished(outcome="failed", error=ErrorReport.of(error))
    dist.barrier()
    return RunFinished(outcome="succeeded")


SPEC = TrainSpec(
    name="two workers",
    detector=RetinaNet(backbone=ResNet(name="resnet18", stem_width=8, blocks=(1, 1, 1, 1)), fpn_width=16),
    data=Shapes(num_train=8, num_val=4, image_size_px=64),
    input=InputSpec(shorter_px=64, longer_px=64),
    resources=Resources(workers=2),
)


def trial(folder: Path) -> None:
    """Run a trial whose third report is answered with a stop."""
    worker = GroupTrialWorker(reports)
    worker.begin(TrialTask(0, 0, SPEC, SharedRemoteWorkspace(folder, {})))
    epochs = []
    while (update := worker.update(UPDATE_S)).finished is None:
        for event in update.events:
            if isinstance(event, WorkersStarted):
                print("workers", [each.rank for each in event.workers], len({each.pid for each in event.workers}))
        if update.report is not None:
            epochs.append(update.report.epoch)
            print("ap", update.report.scores.ap)
            worker.set_verdict("stop" if len(epochs) == 3 else "continue")
    print("trial", epochs, update.finished.outcome)
    worker.close()


def failure(folder: Path) -> None:
    """Run a job that fails in one worker, and print how it ended and how many of its workers are left."""
    workspace = SharedRemoteWorkspace(folder, {})
    group = Group(GroupTask("two workers", SPEC, 2, workspace, partial(RemoteContext, workspace), fails))
    pids: list[int] = []
    while (update := group.update(UPDATE_S)).finished is None:
        pids += [each.pid for event in update.events if isinstance(event, WorkersStarted) for each in event.workers]
    error = update.finished.error
    print("finished", update.finished.outcome, error.code if error else "", error.details if error else "")
    group.kill()
    deadline_s = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    print("left", sum(Path(f"/proc/{pid}").exists() for pid in pids))


class Context:
    """Lets go of a CPU after the first checkpoint, and stops the job when a larger group has resumed."""

    def __init__(self, folder: Path, spec: TrainSpec) -> None:
        self.job_dir = folder
        self.server_files = None
        uri = folder.as_uri()
        self.assignment = Assignment(attempt_id="a", number=1, job_id="a", spec=spec, job_uri=uri, heartbeat_s=1.0)
        self._taken = placement_group([{"CPU": 1.0}])
        assert self._taken.wait(60)
        self._sizes: list[int] = []
        self._is_over = False

    def emit(self, event: RunEvent) -> None:
        match event:
            case WorkersStarted():
                self._sizes.append(len(event.workers))
            case CheckpointSaved() if self._sizes == [1]:
                remove_placement_group(self._taken)
            case Resumed():
                print("grown", self._sizes, "resumed", event.step > 0)
                self._is_over = True

    def should_stop(self) -> bool:
        return self._is_over

    def resolve_checkpoint(self, source: str) -> Path:
        return Path(source)


def grows(folder: Path) -> None:
    """Train in one process while another job holds a CPU, and then in two."""
    training = TrainingSpec(epochs=100_000, batch_size=4, evaluate_every=1_000_000)
    spec = SPEC.model_copy(update={"training": training, "resources": Resources(workers=2, min_workers=1)})
    finished = drive(spec, Context(folder, spec), grow_every_s=2.0)
    print("finished", finished.outcome, finished.error)


def run(path: str, only: Sequence[str] = ()) -> None:
    """Run all groups on the cluster of which this process is a job."""
    folder = Path(path)
    ray.init(address="auto", log_to_driver=False)
    began_s = time.monotonic()
    for name, work in {"trial": trial, "fails": failure, "grows": grows}.items():
        if only and name not in only:
            continue
        print("## ", name)
        work(folder)
        print(f"{time.monotonic() - began_s:.1f} s")
