"""Runs one optimisation step, in which the host does not wait for the device."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple, TypeAlias, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.amp import GradScaler

from fgd_core.data.loading import Batch
from fgd_core.detectors.base import Detector
from fgd_core.errors import NonFiniteLossError
from fgd_core.methods.base import Moment
from fgd_core.no_compiler import SharedByRanks
from fgd_core.ranks import mean_over_ranks, world_size, zero_of
from fgd_core.training.accumulation import Part, weighed_parts
from fgd_core.training.distiller import Distillation
from fgd_core.training.optimizers import clip_gradients, update_unless

AllMaps: TypeAlias = Callable[[Tensor], list[Tensor]]
"""Turns images into maps, as `Detector.all_maps` does."""
_NEXT_SCALE = "next_gradient_scale"


class StepLoss(NamedTuple):
    """Holds the loss of a batch, scalar (), and by name its parts, scalars () without gradient."""

    total: Tensor
    parts: Mapping[str, Tensor]


class Learner(nn.Module):
    """Computes the loss of a step: all that trains, and nothing else, is inside this module.

    Args:
        distiller: adds the distillation loss; None trains on labels only.
        all_maps: computes the detector's maps, for example a compiled function; default: the detector's own.
    """

    def __init__(
        self, detector: Detector, distiller: Distillation | None = None, *, all_maps: AllMaps | None = None
    ) -> None:
        super().__init__()
        self.detector, self.distiller = detector, distiller
        self._all_maps = all_maps or detector.all_maps

    @property
    def groups(self) -> list[list[nn.Parameter]]:
        """The parameters of the detector, and those of the distiller."""
        modules = [self.detector, *([self.distiller] if self.distiller is not None else [])]
        return [list(module.parameters()) for module in modules]

    def forward(self, batch: Batch | None, moment: Moment = Moment()) -> StepLoss:  # noqa: B008
        """Compute the loss of a batch on the detector's device; its parts are `loss`, `task/…` and `distill/…`.

        Without a batch, the loss is a zero that gives every parameter a zero gradient.
        """
        if batch is None:
            return StepLoss(zero_of(self), {})
        if not batch.is_labelled:
            assert self.distiller is not None, "only a distillation has a pool"
            batch = self.distiller.labelled(batch)
        maps = self._all_maps(batch.images)
        outputs = self.detector.predict(maps[: len(self.detector.levels)], batch.image_sizes, batch.targets)
        task = self.detector.losses(outputs, batch.targets)
        parts = {f"task/{name}": value.detach() for name, value in task.items()}
        loss = torch.stack(list(task.values())).sum()
        if self.distiller is not None:
            distilled, of_distiller = self.distiller(maps, batch, moment, outputs, loss)
            loss = loss + distilled
            parts |= of_distiller
        if not batch.is_labelled:
            parts["boxes"] = loss.new_tensor(sum(map(len, batch.boxes)) / len(batch.boxes))
        # The outputs, which may be as large as the maps, end here: the backward pass does not read them.
        return StepLoss(loss, {**parts, "loss": loss.detach()})


def shared_by_ranks(learner: Learner) -> nn.Module:
    """Let the ranks train together; with a single rank, return the learner itself.

    All ranks then have the weights of rank 0, and `training_step` leaves them equal. Every parameter that trains must
    get a gradient in each step on each rank.
    """
    if world_size() == 1:
        return learner
    # In a group of its own, because sums of gradients may start before or after the sums inside a loss, on each rank in
    # another order.
    shared = SharedByRanks(learner, cast(dist.ProcessGroup, dist.new_group()))
    # After the first backward pass, gradients are summed in the order in which they came. The order of this pass
    # depends on no batch, so a resumed run rounds its sums as the run before.
    shared(None).total.backward()
    shared.zero_grad(set_to_none=True)
    return shared


def training_step(
    learner: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    *,
    clip_norm: float | None,
    autocast_dtype: torch.dtype | None,
    moment: Moment,
    accumulate: int = 1,
    scaler: GradScaler | None = None,
) -> dict[str, Tensor]:
    """Run the forward and backward passes, clip the gradients and update the weights.

    Args:
        learner: a `Learner`, or what `shared_by_ranks` returns.
        batch: of this rank, on the detector's device.
        autocast_dtype: for the forward passes; None means float32.
        moment: the place in the training.
        accumulate: number of parts of the labelled images that run one after another; their losses are averaged. The
            images of the pool follow in parts of the same size.
        scaler: scales the loss for float16. A gradient beyond float16 then changes no weights but lowers the scale.
    Returns:
        By name, a scalar without gradient: `loss`, `task/…`, `distill/…`, `gradient_norm`, with a scaler also
        `gradient_scale`, with a pool also `pool/loss` and `pool/boxes`, the number of its boxes per image; the means
        over parts and ranks. `task/…` and `distill/…` are those of the labelled images. If the loss or the gradient
        norm is not finite, the weights are unchanged. `checked` tells apart what that means, once the values are on the
        host.
    """
    scaler = scaler or GradScaler(enabled=False)
    optimizer.zero_grad(set_to_none=True)
    values = _means(_backward(learner, weighed_parts(batch, accumulate), moment, autocast_dtype, scaler))
    scaler.unscale_(optimizer)
    norm = clip_gradients(_trained(learner).groups, clip_norm)
    update_unless(~(torch.isfinite(values["loss"]) & torch.isfinite(norm)), optimizer)
    if scaler.is_enabled():
        # `get_scale` would wait for the device.
        values["gradient_scale"] = scaler.scale(torch.ones_like(norm))
    scaler.update()
    if scaler.is_enabled():
        values[_NEXT_SCALE] = scaler.scale(torch.ones_like(norm))
    return {**values, "gradient_norm": norm}


def checked(values: Mapping[str, float]) -> dict[str, float]:
    """Check the values of a step, by name.

    Returns:
        The values, without `gradient_norm` if the gradient was too large for float16, which is no error.
    Raises:
        NonFiniteLossError: the loss or the gradient norm is not finite, so the step has not changed the weights.
    """
    values = dict(values)
    next_scale, scale = values.pop(_NEXT_SCALE, 0.0), values.get("gradient_scale", 0.0)
    if not math.isfinite(values["loss"]):
        raise _non_finite(values)
    if math.isfinite(values["gradient_norm"]):
        return values
    # The scaler lowers its scale if a gradient is not finite; finite gradients can also have a norm that is not.
    if not 1 < scale > next_scale:
        raise _non_finite(values)
    del values["gradient_norm"]
    return values


def _trained(learner: nn.Module) -> Learner:
    return cast(Learner, learner.module if isinstance(learner, SharedByRanks) else learner)


def _backward(
    learner: nn.Module, parts: Sequence[Part], moment: Moment, dtype: torch.dtype | None, scaler: GradScaler
) -> dict[str, Tensor]:
    """Add the gradients of the mean loss of the parts; return the means of their values, scalars ()."""
    labelled: list[Mapping[str, Tensor]] = []
    pool: list[Mapping[str, Tensor]] = []
    for number, (part, share) in enumerate(parts, start=1):
        with ExitStack() as stack:
            if isinstance(learner, SharedByRanks) and number < len(parts):
                # The ranks add up their gradients once, with those of the last part.
                stack.enter_context(learner.no_sync())
            with torch.autocast(part.images.device.type, dtype, enabled=dtype is not None):
                loss, values = learner(part, moment)
            torch.autograd.backward(scaler.scale(loss * share if len(parts) > 1 else loss))
            (labelled if part.is_labelled else pool).append(values)
    found = _mean(labelled)
    if not pool:
        return found
    of_pool = {f"pool/{name}": value for name, value in _mean(pool).items() if name in ("loss", "boxes")}
    share = sum(each.share for each in parts if not each.batch.is_labelled)
    return {**found, **of_pool, "loss": torch.lerp(found["loss"], of_pool["pool/loss"], share)}


def _mean(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Average the scalars () of each name."""
    first = parts[0]
    if len(parts) == 1:
        return dict(first)
    return {name: torch.stack([each[name].float() for each in parts]).mean() for name in first}


def _means(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    """Average scalars () over the ranks, in one message; the parts of a loss have the same names on each."""
    if world_size() == 1:
        return parts
    means = mean_over_ranks(torch.stack([value.float() for value in parts.values()]))
    return dict(zip(parts, means, strict=True))


def _non_finite(values: Mapping[str, float]) -> NonFiniteLossError:
    cure = "lower the learning rate, clip gradients, or lower the distillation's scale"
    numbers = {name: str(value) for name, value in values.items()}
    return NonFiniteLossError(f"the loss or its gradient is not finite; {cure}", **numbers)
