"""Tests of the initial weights of a head."""

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
def test_a_narrow_head_starts_with_larger_weights(width: int, deviation: float) -> None:
    weight = head(width).state_dict()["tower.0.conv.weight"]
    assert weight.std().item() == pytest.approx(deviation, rel=0.05)


def test_a_new_head_predicts_each_class_with_probability_0_01() -> None:
    assert head(64).state_dict()["classes.bias"].tolist() == pytest.approx([-log(99)] * 5)


def test_a_convolution_has_a_bias_only_without_a_norm() -> None:
    assert [name for name, _ in conv_tower(8, 1, group_norm).named_parameters()] == [
        "0.conv.weight",
        "0.gn.weight",
        "0.gn.bias",
    ]
    assert [name for name, _ in conv_tower(8, 1, None).named_parameters()] == ["0.conv.weight", "0.conv.bias"]
