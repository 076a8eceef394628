"""Changes the weight of a method in the course of the training."""

import math

from fgd_core.methods.base import Moment
from fgd_core.spec.methods.defeat import Decay


def decay_factor(decay: Decay, moment: Moment) -> float:
    """Compute the factor on the weights at a moment: 1 at the start, and towards 0 at the end unless `none`.

    With e epochs done of E: `linear` is 1 - e / E, `cosine` is (1 + cos(pi e / E)) / 2, `up_down` grows as 1 + e / t
    to 2 at t = floor(E / 4) epochs and then falls as 2 - 2 (e - t) / (E - t). Source: DeFeat's code, where e is a whole
    number; here the fraction of the current epoch counts too.
    """
    match decay:
        case "none":
            return 1.0
        case "linear":
            return 1 - moment.done
        case "cosine":
            return (1 + math.cos(math.pi * moment.done)) / 2
        case "up_down":
            return _up_and_down(moment.epoch, moment.epochs)


def _up_and_down(epoch: float, epochs: int) -> float:
    top = epochs // 4
    return 1 + epoch / top if epoch < top else 2 - 2 * (epoch - top) / (epochs - top)
