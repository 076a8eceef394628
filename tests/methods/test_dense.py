"""The comparisons of dense outputs, against plain loops in float64."""

import math

import pytest
import torch
from torch import Tensor

from fgd_core.methods.parts.dense import box_imitation, class_imitation, count_positives, side_imitation
from fgd_core.outputs import BACKGROUND, IGNORED

STUDENT = torch.tensor([[[0.3, -1.2], [2.0, 1.0], [1.0, -4.0]]], dtype=torch.float64)
TEACHER = torch.tensor([[[1.1, -0.2], [0.4, 0.0], [2.0, -1.0]]], dtype=torch.float64)
MATCHES = torch.tensor([[0, BACKGROUND, IGNORED]])
BOXES = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]]], dtype=torch.float64)
WANTED = torch.tensor([[[0.0, 0, 10, 5], [20, 0, 30, 10], [0, 0, 10, 10]]], dtype=torch.float64)
WEIGHTS = torch.tensor([[0.5, 0.25, 1.0]], dtype=torch.float64)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


class TestClasses:
    def test_count_objects_and_background_and_not_what_the_assignment_ignores(self) -> None:
        expected = 0.0
        for location in range(2):
            for s, t in zip(STUDENT[0, location].tolist(), TEACHER[0, location].tolist(), strict=True):
                q, p = sigmoid(s), sigmoid(t)
                expected += abs(q - p) * -(p * math.log(q) + (1 - p) * math.log(1 - q))
        assert class_imitation(STUDENT, TEACHER, MATCHES).item() == pytest.approx(expected, abs=1e-9)

    def test_are_divided_by_the_number_of_locations_with_an_object(self) -> None:
        one = class_imitation(STUDENT, TEACHER, torch.tensor([[0, BACKGROUND, BACKGROUND]]))
        two = class_imitation(STUDENT, TEACHER, torch.tensor([[0, 1, BACKGROUND]]))
        assert one.item() == pytest.approx(2 * two.item())


class TestBoxes:
    def test_are_compared_by_giou_with_the_weights(self) -> None:
        """The first pair has IoU 0.5; the second is apart, its hull is three boxes wide: GIoU -1/3."""
        loss = box_imitation(BOXES, WANTED, WEIGHTS, MATCHES)
        assert loss.item() == pytest.approx(0.5 * 0.5 + 0.25 * (1 + 1 / 3), abs=1e-6)

    def test_are_compared_by_the_logarithm_of_the_iou(self) -> None:
        loss = box_imitation(BOXES, WANTED, WEIGHTS, MATCHES, "iou")
        assert loss.item() == pytest.approx(0.5 * math.log(2) + 0.25 * -math.log(1e-6), abs=1e-6)

    @pytest.mark.parametrize("measure", ["giou", "iou"])
    def test_without_area_have_a_finite_gradient(self, measure: str) -> None:
        boxes = torch.zeros(1, 3, 4, requires_grad=True)
        loss = box_imitation(boxes, WANTED.float(), WEIGHTS, MATCHES, "iou" if measure == "iou" else "giou")
        loss.backward()
        assert loss.isfinite() and boxes.grad is not None and boxes.grad.isfinite().all()


class TestSides:
    @staticmethod
    def sides(values: Tensor) -> Tensor:
        """Return (1, 3, 4, 2): four equal sides."""
        return values[:, :, None].expand(-1, -1, 4, -1)

    def test_are_averaged_with_the_weights_over_locations_that_are_not_ignored(self) -> None:
        divergences = []
        for location in range(2):
            p, q = (each[0, location].softmax(0).tolist() for each in (TEACHER, STUDENT))
            divergences.append(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
        loss = side_imitation(self.sides(STUDENT), self.sides(TEACHER), WEIGHTS, MATCHES)
        expected = (0.5 * divergences[0] + 0.25 * divergences[1]) / 0.75
        assert loss.item() == pytest.approx(expected, abs=1e-9)

    def test_are_a_connected_zero_if_the_teacher_is_sure_that_nothing_is_there(self) -> None:
        student = self.sides(STUDENT).clone().requires_grad_()
        loss = side_imitation(student, self.sides(TEACHER), 0 * WEIGHTS, MATCHES)
        loss.backward()
        assert loss.item() == 0 and student.grad is not None and not student.grad.any()


def test_every_image_counts_at_least_one_positive() -> None:
    assert count_positives(torch.tensor([[0, 1, 1], [BACKGROUND, IGNORED, BACKGROUND]])) == 4
