"""python -m tests.training.killed_run FOLDER [--trial] < SPEC: a run that dies of SIGKILL in its first evaluation.

It dies when its detections should be scored: all batches are done, and no score is known.
"""

import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from fgd_core.evaluation import evaluator
from fgd_core.runs import execute
from fgd_core.spec.jobs import JOB_SPEC
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.train import TrainSpec
from tests.library import RecordingContext
from workers.remote.workspace import SharedRemoteWorkspace
from workers.tuning.messages import TrialTask
from workers.tuning.trial_worker import TrialWorker


def die(*arguments: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("the process survived SIGKILL")


def main() -> None:
    spec = JOB_SPEC.validate_json(sys.stdin.buffer.read())
    assert isinstance(spec, TrainSpec | DistillSpec)
    folder = Path(sys.argv[1])
    vars(evaluator)["coco_scores"] = die
    if "--trial" in sys.argv:
        TrialWorker(execute).begin(TrialTask(0, 0, spec, SharedRemoteWorkspace(folder, {})))
    else:
        execute(spec, RecordingContext(folder))


if __name__ == "__main__":
    main()
