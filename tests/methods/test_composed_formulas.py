"""The parts of the composed loss against plain formulas in float64: values and gradients."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fgd_core.methods.composition import Composition, Place
from fgd_core.methods.parts.objects import stacked
from fgd_core.spec.methods import Composed
from tests.methods.waves import GOLDEN_BOXES, IMAGE_SIZE, STRIDE, golden_maps

PLAIN: dict[str, Any] = {
    "cells": "all", "attention": "none", "transform": "none", "distance": "l2", "temperature": 0.7, "weight": 1.0
}  # fmt: skip
SCORES = torch.rand(2, 1, 6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Formula = Callable[[Tensor, Tensor], Tensor]
"""A student's and a teacher's map, (2, 4, 6, 8) each, to a loss ()."""


def cut_out(maps: Tensor) -> Tensor:
    """Cut three objects of the first image and one of the second out of maps (2, C, 6, 8): (4, C, 3, 3)."""
    return torch.stack([maps[0, :, :3, :3], maps[0, :, 1:4, 2:5], maps[0, :, 3:, 5:], maps[1, :, 2:5, 4:7]])


PLACE = Place(2, IMAGE_SIZE, STRIDE, lambda: stacked(GOLDEN_BOXES, torch.device("cpu")), cut_out, lambda: SCORES)


def with_gradient(loss: Formula) -> tuple[float, Tensor]:
    """Return a loss of the golden maps, and its gradient (2, 4, 6, 8)."""
    student, teacher = golden_maps()
    value = loss(student.requires_grad_(), teacher)
    value.backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    return value.item(), student.grad


def check(formula: Formula, **fields: Any) -> None:
    composition = Composition(Composed(**(PLAIN | fields)), 4, 4).double()
    value, gradient = with_gradient(lambda ours, theirs: composition.compare(ours, theirs, PLACE).total)
    expected, slope = with_gradient(formula)
    assert value == pytest.approx(expected, rel=1e-10)
    assert slope.abs().max() > 1e-6
    torch.testing.assert_close(gradient, slope, rtol=1e-10, atol=1e-12)


def channel_attention(maps: Tensor, temperature: Tensor | float) -> Tensor:
    """Return the attention of channels of maps (n, C, H, W): (n, C, 1, 1)."""
    strength = torch.exp(maps.abs().mean((2, 3), keepdim=True) / temperature)
    return maps.shape[1] * strength / strength.sum(1, keepdim=True)


def unit(maps: Tensor, dim: int) -> Tensor:
    return maps / maps.square().sum(dim, keepdim=True).sqrt()


def test_the_defaults_compare_objects_by_the_directions_of_their_cells() -> None:
    def formula(student: Tensor, teacher: Tensor) -> Tensor:
        ours, theirs = cut_out(student), cut_out(teacher)
        weights = channel_attention(theirs, theirs.abs().mean((1, 2, 3), keepdim=True))
        gap = (unit(ours, 1) - unit(theirs, 1)).abs()
        return 50 * (gap * weights).sum() / (weights.sum() * 9)

    defaults = {name: Composed.model_fields[name].default for name in PLAIN}
    check(formula, **defaults)


def test_pearson_is_the_distance_of_standardised_channels() -> None:
    def standardised(maps: Tensor) -> Tensor:
        channels = maps.transpose(0, 1).flatten(1)  # (C, N H W)
        centred = channels - channels.mean(1, keepdim=True)
        return centred / ((centred.square().sum(1, keepdim=True) / 95).sqrt() + 1e-6)

    check(lambda ours, theirs: (standardised(ours) - standardised(theirs)).square().mean(), transform="channels")
    student, teacher = (maps.transpose(0, 1).flatten(1) for maps in golden_maps())
    correlations = [torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(student, teacher, strict=True)]
    found = (standardised(golden_maps()[0]) - standardised(golden_maps()[1])).square().mean()
    assert found.item() == pytest.approx((2 - 2 * torch.stack(correlations)).mean().item() * 95 / 96, rel=1e-5)


@pytest.mark.parametrize("attention", ["none", "channels"])
def test_kl_over_channels(attention: str) -> None:
    def formula(student: Tensor, teacher: Tensor) -> Tensor:
        prior = channel_attention(teacher, 0.7) if attention == "channels" else 1.0
        ours, theirs = (prior * torch.exp(maps / 0.7) for maps in (student, teacher))
        p, q = theirs / theirs.sum(1, keepdim=True), ours / ours.sum(1, keepdim=True)
        return 0.7**2 * (p * (p / q).log()).sum(1).mean()

    check(formula, distance="kl_over_channels", attention=attention)


def test_kl_over_the_cells_that_count() -> None:
    def formula(student: Tensor, teacher: Tensor) -> Tensor:
        ours, theirs = (SCORES * torch.exp(maps / 0.7) for maps in (student, teacher))
        p, q = (maps / maps.sum((2, 3), keepdim=True) for maps in (theirs, ours))
        return 0.7**2 * (p * (p / q).log()).sum((2, 3)).mean()

    check(formula, distance="kl_over_cells", cells="confidence")


@pytest.mark.parametrize("cells", ["all", "confidence"])
def test_relation(cells: str) -> None:
    def formula(student: Tensor, teacher: Tensor) -> Tensor:
        related = [
            torch.einsum("ncp,ncq->npq", *[unit(maps.flatten(2), 1)] * 2) for maps in (student, teacher)
        ]  # (N, cells, cells)
        weights = SCORES.flatten(1) if cells == "confidence" else torch.ones(2, 48, dtype=torch.float64)
        pairs = torch.einsum("np,nq->npq", weights, weights)
        return ((related[0] - related[1]).square() * pairs).sum() / pairs.sum()

    check(formula, distance="relation", cells=cells)


@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_confidence_weighs_by_the_teachers_scores(distance: str) -> None:
    def formula(student: Tensor, teacher: Tensor) -> Tensor:
        gap = (student - teacher).abs() ** (1 if distance == "l1" else 2)
        return (gap * SCORES).sum() / (SCORES.sum() * 4)

    check(formula, cells="confidence", distance=distance)


def test_a_gaussian_weighs_most_in_the_middle_of_each_object() -> None:
    def formula(student: Tensor, teacher: Tensor) -> Tensor:
        weights = torch.zeros(2, 1, 6, 8, dtype=torch.float64)
        # The boxes cover the columns 1 to 4 and rows 1 to 2, and column 2 and row 2.
        for y in (1, 2):
            for x in (1, 2, 3, 4):
                bell = torch.tensor(((x - 1) / 2 - 1) ** 2 + ((y - 1) / 1 - 1) ** 2, dtype=torch.float64)
                weights[0, 0, y, x] = torch.exp(-bell / 2)
        small = torch.exp(torch.tensor(-1.0, dtype=torch.float64))  # one cell: half a bell in each direction
        weights[0, 0, 2, 2] = torch.maximum(weights[0, 0, 2, 2], small)
        return ((student - teacher).square() * weights).sum() / (weights.sum() * 4)

    check(formula, cells="gaussian")


def test_the_form_that_detkds_found_for_most_detectors() -> None:
    """Each map with the root of its own channel attention, the largest of 2 x 2 cells, length 1 over the images."""

    def formula(student: Tensor, teacher: Tensor) -> Tensor:
        shown = []
        for maps in (student, teacher):
            attended = maps * channel_attention(maps, 0.5).sqrt()
            largest = attended.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4).amax(4)
            shown.append(unit(largest, 0))
        return (shown[0] - shown[1]).abs().mean()

    check(
        formula,
        attention="channels",
        attention_of="each",
        pooling=2,
        transform="images",
        distance="l1",
        temperature=0.5,
    )


def test_pooling_keeps_the_mean_weight_of_a_square() -> None:
    def formula(student: Tensor, teacher: Tensor) -> Tensor:
        largest = [maps.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4).amax(4) for maps in (student, teacher)]
        weights = SCORES.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4).mean(4)
        return ((largest[0] - largest[1]).square() * weights).sum() / (weights.sum() * 4)

    check(formula, pooling=2, cells="confidence")


def test_sums_over_objects_do_not_follow_the_size_of_the_images() -> None:
    student, teacher = golden_maps()
    totals = [
        Composition(Composed(**(PLAIN | {"cells": cells, "reduction": "sum", "normalise": how})), 4, 4)
        .double()
        .compare(student, teacher, PLACE)
        .total
        for cells in ("each_object", "objects")
        for how in ("none", "hw")
    ]
    assert totals[0] == totals[1] and totals[3] > 100 * totals[2]
