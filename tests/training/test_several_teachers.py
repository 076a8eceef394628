"""Several teachers at once: the weighted mean of what each would teach alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from fgd_core.data.loading import Batch
from fgd_core.detectors import build_detector
from fgd_core.detectors.base import Detector
from fgd_core.methods.base import Moment
from fgd_core.runs import execute
from fgd_core.spec.checkpoint_references import checkpoint_sources
from fgd_core.spec.detectors import DetectorSpec
from fgd_core.spec.events import EpochFinished, TeacherChecked, WeightsLoaded
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.methods import Ikd, Pkd
from fgd_core.spec.plans import DistillationPlanned
from fgd_core.training.distiller import Distiller
from fgd_core.training.several_teachers import SeveralTeachers, WeightedTeacher, mean_of
from tests.library import TINY_DETECTOR, RecordingContext, StopsAfterAnEpoch, distill_spec, train_spec

DETECTOR: TypeAdapter[DetectorSpec] = TypeAdapter(DetectorSpec)
METHOD = Ikd(base=Pkd(), alpha_adv=1e-3)
WIDTHS = (8, 12)


def detector(width: int, num_classes: int = 3, **fields: Any) -> Detector:
    torch.manual_seed(width + num_classes)
    return build_detector(DETECTOR.validate_python(TINY_DETECTOR | fields | {"fpn_width": width}), num_classes)


def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    images, copies = torch.randn(2, 2, 3, 64, 64, generator=generator)
    return Batch(
        images=images,
        image_sizes=[(64, 64)] * 2,
        boxes=[torch.tensor([[8.0, 8, 40, 48]]), torch.zeros(0, 4)],
        labels=[torch.tensor([1]), torch.zeros(0, dtype=torch.int64)],
        image_ids=[1, 2],
        original_sizes=[(64, 64)] * 2,
        pictures={"adversarial": copies},
    )


def taught(student: Detector, weights: tuple[float, float]) -> list[WeightedTeacher]:
    """Return two teachers of different widths; the second one knows other classes."""
    torch.manual_seed(9)
    return [
        WeightedTeacher(Distiller(METHOD, student, detector(width, num_classes=classes)), weight)
        for width, classes, weight in zip(WIDTHS, (4, 7), weights, strict=True)
    ]


def lesson(student: Detector, distillation: nn.Module) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Return the loss, its parts, and the gradient of the student's first weight."""
    given = batch()
    total, parts = distillation(student.all_maps(given.images), given, Moment())
    first = next(student.parameters())
    (gradient,) = torch.autograd.grad(total, first)
    return total.detach(), parts, gradient


class TestMean:
    def test_weighs_the_losses_and_gradients_of_the_teachers(self) -> None:
        student = detector(8).eval()
        teachers = taught(student, (1.0, 3.0))
        total, parts, gradient = lesson(student, SeveralTeachers(teachers))
        own = [lesson(student, each.distiller) for each in teachers]
        assert total.item() == pytest.approx(0.25 * own[0][0].item() + 0.75 * own[1][0].item(), rel=1e-6)
        expected = 0.25 * own[0][2] + 0.75 * own[1][2]
        assert (gradient - expected).abs().max() < 1e-5 * expected.abs().max()
        assert all(each[2].norm() > 0 for each in own)
        assert [parts[f"distill/teacher_{number}"].item() for number in (1, 2)] == [each[0].item() for each in own]
        assert parts["distill/total"].item() == pytest.approx(total.item(), rel=1e-6)

    def test_of_one_teacher_is_its_distiller(self) -> None:
        only = taught(detector(8), (5.0, 1.0))[0]
        assert mean_of([only]) is only.distiller

    def test_does_not_run_a_teacher_of_weight_zero(self) -> None:
        student = detector(8).eval()
        teachers = taught(student, (0.0, 2.0))
        total, parts, _ = lesson(student, SeveralTeachers(teachers))
        assert total == lesson(student, teachers[1].distiller)[0]
        assert "distill/teacher_1" not in parts

    def test_runs_the_student_once_on_each_picture(self) -> None:
        student = detector(8).eval()
        calls: list[int] = []
        all_maps = student.all_maps
        student.all_maps = lambda images: calls.append(len(images)) or all_maps(images)  # type: ignore[method-assign,func-returns-value]
        lesson(student, SeveralTeachers(taught(student, (1.0, 1.0))))
        assert len(calls) == 2

    def test_trains_the_adapters_of_each_teacher(self) -> None:
        student = detector(8)
        several = SeveralTeachers(taught(student, (1.0, 1.0)))
        assert {name.split(".")[1] for name, _ in several.named_parameters()} == {"1"}  # only the wider one has some
        assert not any("backbone" in name for name in several.state_dict())


class TestSpec:
    def test_lists_every_checkpoint_with_its_field(self) -> None:
        spec = distill_spec("a.pt", more_teachers=[{"checkpoint": "job:abc/best"}])
        assert checkpoint_sources(spec) == [
            ("teacher.checkpoint", "a.pt"),
            ("more_teachers.0.checkpoint", "job:abc/best"),
        ]

    def test_refuses_teachers_that_all_have_weight_zero(self) -> None:
        with pytest.raises(ValidationError, match="every teacher has weight 0"):
            distill_spec("a.pt", teacher={"weight": 0}, more_teachers=[{"checkpoint": "b.pt", "weight": 0}])


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    found = []
    for width in WIDTHS:
        context = RecordingContext(tmp_path_factory.mktemp(f"teacher{width}"))
        spec = train_spec(training={"epochs": 1}, detector={"fpn_width": width})
        assert execute(spec, context).outcome == "succeeded"
        found.append(context.job_dir / "checkpoints" / "best.pt")
    return found


class TestRun:
    def spec(self, teachers: list[Path], **fields: Any) -> DistillSpec:
        more = [{"checkpoint": str(teachers[1]), "gate": "keys", "weight": 3}]
        return distill_spec(teachers[0], teacher={"gate": "keys"}, more_teachers=more, **fields)

    def test_reports_every_teacher_in_its_plan(self, teachers: list[Path], tmp_path: Path) -> None:
        context = RecordingContext(tmp_path)
        assert execute(self.spec(teachers, training={"epochs": 1}), context).outcome == "succeeded"
        (plan,) = context.of(DistillationPlanned)
        assert [each.weight for each in plan.of_each_teacher] == [1, 3]
        assert [all(level.has_adapter for level in each.levels) for each in plan.of_each_teacher] == [False, True]
        assert "weighs the teachers 1, 3" in plan.sentence()
        loaded = [each.source for each in context.of(WeightsLoaded) if each.role == "teacher"]
        assert loaded == [*map(str, teachers)]
        assert {"distill/teacher_1", "distill/teacher_2"} <= set(context.of(EpochFinished)[-1].values)

    def test_resumes_to_the_bit(self, teachers: list[Path], tmp_path: Path) -> None:
        spec = self.spec(teachers)
        whole, parts = RecordingContext(tmp_path / "whole"), tmp_path / "parts"
        assert execute(spec, whole).outcome == "succeeded"
        assert execute(spec, StopsAfterAnEpoch(parts)).outcome == "stopped"
        resumed = RecordingContext(parts)
        assert execute(spec, resumed).outcome == "succeeded"
        assert resumed.of(EpochFinished)[-1].values == whole.of(EpochFinished)[-1].values

    def test_checks_every_teacher_with_its_own_gate(self, teachers: list[Path], tmp_path: Path) -> None:
        second = {"checkpoint": str(teachers[1]), "max_ap_drop": 1}
        context = RecordingContext(tmp_path)
        execute(
            distill_spec(teachers[0], teacher={"gate": "keys"}, more_teachers=[second], method={"scale": 0}), context
        )
        assert [each.number for each in context.of(TeacherChecked)] == [2]
