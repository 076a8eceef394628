"""The scale of a method in the course of the training: warm-up, decay, stop."""

from collections.abc import Sequence

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from fgd_core.data.loading import Batch
from fgd_core.methods.base import Moment
from fgd_core.methods.parts.decay import scale_factor
from fgd_core.spec.kinds.distill import needed_pictures
from fgd_core.spec.methods import AnyMethod, FitNet, Ikd, Mixed, Pkd
from fgd_core.spec.methods.base import ScaleSchedule
from fgd_core.training.distiller import Distiller
from tests.library import distill_spec
from tests.methods.lessons import batch, detector

STEPS, EPOCHS = 30, 3


def factors(schedule: ScaleSchedule) -> list[float]:
    return [scale_factor(schedule, Moment(step, STEPS, EPOCHS)) for step in range(STEPS)]


class Teacher:
    """Counts how often it runs."""

    def __init__(self) -> None:
        self.detector = detector("retinanet", 2)
        self.runs = 0

    def maps(self, given: Batch) -> Sequence[Tensor]:
        self.runs += 1
        return [each.detach() for each in self.detector.features(given.images)]


def losses(method: AnyMethod, *epochs: int) -> tuple[list[dict[str, float]], int]:
    """Return the parts of the loss in the first step of some epochs of 3, and how often the teacher ran."""
    student, teacher, given = detector("retinanet", 1), Teacher(), batch()
    distiller = Distiller(method, student, teacher.detector, {"image": teacher})
    task = torch.ones(())
    found = [
        distiller(student.features(given.images), given, Moment(10 * epoch, STEPS, EPOCHS), task=task)
        for epoch in epochs
    ]
    return [{name: value.item() for name, value in parts.items()} for _, parts in found], teacher.runs


class TestTheFactor:
    def test_rises_linearly_and_is_never_zero(self) -> None:
        found = factors(ScaleSchedule(warmup_epochs=1))
        assert found[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
        assert set(found[10:]) == {1.0}

    def test_falls_from_the_end_of_the_warm_up(self) -> None:
        found = factors(ScaleSchedule(warmup_epochs=1, decay="linear"))
        assert found[10:] == pytest.approx([1 - step / 20 for step in range(20)])

    def test_falls_along_half_a_cosine(self) -> None:
        found = factors(ScaleSchedule(decay="cosine"))
        assert (found[0], found[15]) == (1.0, pytest.approx(0.5))
        assert found == sorted(found, reverse=True) and 0 < found[-1] < 0.01

    def test_is_zero_from_an_epoch_on_and_decays_until_then(self) -> None:
        assert factors(ScaleSchedule(until_epoch=2)) == [1.0] * 20 + [0.0] * 10
        found = factors(ScaleSchedule(until_epoch=2, decay="linear"))
        assert found[10] == pytest.approx(0.5) and found[20:] == [0.0] * 10

    def test_may_end_after_the_training(self) -> None:
        assert factors(ScaleSchedule(until_epoch=9)) == [1.0] * 30
        assert factors(ScaleSchedule(warmup_epochs=6))[-1] == pytest.approx(0.5)

    def test_a_warm_up_as_long_as_the_distillation_is_refused(self) -> None:
        with pytest.raises(ValidationError, match="lower warmup_epochs, or raise until_epoch"):
            ScaleSchedule(warmup_epochs=2, until_epoch=2)


class TestADistillation:
    def test_with_a_schedule_has_the_loss_times_the_factor(self) -> None:
        (constant,), _ = losses(Pkd(scale=2), 1)
        (halved,), _ = losses(Pkd(scale=2, scale_schedule=ScaleSchedule(until_epoch=2, decay="linear")), 1)
        assert halved["distill/total"] == pytest.approx(constant["distill/total"] / 2)
        assert halved["distill/scale"] == 1.0 and "distill/scale" not in constant

    def test_after_its_last_epoch_does_not_run_the_teacher(self) -> None:
        (during, after), runs = losses(Pkd(scale_schedule=ScaleSchedule(until_epoch=2)), 1, 2)
        assert during["distill/total"] > 0 and after == {"distill/scale": 0.0, "distill/total": 0.0}
        assert runs == 1

    def test_ends_for_one_part_of_a_mixture(self) -> None:
        until = ScaleSchedule(until_epoch=2)
        mixed = Mixed(parts={"one": FitNet(scale_schedule=until), "two": Pkd()})
        (during, after), _ = losses(mixed, 1, 2)
        assert {"distill/one/P3", "distill/two/P3"} <= during.keys()
        assert not any("one" in name for name in after) and "distill/two/P3" in after

    def test_of_a_mixture_runs_no_teacher_if_all_parts_have_ended(self) -> None:
        mixed = Mixed(parts={"one": FitNet(scale_schedule=ScaleSchedule(until_epoch=1))})
        assert losses(mixed, 1) == ([{"distill/total": 0.0}], 0)

    def test_of_a_mixture_with_an_automatic_scale_ends_as_well(self) -> None:
        mixed = Mixed(scale="auto", parts={"one": FitNet(scale_schedule=ScaleSchedule(until_epoch=1))})
        assert losses(mixed, 1) == ([{"distill/scale": 1.0, "distill/total": 0.0}], 0)

    def test_reads_no_pictures_after_its_last_epoch(self) -> None:
        spec = distill_spec("teacher.pt", teacher={"picture": "depth"})
        for own, expected in ((None, 2), (1, 1), (3, 2)):
            method = Ikd(picture="copies", until_epoch=own, scale_schedule=ScaleSchedule(until_epoch=2))
            assert needed_pictures(spec.model_copy(update={"method": method})) == {"copies": expected, "depth": 2}
