"""Teachers and students of different kinds: which levels are paired, at which size, and what the plan says."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor
from torch.nn.functional import interpolate

from fgd_core.data.loading import Batch
from fgd_core.detectors import build_detector
from fgd_core.detectors.base import Detector, FeatureLevel
from fgd_core.detectors.rescaled import RescaledDetector, at_input_scale
from fgd_core.errors import SpecError
from fgd_core.methods.base import Moment
from fgd_core.methods.fgd import FGDLoss
from fgd_core.methods.levels import match_levels, plan_levels
from fgd_core.methods.per_level import resample
from fgd_core.runs import execute
from fgd_core.spec.detectors import DetectorSpec
from fgd_core.spec.events import Progress, RunEvent
from fgd_core.spec.methods import Fgd
from fgd_core.spec.plans import DistillationPlanned
from fgd_core.training.distiller import Distiller
from tests.detectors.steps import detections_of
from tests.library import TINY_DETECTOR, RecordingContext, distill_spec, train_spec

TINY_BODY: dict[str, Any] = TINY_DETECTOR["backbone"]
DETECTOR: TypeAdapter[DetectorSpec] = TypeAdapter(DetectorSpec)


def built(**fields: Any) -> Detector:
    torch.manual_seed(0)
    settings = DETECTOR.validate_python({"type": "retinanet", "backbone": TINY_BODY, "fpn_width": 8} | fields)
    return build_detector(settings, 3)


def two_stage(**fields: Any) -> Detector:
    return built(type="faster_rcnn", **fields)


def batch(size: int = 128) -> Batch:
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    return Batch(
        images=images,
        image_sizes=[(size, size)] * 2,
        boxes=[torch.tensor([[8.0, 8, 40, 48]]), torch.zeros(0, 4)],
        labels=[torch.tensor([1]), torch.zeros(0, dtype=torch.int64)],
        image_ids=[1, 2],
        original_sizes=[(size, size)] * 2,
    )


def learned(student: Detector, teacher: Detector) -> dict[str, Tensor]:
    """Return the parts of the loss, after a backward pass that must reach the student only."""
    distiller = Distiller(Fgd(), student, teacher)
    total, parts = distiller(student.features(batch().images), batch(), Moment())
    total.backward()
    first = next(student.get_submodule("backbone.body").parameters()).grad
    assert total.isfinite() and first is not None and first.norm() > 0
    assert all(parameter.grad is None for parameter in teacher.parameters())
    return parts


def levels_of(parts: dict[str, Tensor]) -> list[str]:
    return sorted(name.removeprefix("distill/") for name in parts if name[8:10] in {f"P{n}" for n in range(10)})


def named(*strides: int, derived: int | None = None, channels: int = 8) -> list[FeatureLevel]:
    return [FeatureLevel(f"P{s.bit_length() - 1}", s, channels, s == derived) for s in strides]


class TestLevels:
    def test_are_paired_by_stride_and_derived_ones_never(self) -> None:
        student, teacher = two_stage(), built(fpn_width=16)
        assert levels_of(learned(student, teacher)) == ["P3", "P4", "P5"]
        assert levels_of(learned(built(), two_stage())) == ["P3", "P4", "P5"]

    def test_that_are_left_out_have_a_reason(self) -> None:
        student, teacher = named(8, 16, 32, 64, 128), named(4, 8, 16, 32, 64, derived=64, channels=16)
        planned = plan_levels(student, teacher, 1, match_levels(student, teacher, 1))
        distilled = [(each.student, each.teacher) for each in planned if each.is_distilled]
        assert [(s.name, t.name, s.stride, t.channels) for s, t in distilled if s and t] == [
            ("P3", "P3", 8, 16),
            ("P4", "P4", 16, 16),
            ("P5", "P5", 32, 16),
        ]
        assert all(each.has_adapter and not each.is_resampled for each in planned if each.is_distilled)
        left_out = [(each.student or each.teacher, each.why_not) for each in planned if not each.is_distilled]
        assert [(side.name, why) for side, why in left_out if side] == [
            ("P6", "the teacher's level of this stride only subsamples the level below"),
            ("P7", "the teacher has no level of this stride"),
            ("P2", "the student has no level of this stride"),
            ("P6", "it only subsamples the level below"),
        ]

    def test_without_a_common_stride_are_refused_by_name(self) -> None:
        with pytest.raises(SpecError, match=r"no level of about the same stride.*teacher\.input_scale") as caught:
            match_levels(named(8, 16), named(32, 64, 128, derived=64), 1)
        assert caught.value.details == {
            "student": ["P3 (stride 8)", "P4 (stride 16)"],
            "teacher": ["P5 (stride 32)", "P6 (stride 64, derived)", "P7 (stride 128)"],
        }

    @pytest.mark.parametrize(
        ("scale", "expected"),
        [
            (2.0, [(0, 1), (1, 2), (2, 3)]),  # the teacher's 16, 32, 64 are 8, 16, 32 of the student's pixels
            (0.5, [(1, 0), (2, 1), (3, 2)]),
            (1.5, [(0, 1), (1, 2), (2, 3)]),  # 10.7, 21.3 and 42.7 are within half an octave; 5.3 is further from 8
            (1.25, [(0, 0), (1, 1), (2, 2), (3, 3)]),
        ],
    )
    def test_are_paired_by_the_stride_on_the_students_image(
        self, scale: float, expected: list[tuple[int, int]]
    ) -> None:
        strides = named(8, 16, 32, 64)
        assert [(pair.student, pair.teacher) for pair in match_levels(strides, strides, scale)] == expected


class TestPairs:
    def test_of_different_widths_get_an_adapter_on_the_student(self) -> None:
        student, teacher = built(fpn_width=8), built(fpn_width=24)
        distiller = Distiller(Fgd(), student, teacher)
        for loss in distiller.losses.children():
            assert isinstance(loss, FGDLoss)
            assert isinstance(loss.adapter, torch.nn.Conv2d)
            assert loss.adapter.weight.shape == (24, 8, 1, 1)
        assert len(levels_of(learned(student, teacher))) == 5

    @pytest.mark.parametrize("kind", ["fcos", "gfl", "faster_rcnn"])
    def test_of_different_kinds_of_heads_distil(self, kind: str) -> None:
        assert "P4" in levels_of(learned(built(), built(type=kind, fpn_width=16)))

    def test_a_mobilenet_learns_from_a_resnext(self) -> None:
        student = built(backbone={"name": "mobilenet_v3_small", "width_factor": 0.25})
        resnext = {"name": "resnext50_32x4d", "stem_width": 16, "blocks": [1, 1, 1, 1], "deformable_stages": [4, 5]}
        assert len(levels_of(learned(student, built(backbone=resnext, fpn_width=16)))) == 5


class TestInputScale:
    def test_a_teacher_at_twice_the_size_gives_its_next_coarser_levels(self) -> None:
        student, teacher = built(), built(fpn_width=16)
        rescaled = at_input_scale(teacher, 2)
        images = batch().images
        twice = interpolate(images, scale_factor=2, mode="bilinear", align_corners=False)
        with torch.no_grad():
            expected, found = teacher.eval().features(twice), rescaled.eval().features(images)
            ours = student.features(images)
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one, other)
        for level in range(4):
            assert resample(found[level + 1], 1.0, ours[level]) is found[level + 1]
        assert levels_of(learned(student, rescaled)) == ["P3", "P4", "P5", "P6"]

    def test_the_loss_is_computed_on_the_rescaled_maps(self) -> None:
        student, teacher = built(), built(fpn_width=8)
        distiller = Distiller(Fgd(), student, at_input_scale(teacher, 2))
        given = batch()
        twice = interpolate(given.images, scale_factor=2, mode="bilinear", align_corners=False)
        _, parts = distiller(student.features(given.images), given, Moment())
        loss = next(distiller.losses.children())
        assert isinstance(loss, FGDLoss)
        terms = loss.compare(
            student.features(given.images)[0],
            teacher.features(twice)[1],
            given.boxes,
            given.image_sizes,
            (128, 128),
        )
        torch.testing.assert_close(parts["distill/P3"], terms.total.detach())

    @pytest.mark.parametrize("scale", [0.5, 0.75, 1.5])
    def test_other_scales_distil_too(self, scale: float) -> None:
        student = built()
        distiller = Distiller(Fgd(), student, at_input_scale(built(), scale))
        resampled = {each.is_resampled for each in distiller.planned_levels if each.is_distilled}
        assert resampled == {scale != 0.5}
        total, _ = distiller(student.features(batch(160).images), batch(160), Moment())
        assert total.isfinite()

    def test_scale_1_is_the_teacher_itself(self) -> None:
        teacher = built()
        assert at_input_scale(teacher, 1.0) is teacher

    @pytest.mark.parametrize("scale", [0.5, 2.0])
    def test_detections_are_in_pixels_of_the_original_image(self, scale: float) -> None:
        plain = built(score_threshold=0.0).eval()
        rescaled, images, sizes = RescaledDetector(plain, scale), batch().images, [(101, 90), (64, 127)]
        with torch.no_grad():
            found = detections_of(rescaled, rescaled.features(images), sizes)
            resized = interpolate(images, scale_factor=scale, mode="bilinear", align_corners=False, antialias=scale < 1)
            there = [(int(h * scale), int(w * scale)) for h, w in sizes]
            expected = detections_of(plain, plain.features(resized), there)
        for one, other, (height, width) in zip(found, expected, sizes, strict=True):
            torch.testing.assert_close(one.boxes_xyxy_px * scale, other.boxes_xyxy_px)
            assert len(one.scores) > 0
            assert one.boxes_xyxy_px[:, 2].max() <= width and one.boxes_xyxy_px[:, 3].max() <= height


class TestResample:
    def test_a_slope_stays_a_slope_with_other_cell_sizes(self) -> None:
        centres = torch.arange(12) + 0.5
        slope = centres.view(1, 1, 1, 12).expand(1, 1, 10, 12)
        moved = resample(slope, 1.25, torch.zeros(1, 3, 8, 9))
        expected = (torch.arange(9) + 0.5) * 1.25
        assert moved.shape == (1, 1, 8, 9)
        torch.testing.assert_close(moved[0, 0, 3], expected)

    def test_border_cells_are_repeated_and_nothing_is_stretched(self) -> None:
        slope = (torch.arange(4) + 0.5).view(1, 1, 1, 4).expand(1, 1, 4, 4)
        moved = resample(slope, 1.0, torch.zeros(1, 1, 4, 6))
        assert moved[0, 0, 0].tolist() == [0.5, 1.5, 2.5, 3.5, 3.5, 3.5]


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    finished = execute(train_spec(detector={"fpn_width": 16}), RecordingContext(folder))
    assert finished.error is None, finished.error.traceback
    return folder / "checkpoints/last.pt"


def run(teacher_file: Path, folder: Path, **fields: Any) -> list[RunEvent]:
    fields = {"teacher": {"gate": "keys"}, "training": {"epochs": 1}} | fields
    context = RecordingContext(folder)
    finished = execute(distill_spec(teacher_file, **fields), context)
    assert finished.error is None, finished.error.traceback
    return context.events


class TestThePlan:
    def test_is_reported_once_before_the_first_step(self, teacher_file: Path, tmp_path: Path) -> None:
        events = run(teacher_file, tmp_path, student={"type": "faster_rcnn"}, training={"epochs": 1})
        plans = [event for event in events if isinstance(event, DistillationPlanned)]
        assert len(plans) == 1
        kinds = [event.kind for event in events]
        assert kinds.index("distillation_planned") < min(
            kinds.index(kind) for kind in ("progress", "epoch_finished") if kind in kinds
        )
        sentence = plans[0].sentence()
        assert sentence.startswith(
            "distils P3 (stride 8, 8 → 16 channels by a 1x1 convolution), P4 (stride 16, 8 → 16 channels by a 1x1 "
            "convolution), P5 (stride 32, 8 → 16 channels by a 1x1 convolution) from RetinaNet into FasterRcnn with fgd"
        )
        assert "leaves out the student's P2 (stride 4): the teacher has no level of this stride" in sentence
        assert "leaves out the student's P6 (stride 64): it only subsamples the level below" in sentence
        assert "leaves out the teacher's P7 (stride 128): the student has no level of this stride" in sentence

    def test_counts_what_is_inherited(self, teacher_file: Path, tmp_path: Path) -> None:
        (plan,) = [
            event
            for event in run(teacher_file, tmp_path, student={"fpn_width": 16}, inherit="neck_and_head")
            if isinstance(event, DistillationPlanned)
        ]
        assert (plan.num_inherited, plan.not_inherited) == (plan.num_inheritable, [])
        assert plan.num_inherited > 0
        assert f"inherits neck and head: {plan.num_inherited} of {plan.num_inherited} keys" in plan.sentence()

    def test_says_that_nothing_is_distilled_with_zero_weights(self, teacher_file: Path, tmp_path: Path) -> None:
        (plan,) = [
            event
            for event in run(teacher_file, tmp_path, method={"scale": 0.0})
            if isinstance(event, DistillationPlanned)
        ]
        assert plan.sentence().startswith("distils nothing: all weights of fgd are zero")
        assert plan.sentence().endswith("inherits nothing")


class TestRun:
    def test_with_a_larger_input_scale_reports_it(self, teacher_file: Path, tmp_path: Path) -> None:
        events = run(teacher_file, tmp_path, teacher={"gate": "keys", "input_scale": 2.0})
        (plan,) = [event for event in events if isinstance(event, DistillationPlanned)]
        assert "from RetinaNet at 2 x the image size" in plan.sentence()
        assert "leaves out the student's P7 (stride 128): the teacher has no level of this stride" in plan.sentence()
        assert "leaves out the teacher's P3 (stride 4): the student has no level of this stride" in plan.sentence()
        logged = [event.values for event in events if isinstance(event, Progress)]
        assert all("distill/P3" in values for values in logged)
