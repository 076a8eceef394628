"""Runs one optimisation step."""

import torch
from torch import Tensor

from fgd_core.data.loading import Batch
from fgd_core.detectors.base import Detector
from fgd_core.errors import NonFiniteLossError
from fgd_core.methods.base import Moment
from fgd_core.training.distiller import Distillation
from fgd_core.training.optimizers import clip_gradients


def training_step(
    detector: Detector,
    distiller: Distillation | None,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    *,
    clip_norm: float | None,
    autocast_dtype: torch.dtype | None,
    moment: Moment,
) -> dict[str, Tensor]:
    """Run the forward and backward passes, clip the gradients and update the weights.

    Args:
        batch: on the detector's device.
        autocast_dtype: for the forward passes; None means float32.
        moment: the place in the training.
    Returns:
        By name, a scalar without gradient: `loss`, `task/…`, `distill/…`, `gradient_norm`.
    Raises:
        NonFiniteLossError: the loss or the gradient norm is not finite; the weights are unchanged.
    """
    with torch.autocast(batch.images.device.type, autocast_dtype, enabled=autocast_dtype is not None):
        features = detector.features(batch.images)
        outputs = detector.predict(features, batch.image_sizes, batch.targets)
        task = detector.losses(outputs, batch.targets)
        values = {f"task/{name}": value.detach() for name, value in task.items()}
        loss = torch.stack(list(task.values())).sum()
        if distiller is not None:
            distilled, parts = distiller(features, batch, moment, outputs)
            loss = loss + distilled
            values |= parts
        # The backward pass does not read the outputs, which may be as large as the maps.
        del outputs
    values["loss"] = loss.detach()
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    groups = [list(detector.parameters())] + ([list(distiller.parameters())] if distiller is not None else [])
    norm = clip_gradients(groups, clip_norm)
    values["gradient_norm"] = norm
    if not bool(torch.isfinite(loss) & torch.isfinite(norm)):
        raise _non_finite(values)
    optimizer.step()
    return values


def _non_finite(values: dict[str, Tensor]) -> NonFiniteLossError:
    cure = "lower the learning rate, clip gradients, or lower the distillation's scale"
    numbers = {name: str(value.item()) for name, value in values.items()}
    return NonFiniteLossError(f"the loss or its gradient is not finite; {cure}", **numbers)
