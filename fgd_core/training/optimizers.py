"""Builds optimisers, computes the learning rate from the step, and clips gradients."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from fgd_core.no_compiler import without_compiler
from fgd_core.spec.training import AdamW, CosineSchedule, OptimizerSpec, Sgd, StepSchedule, TrainingSpec

_WARMUP_START = 1e-3
_SGD = without_compiler(torch.optim.SGD)
_ADAMW = without_compiler(torch.optim.AdamW)


def build_optimizer(settings: OptimizerSpec, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Build the optimiser of all parameters that need a gradient."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    match settings:
        case Sgd():
            return _SGD(
                trained,
                settings.learning_rate,
                momentum=settings.momentum,
                weight_decay=settings.weight_decay,
                fused=True,
            )
        case AdamW():
            return _ADAMW(trained, settings.learning_rate, weight_decay=settings.weight_decay, fused=True)


def learning_rate(settings: TrainingSpec, step: int, steps: int) -> float:
    """Return the learning rate of a step. It depends on nothing else, so a resumed run needs only the step.

    Args:
        step: from 0.
        steps: number of steps of the whole training.
    """
    warmup_steps = min(settings.warmup_steps, steps // 10)
    factor = 1.0
    if step < warmup_steps:
        factor = _WARMUP_START + (1 - _WARMUP_START) * step / warmup_steps
    match settings.schedule:
        case StepSchedule(milestones=milestones, factor=drop):
            factor *= drop ** sum(step >= milestone * steps for milestone in milestones)
        case CosineSchedule(final_fraction=final) if step >= warmup_steps:
            done = (step - warmup_steps) / max(1, steps - warmup_steps)
            factor *= final + (1 - final) * (1 + math.cos(math.pi * done)) / 2
    return settings.optimizer.learning_rate * factor


def clip_gradients(groups: Iterable[Iterable[nn.Parameter]], max_norm: float | None) -> Tensor:
    """Scale the gradients of all groups together to a common L2 norm of at most `max_norm`.

    The norms of the groups are combined with `hypot`, which returns the first norm bit for bit if the second is zero.
    So a distiller whose weights are all zero does not change the student's gradients.

    Returns:
        The norm before clipping, a scalar.
    """
    parameters = [list(group) for group in groups]
    total = torch.zeros(())
    for group in parameters:
        gradients = [p.grad for p in group if p.grad is not None]
        if not gradients:
            continue  # its norm would be on the CPU, and would move the others' there
        norm = nn.utils.get_total_norm(gradients)
        total = torch.hypot(norm, total.to(norm.device))
    if max_norm is not None:
        for group in parameters:
            nn.utils.clip_grads_with_norm_(group, max_norm, total)
    return total
