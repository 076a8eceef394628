"""Reads the values of a step after the next step was launched, so that an accelerator always has work."""

from collections import deque
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor


class LateValues:
    """Holds the values of a step while they are on their way to the host.

    Args:
        step: number of steps that are done with it.
        values: by name, scalars ().
        learning_rate: of the step.
        waited_s: seconds that the step waited for its images.
    """

    def __init__(self, step: int, values: Mapping[str, Tensor], *, learning_rate: float, waited_s: float) -> None:
        self.step, self.learning_rate, self.waited_s = step, learning_rate, waited_s
        self._names = tuple(values)
        stacked = torch.stack([value.float() for value in values.values()])
        # One transfer. On an accelerator it goes to pinned memory and starts when the step has ended, before the next.
        self._copied = stacked.to("cpu", non_blocking=True)
        self._end = torch.cuda.current_stream(stacked.device).record_event() if stacked.is_cuda else None

    def read(self) -> dict[str, float]:
        """Return the values by name; waits until the step has ended."""
        if self._end is not None:
            self._end.synchronize()
        return dict(zip(self._names, self._copied.tolist(), strict=True))


class LateReader:
    """Keeps the newest steps, whose values are not read yet.

    Args:
        behind: number of steps that are kept.
    """

    def __init__(self, behind: int) -> None:
        self._behind = behind
        self._steps: deque[LateValues] = deque()

    def add(self, step: LateValues) -> None:
        """Add a step that was launched."""
        self._steps.append(step)

    def due(self) -> Iterator[LateValues]:
        """Take the steps, oldest first, that should be read before the next one is launched."""
        return self._taken(self._behind)

    def rest(self) -> Iterator[LateValues]:
        """Take all steps, oldest first."""
        return self._taken(0)

    def _taken(self, left: int) -> Iterator[LateValues]:
        while len(self._steps) > left:
            yield self._steps.popleft()
