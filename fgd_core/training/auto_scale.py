"""Finds the scale of a distillation in its first steps, and says when distillation and task are out of balance."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fgd_core.methods.base import Moment
from fgd_core.ranks import mean_over_ranks
from fgd_core.spec.events import ScaleChosen

TARGET = 2.0
"""Distillation over task loss with the scale that is found."""
BALANCED = (0.1, 2.0)
"""Distillation over task loss, below and above which a run advises another scale."""
_SHARE, _MOST_STEPS = 0.05, 100


class AutoScale(nn.Module):
    """Finds the factor that makes the distillation loss `TARGET` times the task loss.

    Until it is found, each step uses the mean of the steps so far. Its buffers hold all it has seen, so a resumed run
    goes on exactly; on several ranks it sees the means over the ranks, so all find the same factor.
    """

    sum_of_logs: Tensor
    count: Tensor
    is_found: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("sum_of_logs", torch.zeros((), dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("is_found", torch.zeros((), dtype=torch.bool))
        self._news: list[ScaleChosen] = []
        self._is_over = False

    def forward(self, task: Tensor, distilled: Tensor, moment: Moment) -> Tensor:
        """Return the factor () of a step.

        Args:
            task: the loss on labels of this rank ().
            distilled: the distillation loss of this rank at a scale of 1 ().
        """
        # The host reads the buffer at the beginning of each step until it is true, and then no more. What is true
        # there stays true: only the newest step may be undone.
        self._is_over = self._is_over or bool(self.is_found)
        if not self._is_over:
            # A step that was undone may have left some.
            self._news.clear()
            self._learn(*mean_over_ranks(torch.stack([task.detach().double(), distilled.detach().double()])))
            if moment.step + 1 >= _steps_to_learn(moment) and self.count:
                self._end(moment)
        return self._factor.to(distilled.dtype)

    @property
    def _factor(self) -> Tensor:
        """TARGET over the geometric mean of distillation over task (); 1 before anything was measured."""
        factor = TARGET * (-self.sum_of_logs / self.count.clamp(min=1)).exp()
        return factor.masked_fill(self.count == 0, 1.0)

    def _learn(self, task: Tensor, distilled: Tensor) -> None:
        """Take in the losses () of a step; steps without a usable ratio, for example without objects, do not count."""
        log = (distilled / task).log()
        is_usable = log.isfinite()
        self.sum_of_logs += log.masked_fill(~is_usable, 0)
        self.count += is_usable

    def _end(self, moment: Moment) -> None:
        self.is_found.fill_(value=True)
        factor = float(self._factor)
        self._news.append(ScaleChosen(scale=factor, ratio=TARGET / factor, target=TARGET, steps=moment.step + 1))

    def take_news(self) -> list[ScaleChosen]:
        """Return the choice if it was made since the last call."""
        news, self._news = self._news, []
        return news


def _steps_to_learn(moment: Moment) -> int:
    return min(_MOST_STEPS, math.ceil(_SHARE * moment.steps))


def advise_scale(values: Mapping[str, float]) -> str | None:
    """Advise another scale if distillation and task are out of balance; else None.

    Args:
        values: the mean losses of an epoch by name.
    """
    task = sum(value for name, value in values.items() if name.startswith("task/"))
    distilled = values.get("distill/total", 0.0)
    low, high = BALANCED
    if task <= 0 or distilled <= 0 or low <= (ratio := distilled / task) <= high:
        return None
    what = "may drown it" if ratio > high else "hardly counts beside it"
    change = f"{'divide' if ratio > high else 'multiply'} method.scale by about {max(ratio / high, high / ratio):.2g}"
    return (
        f"the distillation loss is {ratio:.3g} times the task loss and {what}; if the student learns less than without "
        f"distillation, set method.scale to auto, or {change}"
    )
