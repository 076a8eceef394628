"""python -m tests.training.killed_chain FOLDER KIND NUMBER < SPEC: a chain that dies of SIGKILL.

It dies when it reports its event NUMBER of KIND, for example at the third `epoch_finished`.
"""

import os
import signal
import sys
from pathlib import Path

from fgd_core.runs import execute
from fgd_core.spec.events import RunEvent
from fgd_core.spec.jobs import JOB_SPEC
from tests.library import RecordingContext


class Mortal(RecordingContext):
    def __init__(self, job_dir: Path, kind: str, number: int) -> None:
        super().__init__(job_dir)
        self._kind, self._number = kind, number

    def emit(self, event: RunEvent) -> None:
        super().emit(event)
        if sum(each.kind == self._kind for each in self.events) == self._number:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    spec = JOB_SPEC.validate_json(sys.stdin.buffer.read())
    execute(spec, Mortal(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))


if __name__ == "__main__":
    main()
