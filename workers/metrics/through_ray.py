"""Samples as metrics of Ray, in a process that is connected to it."""

from collections.abc import Iterable

from ray.util.metrics import Counter, Gauge

from workers.metrics import COUNTERS, GAUGES, Sample


class RayMetrics:
    def __init__(self) -> None:
        self._gauges = {name: Gauge(name, metric.text, metric.labels) for name, metric in GAUGES.items()}
        self._counters = {name: Counter(name, metric.text, metric.labels) for name, metric in COUNTERS.items()}

    def tell(self, samples: Iterable[Sample]) -> None:
        for name, value, labels in samples:
            if name in self._gauges:
                self._gauges[name].set(value, labels)
            else:
                self._counters[name].inc(value, labels)
