"""Samples as metrics of Ray, in a process that is connected to it."""

import threading
import time
from collections.abc import Iterable, Mapping

from ray.util.metrics import Counter, Gauge

from workers.metrics import COUNTERS, GAUGES, Sample

_AGAIN_AFTER_S = 5.0
"""Half of the time from one of Ray's reports to the next; what was not set since the last one is not in it."""


class RayMetrics:
    def __init__(self) -> None:
        self._gauges = {name: Gauge(name, metric.text, metric.labels) for name, metric in GAUGES.items()}
        self._counters = {name: Counter(name, metric.text, metric.labels) for name, metric in COUNTERS.items()}
        self._staying: dict[tuple[str, frozenset[tuple[str, str]]], Sample] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._say_again, name="fgd-metrics", daemon=True).start()

    def tell(self, samples: Iterable[Sample]) -> None:
        for sample in samples:
            name, value, labels = sample
            if name in self._counters:
                self._counters[name].inc(value, labels)
                continue
            with self._lock:
                self._gauges[name].set(value, labels)
                if GAUGES[name].stays:
                    self._staying[name, frozenset(labels.items())] = sample

    def forget(self, labels: Mapping[str, str]) -> None:
        """Let go what has all of these labels."""
        with self._lock:
            self._staying = {key: sample for key, sample in self._staying.items() if not labels.items() <= key[1]}

    def _say_again(self) -> None:
        while True:
            time.sleep(_AGAIN_AFTER_S)
            with self._lock:
                for name, value, labels in self._staying.values():
                    self._gauges[name].set(value, labels)
