"""python -m tests.training.killed_run FOLDER [--trial | --beside] < SPEC: a run that dies in its first evaluation.

It dies of SIGKILL when its detections should be scored: all batches are done, and no score is known. With --beside, a
step of the second epoch is also done.
"""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import NoReturn

from fgd_core.evaluation import evaluator
from fgd_core.runs import execute
from fgd_core.spec.events import EpochFinished
from fgd_core.spec.jobs import JOB_SPEC
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.train import TrainSpec
from tests.library import RecordingContext
from workers.remote.workspace import SharedRemoteWorkspace
from workers.tuning.messages import TrialTask
from workers.tuning.trial_worker import TrialWorker

WAIT_S = 60


class SecondEpoch(RecordingContext):
    """Notes when a step of the second epoch is done."""

    def __init__(self, job_dir: Path) -> None:
        super().__init__(job_dir)
        self.has_stepped = threading.Event()
        self._num_polls = 0

    def should_stop(self) -> bool:
        # An evaluation beside the training polls in another thread.
        if threading.current_thread() is threading.main_thread() and self.of(EpochFinished):
            self._num_polls += 1
            if self._num_polls > 1:
                self.has_stepped.set()
        return False


def die(*arguments: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("the process survived SIGKILL")


def main() -> None:
    spec = JOB_SPEC.validate_json(sys.stdin.buffer.read())
    assert isinstance(spec, TrainSpec | DistillSpec)
    folder = Path(sys.argv[1])
    vars(evaluator)["coco_scores"] = die
    context = SecondEpoch(folder)
    if "--beside" in sys.argv:
        vars(evaluator)["coco_scores"] = lambda *_: die(context.has_stepped.wait(WAIT_S))
    if "--trial" in sys.argv:
        TrialWorker(execute).begin(TrialTask(0, 0, spec, SharedRemoteWorkspace(folder, {})))
    else:
        execute(spec, context)


if __name__ == "__main__":
    main()
