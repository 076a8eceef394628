"""Channel-wise distillation against the golden numbers."""

import pytest
import torch

from fgd_core.methods.base import Side
from fgd_core.methods.cwd import CwdLoss, build_cwd, cwd_loss
from fgd_core.outputs import FeatureLevel
from fgd_core.spec.detectors import FasterRcnn, RetinaNet
from fgd_core.spec.methods import Cwd
from tests.methods.waves import PAIR, golden_maps, lesson


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, 0.0745683709), (2.0, 0.0758409030)])
def test_equals_the_golden_numbers(temperature: float, expected: float) -> None:
    student, teacher = golden_maps()
    assert cwd_loss(student, teacher, temperature).item() == pytest.approx(expected, abs=1e-9)


def test_an_offset_of_a_channel_changes_nothing_and_a_factor_does() -> None:
    student, teacher = golden_maps()
    offset = torch.linspace(-3, 3, 8, dtype=torch.float64).view(2, 4, 1, 1)
    torch.testing.assert_close(cwd_loss(student + offset, teacher - offset), cwd_loss(student, teacher))
    assert cwd_loss(teacher, teacher).item() == pytest.approx(0, abs=1e-12)
    assert cwd_loss(2 * teacher, teacher).item() > 0.01


def test_large_values_are_finite() -> None:
    student, teacher = (1e4 * each.float() for each in golden_maps())
    assert cwd_loss(student, teacher).isfinite()


def test_the_settings_reach_the_loss() -> None:
    student, teacher = golden_maps()
    terms = CwdLoss(Cwd(weight=3, temperature=2), PAIR)(student, teacher, lesson())
    assert terms.total.item() == pytest.approx(3 * 0.0758409030, abs=1e-8)


def test_two_stage_students_are_compared_on_the_pooled_level_too() -> None:
    levels = [FeatureLevel(f"P{n}", 2**n, 8, is_derived=n == 6) for n in range(2, 7)]
    side = Side(levels, 3)

    def compared(method: Cwd) -> list[str]:
        return [
            each.student.name for each in build_cwd(method, side, side).plan() if each.student and each.is_distilled
        ]

    assert compared(Cwd()) == ["P2", "P3", "P4", "P5"]
    assert compared(Cwd(levels=2)) == ["P2", "P3"]
    assert compared(Cwd().published(FasterRcnn(), None)) == ["P2", "P3", "P4", "P5", "P6"]
    assert Cwd().published(RetinaNet(), FasterRcnn()) == Cwd()
