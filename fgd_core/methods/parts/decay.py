"""Changes the weights of a method in the course of the training."""

import math

from fgd_core.methods.base import Moment
from fgd_core.spec.methods.base import AnyMethod, ScaleSchedule
from fgd_core.spec.methods.defeat import Decay


def scale_at(method: AnyMethod, moment: Moment) -> float:
    """Return the scale of a method at a moment, without a factor that is found in the first steps; at 0, the method
    need not run."""
    schedule, scale = method.scale_schedule, method.fixed_scale
    return scale if schedule is None else scale * scale_factor(schedule, moment)


def scale_factor(schedule: ScaleSchedule, moment: Moment) -> float:
    """Compute the factor of a schedule, in [0, 1]: 1 after the warm-up unless it decays, 0 after the last epoch.

    It is a function of the step alone, so a resumed run needs no state. In a warm-up of n steps, step i from 0 has the
    factor (i + 1) / n: no step of the warm-up is without distillation.
    """
    if schedule.until_epoch is not None and not moment.is_before(schedule.until_epoch):
        return 0.0
    end = moment.epochs if schedule.until_epoch is None else min(schedule.until_epoch, moment.epochs)
    if moment.epoch < schedule.warmup_epochs:
        return min(1.0, (moment.step + 1) * moment.epochs / (schedule.warmup_epochs * moment.steps))
    done = (moment.epoch - schedule.warmup_epochs) / max(end - schedule.warmup_epochs, 1e-9)
    match schedule.decay:
        case "none":
            return 1.0
        case "linear":
            return 1 - done
        case "cosine":
            return (1 + math.cos(math.pi * done)) / 2


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
