"""Relays a run's metrics to the node's Ray agent, through a small process.

Only that process connects to Ray. In the run itself, the connection would have these costs: two dozen threads before
the processes that read images are forked, Ray's own SIGTERM handler, Ray's errors in the run's log, and a run that ends
when Ray's head ends. With a relay, the worst case is that metrics are missing.
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

from fgd_core.retrying import Backoff, RetryPolicy
from fgd_core.spec.attempts import Assignment
from fgd_core.spec.events import RunEvent
from workers.metrics import Sample
from workers.metrics.samples import run_samples

_RESTARTS = RetryPolicy(first_pause_s=60.0, longest_pause_s=600.0, max_tries=1000)
"""The process may end because Ray's head was away."""
_MAX_WAITING = 100
_START_AFTER_S = 5.0
"""Prometheus would hardly see the metrics of a shorter run, and the start takes more than a second of CPU time."""


class MetricsRelay:
    """Starts its process some seconds after the first event that has samples. Never raises and never blocks.

    Outside a Ray job it does nothing, so that it never connects to a cluster that happens to run on the machine.

    Args:
        num_waiting: returns the number of events that the control plane has not acknowledged.
    """

    def __init__(self, assignment: Assignment, num_waiting: Callable[[], int]) -> None:
        spec = assignment.spec
        self._labels = {"job_name": spec.name, "job_id": assignment.job_id, "kind": spec.kind, "trial": ""}
        self._num_waiting = num_waiting
        self._lines: SimpleQueue[str] = SimpleQueue()
        self._is_on = "RAY_ADDRESS" in os.environ
        if self._is_on:
            threading.Thread(target=self._run, name="fgd-metrics", daemon=True).start()

    def observe(self, event: RunEvent) -> None:
        """Queue the event's samples."""
        if not self._is_on:
            return
        samples = list(run_samples(event, self._labels))
        # Bounded: a process that hangs must not fill the run's memory.
        if samples and self._lines.qsize() < _MAX_WAITING:
            samples.append(Sample("fgd_run_outbox_events", self._num_waiting(), self._labels))
            self._lines.put(json.dumps(samples) + "\n")

    def _run(self) -> None:
        backoff = Backoff(_RESTARTS)
        while True:
            line = self._lines.get()
            time.sleep(_START_AFTER_S)
            with suppress(OSError, ValueError):
                self._feed(line)
            pause_s = backoff.failed()
            if pause_s is None:
                self._is_on = False
                return
            time.sleep(pause_s)

    def _feed(self, line: str) -> None:
        """Start the process and write lines to it; raises OSError once the process has ended."""
        with subprocess.Popen(
            [sys.executable, "-m", "workers.metrics", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            # Ray writes long error messages when its head is away.
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            assert process.stdin is not None
            while True:
                process.stdin.write(line)
                process.stdin.flush()
                line = self._lines.get()
