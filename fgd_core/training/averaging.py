"""Averages the weights of a detector over steps or epochs."""

import math
from functools import partial

from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fgd_core.detectors.base import Detector
from fgd_core.spec.training import Ema


class Average:
    """Holds an average of a detector's weights, and of the running statistics of its batch normalisation.

    Args:
        detector: its copy, in eval mode, holds the average.
        ema: weighs the newest weights most; None weighs all weights the same.
    """

    def __init__(self, detector: Detector, ema: Ema | None = None) -> None:
        update = None if ema is None else partial(_towards_new, ema)
        self._model = AveragedModel(detector, multi_avg_fn=update, use_buffers=True)
        self._model.requires_grad_(requires_grad=False).eval()

    @property
    def detector(self) -> Detector:
        """The detector with the averaged weights, in eval mode."""
        detector = self._model.module
        assert isinstance(detector, Detector)
        return detector

    @property
    def count(self) -> int:
        """How many sets of weights the average contains."""
        return int(self._model.n_averaged)

    def add(self, detector: Detector) -> None:
        """Add the present weights of a detector; the first ones are copied."""
        self._model.update_parameters(detector)

    def restore(self, state: dict[str, Tensor], count: int) -> None:
        """Restore an average of `count` sets of weights from the state of its detector."""
        self.detector.load_state_dict(state)
        self._model.n_averaged.fill_(count)


def _towards_new(settings: Ema, averages: list[Tensor], news: list[Tensor], count: Tensor | int) -> None:
    """Move averages (…), `count` steps old, in place towards new weights of the same shapes."""
    update = get_ema_multi_avg_fn(ema_decay(settings, int(count)))  # type: ignore[no-untyped-call]
    update(averages, news, count)


def ema_decay(settings: Ema, step: int) -> float:
    """Return the share of the average that is kept after `step` steps.

    Source of the warm-up: `ModelEMA` of Ultralytics, where `warmup_steps` is `tau`.
    """
    if not settings.warmup_steps:
        return settings.decay
    return settings.decay * -math.expm1(-step / settings.warmup_steps)
