"""The focal loss in few passes equals torchvision's."""

import pytest
import torch
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from fgd_core.detectors.parts.focal import focal_losses
from fgd_core.outputs import BACKGROUND, IGNORED


def published(logits: Tensor, classes: Tensor) -> Tensor:
    """Compute the losses (N, A) of logits (N, A, K) with torchvision's function."""
    wanted = torch.zeros_like(logits)
    image, location = (classes >= 0).nonzero(as_tuple=True)
    wanted[image, location, classes[image, location]] = 1
    losses: Tensor = sigmoid_focal_loss(logits, wanted, alpha=0.25, gamma=2.0)
    return losses.sum(2).masked_fill(classes == IGNORED, 0)


def case(num_classes: int, *, scale: float = 3.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Draw float64 logits (2, 40000 / K, K), more than a block, and classes with background and ignored locations."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2, 80_000 // num_classes, num_classes)
    logits = scale * torch.randn(shape, generator=generator, dtype=torch.float64)
    return logits, torch.randint(IGNORED, num_classes, shape[:2], generator=generator)


@pytest.mark.parametrize("num_classes", [1, 3, 80])
def test_losses_and_gradients_are_the_published_ones(num_classes: int) -> None:
    logits, classes = case(num_classes)
    weights = torch.rand(classes.shape, dtype=torch.float64)
    found = []
    for compute in (focal_losses, published):
        own = logits.clone().requires_grad_()
        losses = compute(own, classes)
        (losses * weights).sum().backward()  # type: ignore[no-untyped-call]
        assert own.grad is not None
        found.append((losses.detach(), own.grad))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


def test_background_and_ignored_locations_are_not_the_same() -> None:
    logits = torch.zeros(1, 2, 3)
    losses = focal_losses(logits, torch.tensor([[BACKGROUND, IGNORED]]))
    assert losses[0, 0] > 0 and losses[0, 1] == 0


def test_extreme_logits_have_finite_losses_and_gradients() -> None:
    logits = torch.tensor([[[-200.0, 200.0], [200.0, -200.0]]], requires_grad=True)
    losses = focal_losses(logits, torch.tensor([[0, BACKGROUND]]))
    losses.sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None and losses.isfinite().all() and logits.grad.isfinite().all()


def test_bfloat16_logits_have_float32_losses_and_bfloat16_gradients() -> None:
    logits, classes = case(3)
    narrow = logits.bfloat16().requires_grad_()
    losses = focal_losses(narrow, classes)
    losses.sum().backward()  # type: ignore[no-untyped-call]
    assert losses.dtype == torch.float32 and narrow.grad is not None and narrow.grad.dtype == torch.bfloat16
    torch.testing.assert_close(losses, published(narrow.detach().float(), classes), rtol=1e-4, atol=1e-5)
