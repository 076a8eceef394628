"""How a head starts."""

from math import log

import pytest
import torch
from torch import nn

from fgd_core.detectors.parts.norms import group_norm
from fgd_core.detectors.parts.towers import conv_tower, init_head


def head(width: int) -> nn.ModuleDict:
    torch.manual_seed(0)
    parts = nn.ModuleDict({"tower": conv_tower(width, 2, group_norm), "classes": nn.Conv2d(width, 5, 3, padding=1)})
    classifier = parts["classes"]
    assert isinstance(classifier, nn.Conv2d)
    init_head(parts, width, classifier=classifier)
    return parts


@pytest.mark.parametrize(("width", "deviation"), [(256, 0.01), (64, 0.02)])
def test_a_narrow_head_starts_with_weights_wider_by_as_much_as_keeps_the_signal(width: int, deviation: float) -> None:
    weight = head(width).state_dict()["tower.0.conv.weight"]
    assert weight.std().item() == pytest.approx(deviation, rel=0.05)


def test_a_fresh_head_finds_any_class_with_a_chance_of_one_in_a_hundred() -> None:
    assert head(64).state_dict()["classes.bias"].tolist() == pytest.approx([-log(99)] * 5)


def test_a_convolution_has_a_bias_where_there_is_no_norm_after_it() -> None:
    assert [name for name, _ in conv_tower(8, 1, group_norm).named_parameters()] == [
        "0.conv.weight",
        "0.gn.weight",
        "0.gn.bias",
    ]
    assert [name for name, _ in conv_tower(8, 1, None).named_parameters()] == ["0.conv.weight", "0.conv.bias"]
