"""What each normalisation trains and keeps, and that all of them run in one process on the CPU."""

from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from fgd_core.detectors.parts.backbones import build_body
from fgd_core.detectors.parts.norms import build_norm
from fgd_core.spec.backbones import MobileNet, Norm, ResNet

# (moves its running statistics in training, learns scale and shift)
EXPECTED: dict[Norm, tuple[bool, bool]] = {
    "batch": (True, True),
    "fixed_batch": (False, True),
    "frozen_batch": (False, False),
    "synchronised_batch": (True, True),
    "group": (False, True),
}
NAMES: tuple[Norm, ...] = get_args(Norm)


def trained_a_step(layer: nn.Module) -> dict[str, Tensor]:
    """Return the state after a training step on input that is far from normal."""
    images = 3 + 2 * torch.randn(4, 8, 5, 5, generator=torch.Generator().manual_seed(0))
    layer.train()
    parameters = list(layer.parameters())
    loss = (layer(images) * torch.linspace(0, 1, 8).view(1, 8, 1, 1)).square().sum()
    if parameters:
        loss.backward()
        torch.optim.SGD(parameters, lr=0.1).step()
    return layer.state_dict()


@pytest.mark.parametrize("name", NAMES)
def test_statistics_and_affine_parameters_change_as_specified(name: Norm) -> None:
    layer = build_norm(name)(8)
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    after = trained_a_step(layer)
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    moves, learns = EXPECTED[name]
    assert ("running_mean" in moved, "weight" in moved) == (moves, learns)


def test_a_synchronised_batch_norm_in_one_process_is_a_batch_norm() -> None:
    ours, theirs = trained_a_step(build_norm("synchronised_batch")(8)), trained_a_step(nn.BatchNorm2d(8))
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key], value)


@pytest.mark.parametrize("name", ["batch", "fixed_batch", "frozen_batch", "synchronised_batch"])
def test_the_given_epsilon_is_used(name: Norm) -> None:
    layer, images = build_norm(name, eps=0.5)(8).eval(), torch.randn(2, 8, 3, 3)
    torch.testing.assert_close(layer(images), images / 1.5**0.5)


@pytest.mark.parametrize(("channels", "groups"), [(256, 32), (48, 16), (40, 8), (9, 1), (32, 16), (8, 4)])
def test_group_norm_has_up_to_32_groups_of_at_least_two_channels(channels: int, groups: int) -> None:
    layer = build_norm("group")(channels)
    assert isinstance(layer, nn.GroupNorm) and layer.num_groups == groups


@pytest.mark.parametrize("name", NAMES)
def test_every_backbone_trains_with_every_normalisation(name: Norm) -> None:
    for settings in (
        ResNet(name="resnet18", stem_width=4, blocks=(1, 1, 1, 1), norm=name),
        MobileNet(name="mobilenet_v3_small", width_factor=0.1, norm=name),
    ):
        body: nn.Module = nn.Sequential(*build_body(settings).module.children()).train()
        body(torch.randn(2, 3, 64, 64)).sum().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in body.parameters())
