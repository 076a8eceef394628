"""Builds optimisers, computes the learning rate from the step, and clips gradients."""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fgd_core.no_compiler import without_compiler
from fgd_core.spec.training import (
    AdamW,
    CosineSchedule,
    OptimizerSpec,
    PublishedSchedule,
    Sgd,
    StepSchedule,
    TrainingSpec,
)

_WARMUP_START = 1e-3
_BACKBONE = "backbone.body"
"""The module of every detector that is its backbone, without the pyramid."""
_SGD = without_compiler(torch.optim.SGD)
_ADAMW = without_compiler(torch.optim.AdamW)


class ParameterGroup(NamedTuple):
    """Holds parameters that share their settings."""

    parameters: list[nn.Parameter]
    rate: float = 1.0
    """Factor on the learning rate."""
    decays: bool = True
    """Whether weight decay acts on them."""


def parameter_groups(settings: TrainingSpec, detector: nn.Module, *others: nn.Module) -> list[ParameterGroup]:
    """Sort parameters that need a gradient into groups of equal settings, in the order of their first parameter.

    Args:
        detector: the body of its pyramid is the backbone.
        others: further modules that train, for example a distiller.
    """
    found: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for module in (detector, *others):
        for path, owner in module.named_modules():
            is_backbone = module is detector and path.startswith(_BACKBONE)
            rate = settings.backbone_rate if is_backbone else 1.0
            for name, parameter in owner.named_parameters(recurse=False):
                if parameter.requires_grad:
                    found.setdefault((rate, _decays(settings, owner, name)), []).append(parameter)
    return [ParameterGroup(parameters, *key) for key, parameters in found.items()]


def _decays(settings: TrainingSpec, owner: nn.Module, name: str) -> bool:
    if isinstance(owner, nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm):
        return "norms" not in settings.no_decay_on
    return not (name.endswith("bias") and "biases" in settings.no_decay_on)


def build_optimizer(settings: OptimizerSpec, groups: Iterable[ParameterGroup]) -> torch.optim.Optimizer:
    """Build the optimiser of all groups; its `param_groups` are in their order."""
    options = [
        {"params": each.parameters, "weight_decay": settings.weight_decay if each.decays else 0.0} for each in groups
    ]
    match settings:
        case Sgd():
            sgd = _SGD(options, settings.learning_rate, momentum=settings.momentum, fused=True)
            # PyTorch would make them in the first step, of whatever is in memory if that step is not carried out.
            for each in _parameters(sgd) if settings.momentum else ():
                sgd.state[each]["momentum_buffer"] = torch.zeros_like(each)
            return sgd
        case AdamW():
            return _ADAMW(options, settings.learning_rate, fused=True)


def _parameters(optimizer: torch.optim.Optimizer) -> Iterator[nn.Parameter]:
    return (each for group in optimizer.param_groups for each in group["params"])


def update_unless(is_bad: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Update the weights unless `is_bad`, bool (), is true; the device decides, so the host does not wait.

    The optimiser must be fused.
    """
    optimizer.found_inf = is_bad.to(torch.float32)  # type: ignore[attr-defined]
    optimizer.step()


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
    assert not isinstance(settings.schedule, PublishedSchedule), "the spec replaces the name by what it stands for"
    match settings.schedule:
        case StepSchedule(milestones=milestones, factor=drop):
            factor *= drop ** sum(step >= milestone * steps for milestone in milestones)
        case CosineSchedule(final_fraction=final) if step >= warmup_steps:
            done = (step - warmup_steps) / max(1, steps - warmup_steps)
            factor *= final + (1 - final) * (1 + math.cos(math.pi * done)) / 2
    return peak_learning_rate(settings) * factor


def peak_learning_rate(settings: TrainingSpec) -> float:
    """Return the learning rate after the warm-up, for the batch size of the training."""
    rate = settings.optimizer.learning_rate
    base = settings.learning_rate_for
    return rate if base is None else rate * settings.batch_size / base


def clip_gradients(groups: Iterable[Iterable[nn.Parameter]], max_norm: float | None) -> Tensor:
    """Scale the gradients of all groups together to a common L2 norm of at most `max_norm`.

    The norms of the groups are combined with `hypot`, which returns the first norm bit for bit if the second is zero.
    So a distiller whose weights are all zero does not change the student's gradients.

    Returns:
        The norm before clipping, a scalar.
    """
    parameters = [list(group) for group in groups]
    total = torch.zeros((), device=parameters[0][0].device)
    for group in parameters:
        gradients = [p.grad for p in group if p.grad is not None]
        if not gradients:
            continue  # its norm would be on the CPU, and would move the others' there
        total = torch.hypot(nn.utils.get_total_norm(gradients), total)
    if max_norm is not None:
        for group in parameters:
            nn.utils.clip_grads_with_norm_(group, max_norm, total)
    return total
