"""The attention in one pass equals the attention as published, with its gradient."""

import pytest
import torch
from torch import Tensor

from fgd_core.methods.parts import cpu_passes
from fgd_core.methods.parts.attention import attention


def published(features: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    magnitude = features.abs()
    spatial = (magnitude.mean(1).flatten(1) / temperature).softmax(1) * features.shape[2:].numel()
    channel = (magnitude.mean((2, 3)) / temperature).softmax(1) * features.shape[1]
    return spatial.view(-1, *features.shape[2:]), channel


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("in_c", [True, False])
def test_both_kinds_and_their_gradients_are_the_published_ones(
    layout: torch.memory_format, in_c: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    if not in_c:
        monkeypatch.setattr(cpu_passes, "library", lambda _: None)
    # More than a block on a CPU.
    features = torch.randn(2, 7, 210, 200, dtype=torch.float64).contiguous(memory_format=layout)
    weights = torch.randn(2, 210, 200, dtype=torch.float64), torch.randn(2, 7, dtype=torch.float64)
    found = []
    for compute in (attention, published):
        own = features.clone().requires_grad_()
        parts = compute(own, 0.5)
        torch.stack([(part * weight).sum() for part, weight in zip(parts, weights, strict=True)]).sum().backward()
        assert own.grad is not None
        found.append((*parts, own.grad))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
