"""Distillation of outputs on tiny detectors."""

import pytest

from fgd_core.spec.methods import Logit
from tests.methods.lessons import batch, detector, distil, settings

DENSE_KINDS = ("retinanet", "fcos", "gfl", "reppoints")


class TestDense:
    @pytest.mark.parametrize("kind", DENSE_KINDS)
    def test_of_a_student_equal_to_its_teacher_is_zero(self, kind: str) -> None:
        # The boxes of a new FCOS have no area, so no two of them overlap.
        method = Logit(boxes=0) if kind == "fcos" else Logit()
        student, teacher = (detector(kind, 0).eval() for _ in range(2))
        assert abs(distil(method, student, teacher, batch())[0].item()) < 1e-5

    @pytest.mark.parametrize("kind", DENSE_KINDS)
    def test_trains_the_classes_and_the_boxes_of_the_student(self, kind: str) -> None:
        for weights in ({"boxes": 0.0}, {"classes": 0.0}):
            student, teacher = detector(kind, 0), detector(kind, 1)
            distil(Logit(**weights), student, teacher, batch())[0].backward()
            assert any(each.grad is not None and each.grad.any() for each in student.head.parameters())  # type: ignore[union-attr,operator]


class TestRegions:
    @pytest.mark.parametrize("kinds", [("faster_rcnn", "faster_rcnn"), ("mask_rcnn", "cascade_mask_rcnn")])
    def test_with_and_without_an_object_are_compared_apart(self, kinds: tuple[str, str]) -> None:
        student, teacher = detector(kinds[0], 0), detector(kinds[1], 1)
        total, values = distil(Logit(foreground=3, background=5), student, teacher, batch())
        assert values["region_foreground"] > 0 and values["region_background"] > 0
        expected = 3 * values["region_foreground"] + 5 * values["region_background"]
        assert total.item() == pytest.approx(expected, rel=1e-5)

    def test_of_images_without_objects_are_all_background(self) -> None:
        _, values = distil(Logit(), detector("faster_rcnn", 0), detector("faster_rcnn", 1), batch(0))
        assert values["region_foreground"] == 0 and values["region_background"] > 0

    def test_of_a_student_equal_to_its_teacher_have_no_loss(self) -> None:
        student, teacher = (detector("faster_rcnn", 0).eval() for _ in range(2))
        assert abs(distil(Logit(), student, teacher, batch())[0].item()) < 1e-5


class TestNeeds:
    @pytest.mark.parametrize(
        ("student", "teacher", "fits"),
        [
            ("retinanet", "retinanet", True),
            ("retinanet", "fcos", False),
            ("faster_rcnn", "cascade_rcnn", True),
            ("faster_rcnn", "gfl", False),
            ("gfl", "mask_rcnn", False),
        ],
    )
    def test_outputs_of_one_kind(self, student: str, teacher: str, *, fits: bool) -> None:
        assert ([*Logit().unmet(settings(student), settings(teacher))] == []) == fits
