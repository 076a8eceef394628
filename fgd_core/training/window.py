"""Collects what the steps of a training report."""

import time

from fgd_core.spec.events import MetricsLogged

_PROGRESS_EVERY_S = 1.0


class StepWindow:
    """Collects the values since the previous progress event: their means, and the values of each step in columns."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._count = 0
        self._due_s = 0.0
        self._steps: list[int] = []
        self._columns: dict[str, list[float | None]] = {}
        self._waited_s = 0.0
        self.trained_s = 0.0
        """Seconds that went into training; whoever trains adds them."""

    def add(self, step: int, values: dict[str, float], *, waited_s: float) -> None:
        """Add the values of a step, and the seconds that it waited for images."""
        self._count += 1
        self._waited_s += waited_s
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            # Some terms occur only in some steps.
            column = self._columns.setdefault(name, [])
            column.extend([None] * (len(self._steps) - len(column)))
            column.append(value)
        self._steps.append(step)

    def take_steps(self) -> MetricsLogged | None:
        """Return the values of the steps since the last call, in columns; None if there are none."""
        steps, columns = self._steps, self._columns
        self._steps, self._columns = [], {}
        for column in columns.values():
            column.extend([None] * (len(steps) - len(column)))
        return MetricsLogged(steps=steps, values=columns) if steps else None

    def is_due(self) -> bool:
        """Return whether the next progress event is due."""
        return self._count > 0 and time.monotonic() >= self._due_s

    @property
    def data_wait(self) -> float:
        """Fraction of the time of these steps that went into waiting for images, in [0, 1]."""
        return self._waited_s / (self._waited_s + self.trained_s)

    def take_means(self) -> dict[str, float]:
        """Return the means since the last call, by name."""
        means = {name: total / self._count for name, total in self._sums.items()}
        self._sums, self._count = {}, 0
        self._waited_s = self.trained_s = 0.0
        self._due_s = time.monotonic() + _PROGRESS_EVERY_S
        return means
