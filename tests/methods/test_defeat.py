"""Decoupled features against the golden numbers; the decays of the weights."""

import pytest
import torch
from torch import nn

from fgd_core.methods.base import LevelPair, Moment, Side
from fgd_core.methods.defeat import DefeatLoss, build_defeat
from fgd_core.methods.fitnet import imitation_loss
from fgd_core.methods.parts.decay import decay_factor
from fgd_core.methods.parts.imitation import masked_difference, near_zero_convolution
from fgd_core.outputs import FeatureLevel
from fgd_core.spec.methods import Defeat
from tests.methods.waves import PAIR, boxes, golden_maps, lesson


def copying(loss: DefeatLoss) -> DefeatLoss:
    """Let the adapter copy the student's map."""
    assert loss.adapter.bias is not None
    nn.init.dirac_(loss.adapter.weight)
    nn.init.zeros_(loss.adapter.bias)
    return loss.double()


class TestTerms:
    def test_equal_the_golden_numbers(self) -> None:
        terms = copying(DefeatLoss(Defeat(), PAIR))(*golden_maps(), lesson())
        assert terms.parts["foreground"].item() == pytest.approx(0.1167396391, abs=1e-9)
        assert terms.parts["background"].item() == pytest.approx(0.2743372389, abs=1e-9)
        assert terms.total.item() == pytest.approx(3 * 0.1167396391 + 12 * 0.2743372389, abs=1e-8)

    def test_weighed_by_their_cells_add_up_to_the_whole_map(self) -> None:
        student, teacher = golden_maps()
        parts = copying(DefeatLoss(Defeat(), PAIR))(student, teacher, lesson()).parts
        num_inside, num_cells = 8, 2 * 6 * 8
        both = num_inside * parts["foreground"] + (num_cells - num_inside) * parts["background"]
        torch.testing.assert_close(2 * both / num_cells, imitation_loss(student, teacher))

    def test_without_objects_all_is_background(self) -> None:
        student, teacher = golden_maps()
        parts = copying(DefeatLoss(Defeat(), PAIR))(student, teacher, lesson([boxes(), boxes()])).parts
        assert parts["foreground"] == 0
        torch.testing.assert_close(2 * parts["background"], imitation_loss(student, teacher))

    def test_a_mask_of_less_than_a_value_is_not_blown_up(self) -> None:
        """DeFeat divides by at least 1."""
        ones = torch.ones(1, 1, 1, 1)
        assert masked_difference(3 * ones, ones, 0.1 * ones[0]).item() == pytest.approx(0.4)

    def test_the_order_of_objects_changes_nothing(self) -> None:
        loss = copying(DefeatLoss(Defeat(), PAIR))
        totals = [
            loss(*golden_maps(), lesson([rows, boxes()])).total.item()
            for rows in (boxes((8, 8, 40, 30), (20, 30, 60, 46)), boxes((20, 30, 60, 46), (8, 8, 40, 30)))
        ]
        assert totals[0] == totals[1]


class TestLevels:
    def test_are_averaged(self) -> None:
        whole = copying(DefeatLoss(Defeat(), PAIR))(*golden_maps(), lesson()).total
        fifth = copying(DefeatLoss(Defeat(), PAIR._replace(num_pairs=5)))(*golden_maps(), lesson()).total
        torch.testing.assert_close(fifth, whole / 5)

    def test_include_the_pooled_one(self) -> None:
        levels = [FeatureLevel(f"P{n}", 2**n, 8, is_derived=n == 6) for n in range(2, 7)]
        planned = build_defeat(Defeat(), Side(levels, 3), Side(levels, 3)).plan()
        assert [each.student.name for each in planned if each.student and each.is_distilled] == [
            "P2",
            "P3",
            "P4",
            "P5",
            "P6",
        ]

    def test_a_student_starts_with_maps_near_zero(self) -> None:
        torch.manual_seed(0)
        weight = near_zero_convolution(4, 64).weight.detach()
        assert 1e-5 < weight.abs().mean() < 1e-4 and weight.abs().max() <= 2e-4


class TestDecay:
    def test_reaches_the_published_values_at_whole_epochs(self) -> None:
        """Twelve epochs; `up_down` has its top after three."""
        at = {epoch: Moment(step=epoch * 100, steps=1200, epochs=12) for epoch in (0, 3, 6, 9)}
        expected = {
            "none": (1, 1, 1, 1),
            "linear": (1, 0.75, 0.5, 0.25),
            "cosine": (1, 0.853553390593, 0.5, 0.146446609407),
            "up_down": (1, 2, 2 - 6 / 9, 2 - 12 / 9),
        }
        for decay in ("none", "linear", "cosine", "up_down"):
            found = [decay_factor(decay, moment) for moment in at.values()]
            assert found == pytest.approx(expected[decay]), decay

    def test_the_top_of_up_down_is_after_a_whole_number_of_epochs(self) -> None:
        """A quarter of 13 epochs, rounded down: 3."""
        found = [decay_factor("up_down", Moment(step=step, steps=1300, epochs=13)) for step in (300, 325)]
        assert found == pytest.approx([2, 2 - 2 * 0.25 / 10])

    @pytest.mark.parametrize("decay", ["linear", "cosine", "up_down"])
    @pytest.mark.parametrize("epochs", [1, 3, 12])
    def test_goes_to_zero_at_the_end(self, decay: str, epochs: int) -> None:
        method = Defeat.model_validate({"decay": decay})
        last = decay_factor(method.decay, Moment(step=9999, steps=10_000, epochs=epochs))
        assert 0 <= last < 1e-3

    def test_reaches_the_loss(self) -> None:
        loss = copying(DefeatLoss(Defeat(decay="linear"), PAIR))
        totals = [loss(*golden_maps(), lesson(moment=Moment(step, 8, 1))).total for step in (0, 6)]
        torch.testing.assert_close(totals[1], totals[0] / 4)


def test_a_wider_teacher_is_imitated_through_the_adapter() -> None:
    pair: LevelPair = PAIR._replace(teacher_channels=6)
    student, teacher = golden_maps()
    wider = torch.cat([teacher, teacher[:, :2]], 1)
    assert DefeatLoss(Defeat(), pair).double()(student, wider, lesson()).total.isfinite()
