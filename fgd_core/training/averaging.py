"""Averages the weights of a detector over steps or epochs."""

import copy
import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from fgd_core.detectors.base import Detector
from fgd_core.detectors.weights.checkpoint import Content
from fgd_core.spec.results import TrainedWeights
from fgd_core.spec.training import Ema, TrainingSpec


class Average:
    """Holds an average of a detector's weights, and of the running statistics of its batch normalisation.

    Args:
        detector: its copy, in eval mode, holds the average.
        ema: weighs the newest weights most; None weighs all weights the same.
    """

    def __init__(self, detector: Detector, ema: Ema | None = None) -> None:
        self.detector = copy.deepcopy(detector).requires_grad_(requires_grad=False).eval()
        self.count = 0
        """How many sets of weights the average contains."""
        self._kept: Callable[[int], float] = _kept_by_mean if ema is None else partial(ema_decay, ema)

    @torch.no_grad()
    def add(self, detector: Detector) -> None:
        """Add the present weights of a detector; the first ones are copied."""
        averages, news = [*_state_of(self.detector)], [*_state_of(detector)]
        if self.count:
            # PyTorch's `AveragedModel` keeps its count in a tensor, and the host would wait for it.
            towards_new = get_ema_multi_avg_fn(self._kept(self.count))  # type: ignore[no-untyped-call]
            towards_new([*filter(torch.is_floating_point, averages)], [*filter(torch.is_floating_point, news)], 0)
        for average, new in zip(averages, news, strict=True):
            # Counts of batches have no mean.
            if not self.count or not average.is_floating_point():
                average.copy_(new)
        self.count += 1

    def clear(self) -> None:
        """Begin anew: the next weights are copied."""
        self.count = 0

    def restore(self, state: dict[str, Tensor], count: int) -> None:
        """Restore an average of `count` sets of weights from the state of its detector."""
        self.detector.load_state_dict(state)
        self.count = count


def _state_of(detector: Detector) -> Iterator[Tensor]:
    """Return all parameters and buffers."""
    return chain(detector.parameters(), detector.buffers())


class Averages:
    """Keeps the averages of a training's weights that its settings ask for.

    Args:
        detector: that trains.
    """

    def __init__(self, detector: Detector, settings: TrainingSpec) -> None:
        self._detector, self._settings = detector, settings
        self._ema = Average(detector, settings.ema) if settings.ema is not None else None
        self._mean = Average(detector) if settings.average_last is not None else None

    @property
    def evaluated(self) -> Detector:
        """The detector with the weights that are evaluated and kept."""
        return self._detector if self._ema is None else self._ema.detector

    @property
    def kind(self) -> TrainedWeights:
        """Which weights these are."""
        return "last_step" if self._ema is None else "ema"

    @property
    def mean(self) -> Average | None:
        """The mean of the last evaluated epochs; None if there are fewer than two."""
        return self._mean if self._mean is not None and self._mean.count > 1 else None

    def after_step(self) -> None:
        """Add the weights of a step to the moving average."""
        if self._ema is not None:
            self._ema.add(self._detector)

    def after_epoch(self, epoch: int) -> None:
        """Add the weights of an evaluated epoch to the mean, if it is one of the last ones.

        Args:
            epoch: from 1.
        """
        if self._mean is None or self._settings.average_last is None:
            return
        every = self._settings.evaluate_every
        num_left = num_evaluations(self._settings.epochs, every) - num_evaluations(epoch, every)
        if num_left >= self._settings.average_last - 1:
            # A training that was extended has the mean of its former end.
            self._mean.clear()
        if num_left < self._settings.average_last:
            self._mean.add(self._detector)

    def state_dict(self) -> Content:
        """Return what a checkpoint holds besides the evaluated weights."""
        found: Content = {}
        if self._ema is not None:
            found["ema"] = {"count": self._ema.count, "last_step": self._detector.state_dict()}
        if self._mean is not None and self._mean.count:
            found["mean"] = {"count": self._mean.count, "weights": self._mean.detector.state_dict()}
        return found

    def restore(self, evaluated: dict[str, Tensor], state: Content) -> None:
        """Restore the detector and its averages.

        Args:
            evaluated: the weights of the checkpoint, by name.
            state: what `state_dict` returned.
        """
        weights = evaluated
        if self._ema is not None:
            self._ema.restore(evaluated, state["ema"]["count"])
            weights = state["ema"]["last_step"]
        if self._mean is not None and "mean" in state:
            self._mean.restore(state["mean"]["weights"], state["mean"]["count"])
        self._detector.load_state_dict(weights)


def num_evaluations(epochs: int, every: int) -> int:
    """Return the number of evaluations in so many epochs, of which the last one is always evaluated."""
    return -(-epochs // every)


def _kept_by_mean(count: int) -> float:
    """Return the share that makes the average the mean of `count` sets of weights and the next one."""
    return count / (count + 1)


def ema_decay(settings: Ema, step: int) -> float:
    """Return the share of the average that is kept after `step` steps.

    Source of the warm-up: `ModelEMA` of Ultralytics, where `warmup_steps` is `tau`.
    """
    if not settings.warmup_steps:
        return settings.decay
    return settings.decay * -math.expm1(-step / settings.warmup_steps)
