"""G-DetKD on tiny detectors."""

import pytest
from torch import Tensor, nn

from fgd_core.methods.gdetkd import GDetKdMethod
from fgd_core.spec.methods import GDetKd
from fgd_core.training.distiller import Distiller
from tests.methods.lessons import MOMENT, batch, detector, distil, settings

STUDENTS = ("retinanet", "fcos", "gfl", "faster_rcnn", "cascade_rcnn")


class TestLoss:
    @pytest.mark.parametrize("kind", STUDENTS)
    @pytest.mark.parametrize("teacher", ["faster_rcnn", "cascade_mask_rcnn"])
    def test_trains_students_of_every_kind(self, kind: str, teacher: str) -> None:
        student = detector(kind, 0)
        total, values = distil(GDetKd(memory=64), student, detector(teacher, 1, fpn_width=12), batch())
        total.backward()
        assert total.isfinite()
        outputs = {"classes", "boxes"} if "rcnn" in kind else set()
        assert set(values) == {"features", "contrast", "regions", "total"} | outputs
        backbone = student.backbone.parameters()  # type: ignore[union-attr]
        assert any(each.grad is not None and each.grad.any() for each in backbone)

    def test_is_finite_on_images_without_objects(self) -> None:
        for kind in ("gfl", "faster_rcnn"):
            total, _ = distil(GDetKd(memory=64), detector(kind, 0), detector("faster_rcnn", 1), batch(0))
            assert total.isfinite()

    @pytest.mark.parametrize("kind", ["gfl", "faster_rcnn"])
    def test_pools_the_same_regions_from_a_teacher_on_larger_images(self, kind: str) -> None:
        total, _ = distil(GDetKd(memory=64), detector(kind, 0), detector("faster_rcnn", 1, scale=1.5), batch())
        assert total.isfinite()

    @pytest.mark.parametrize("convention", ["torchvision", "mmdetection"])
    def test_pools_the_student_as_the_teacher_pools(self, convention: str) -> None:
        """With equal maps, the features of a region's own level are the teacher's."""
        student, teacher = (detector("faster_rcnn", 0, convention=convention).eval() for _ in range(2))
        distiller = Distiller(GDetKd(memory=64), student, teacher)
        method = distiller.losses
        assert isinstance(method, GDetKdMethod)
        nn.init.dirac_(method.adapter.weight)
        nn.init.zeros_(method.adapter.bias)  # type: ignore[arg-type]
        pooled: list[Tensor] = []
        method.guided.register_forward_pre_hook(lambda _, given: pooled.extend(given))
        given = batch()
        distiller(student.features(given.images), given, MOMENT)
        difference = (pooled[0] - pooled[1]).abs().amax((2, 3, 4))  # (L, n)
        assert difference.amin(0).max() < 1e-5 < difference.amax(0).min()

    def test_of_equal_outputs_has_no_loss_of_classes_and_boxes(self) -> None:
        student, teacher = (detector("faster_rcnn", 0).eval() for _ in range(2))
        _, values = distil(GDetKd(memory=64), student, teacher, batch())
        assert values["classes"] == pytest.approx(0, abs=1e-6) and values["boxes"] == pytest.approx(0, abs=1e-6)


class TestMemory:
    def test_gets_the_teachers_vectors_of_each_step(self) -> None:
        distiller = Distiller(GDetKd(memory=512), detector("gfl", 0), detector("faster_rcnn", 1))
        memory = distiller.losses.memory
        distil_once(distiller, "gfl")
        filled = memory.vectors.any(1).sum().item()  # type: ignore[union-attr,operator]
        assert 0 < filled <= 256 and not memory.vectors.requires_grad  # type: ignore[union-attr]

    def test_of_zero_vectors_contrasts_the_regions_of_the_step_only(self) -> None:
        total, _ = distil(GDetKd(memory=0), detector("gfl", 0), detector("faster_rcnn", 1), batch())
        assert total.isfinite()

    def test_is_a_part_of_checkpoints(self) -> None:
        distiller = Distiller(GDetKd(memory=64), detector("gfl", 0), detector("faster_rcnn", 1))
        assert {"losses.memory.vectors", "losses.memory.position"} <= set(distiller.state_dict())


def distil_once(distiller: Distiller, kind: str) -> None:
    given = batch()
    distiller(detector(kind, 0).features(given.images), given, MOMENT)


class TestNeeds:
    def test_a_teacher_with_regions(self) -> None:
        (unmet,) = GDetKd().unmet(settings("gfl"), settings("gfl"))
        assert unmet.loc == "teacher" and "region heads" in unmet.message

    def test_a_student_that_shows_hidden_vectors(self) -> None:
        (unmet,) = GDetKd().unmet(settings("reppoints"), settings("faster_rcnn"))
        assert unmet.loc == "student" and "reppoints" in unmet.message
