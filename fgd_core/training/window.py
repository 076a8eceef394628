"""Collects what the steps of a training report."""

import time
from collections.abc import Mapping

from fgd_core.spec.events import MetricsLogged

_PROGRESS_EVERY_S = 1.0
NORM = "gradient_norm"


def means(totals: Mapping[str, float], *, num_steps: int, num_norms: int) -> dict[str, float]:
    """Divide sums over steps by the number of steps.

    Args:
        num_norms: steps that have a gradient norm; those whose gradient was too large for float16 have none.
    """
    return {name: total / (num_norms if name == NORM else num_steps) for name, total in totals.items()}


class StepWindow:
    """Collects the values since the previous progress event: their means, and the values of each step in columns."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._count = self._num_norms = 0
        self._due_s = 0.0
        self._steps: list[int] = []
        self._columns: dict[str, list[float | None]] = {}
        self._waited_s = 0.0
        self.trained_s = 0.0
        """Seconds that went into training; whoever trains adds them."""

    def add(self, step: int, values: dict[str, float], *, waited_s: float) -> None:
        """Add the values of a step, and the seconds that it waited for images."""
        self._count += 1
        self._num_norms += NORM in values
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
        found = means(self._sums, num_steps=self._count, num_norms=self._num_norms)
        self._sums, self._count, self._num_norms = {}, 0, 0
        self._waited_s = self.trained_s = 0.0
        self._due_s = time.monotonic() + _PROGRESS_EVERY_S
        return found
