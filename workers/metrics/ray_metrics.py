"""Exports samples as Ray metrics, from a process that is connected to Ray."""

import threading
import time
from collections.abc import Iterable, Mapping

from ray.util.metrics import Counter, Gauge

from fgd_core.spec.attempts import Assignment
from fgd_core.spec.events import RunEvent
from fgd_core.spec.trials import TrialEnded
from workers.metrics import COUNTERS, GAUGES, Sample
from workers.metrics.samples import sweep_samples

_REPEAT_EVERY_S = 5.0
"""Half of Ray's reporting interval; a report contains only gauges that were set since the report before."""


class RayMetrics:
    """Sets Ray's gauges and counters, and repeats the gauges whose values stay true."""

    def __init__(self) -> None:
        self._gauges = {name: Gauge(name, metric.text, metric.labels) for name, metric in GAUGES.items()}
        self._counters = {name: Counter(name, metric.text, metric.labels) for name, metric in COUNTERS.items()}
        self._staying: dict[tuple[str, frozenset[tuple[str, str]]], Sample] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._repeat, name="fgd-metrics", daemon=True).start()

    def record(self, samples: Iterable[Sample]) -> None:
        """Set the gauges and increase the counters of these samples."""
        for sample in samples:
            name, value, labels = sample
            if name in self._counters:
                self._counters[name].inc(value, labels)
                continue
            with self._lock:
                self._gauges[name].set(value, labels)
                if GAUGES[name].stays:
                    self._staying[name, frozenset(labels.items())] = sample

    def drop(self, labels: Mapping[str, str]) -> None:
        """Stop repeating the gauges that have all of these labels."""
        with self._lock:
            self._staying = {key: sample for key, sample in self._staying.items() if not labels.items() <= key[1]}

    def _repeat(self) -> None:
        while True:
            time.sleep(_REPEAT_EVERY_S)
            with self._lock:
                for name, value, labels in self._staying.values():
                    self._gauges[name].set(value, labels)


class SweepMetrics:
    """Exports the metrics of a sweep and its trials, from the sweep's driver.

    Args:
        objective: the name of the first objective.
    """

    def __init__(self, assignment: Assignment, objective: str) -> None:
        name, self._objective = assignment.spec.name, objective
        self._sweep_labels = {"sweep": name, "job_id": assignment.job_id}
        self._trial_labels = {"job_name": name, "job_id": assignment.job_id, "kind": assignment.spec.kind}
        self._metrics = RayMetrics()

    def observe(self, event: RunEvent) -> None:
        """Export the event's samples."""
        self._metrics.record(
            sweep_samples(event, self._sweep_labels, objective=self._objective, trial_labels=self._trial_labels)
        )
        if isinstance(event, TrialEnded):
            # The metrics of the trial's run. The trial's rank among the others is shown until the sweep ends.
            self._metrics.drop({**self._trial_labels, "trial": str(event.trial)})
