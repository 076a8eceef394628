"""A run's metrics on their way to the node's Ray agent, through a small process of their own.

That process is the one that connects to Ray. In the run itself this would bring two dozen threads in front of the
processes that read images, Ray's own handling of SIGTERM, its complaints in the run's log, and a run that ends with
Ray's head. Here the worst that happens is that metrics are missing.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue

from fgd_core.spec.attempts import Assignment
from fgd_core.spec.events import RunEvent
from workers.metrics import Sample
from workers.metrics.samples import of_run

_AGAIN_AFTER_S = 60.0
"""From the start of one process to the next: the first may have ended because Ray was away."""
_MAX_WAITING = 100


class MetricsRelay:
    """Never raises, and keeps nobody waiting. It starts its process at the first event that has something to tell.

    Of a run that is no job of Ray's, nothing is told: it must not find some other cluster by chance.

    Args:
        num_waiting: how many events the control plane has not confirmed.
    """

    def __init__(self, assignment: Assignment, num_waiting: Callable[[], int]) -> None:
        spec = assignment.spec
        self._labels = {"job_name": spec.name, "job_id": assignment.job_id, "kind": spec.kind, "trial": ""}
        self._num_waiting = num_waiting
        self._lines: SimpleQueue[str] = SimpleQueue()
        self._is_on = "RAY_ADDRESS" in os.environ
        if self._is_on:
            threading.Thread(target=self._run, name="fgd-metrics", daemon=True).start()

    def heard(self, event: RunEvent) -> None:
        if not self._is_on:
            return
        samples = list(of_run(event, self._labels))
        # Bounded: a process that hangs must not fill the run's memory.
        if samples and self._lines.qsize() < _MAX_WAITING:
            samples.append(Sample("fgd_run_outbox_events", self._num_waiting(), self._labels))
            self._lines.put(json.dumps(samples) + "\n")

    def _run(self) -> None:
        while True:
            line = self._lines.get()
            began_s = time.monotonic()
            with suppress(OSError, ValueError):
                self._feed(line)
            time.sleep(max(0.0, began_s + _AGAIN_AFTER_S - time.monotonic()))

    def _feed(self, line: str) -> None:
        """Raises OSError once the process has ended."""
        with subprocess.Popen(
            [sys.executable, "-m", "workers.metrics", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            # Ray complains at length where its head is away.
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            assert process.stdin is not None
            while True:
                process.stdin.write(line)
                process.stdin.flush()
                line = self._lines.get()
