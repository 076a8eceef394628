"""Localisation distillation: the values of the specification, and plain loops as a second opinion."""

import math

import pytest
import torch
from torch import Tensor

from fgd_core.methods.ld import class_loss, main_loss, region_weights, side_losses, valuable_loss, valuable_weights
from fgd_core.outputs import IGNORED, DistributionOutputs
from fgd_core.spec.methods import Ld
from tests.methods.lessons import batch, detector, distil, settings

BINS = 17


def waves() -> tuple[Tensor, Tensor]:
    """Return student's and teacher's logits (1, 2, 4, 17): two locations."""
    index = torch.arange(8 * BINS, dtype=torch.float64)
    return torch.sin(0.37 * index).view(1, 2, 4, BINS), torch.cos(0.21 * index).view(1, 2, 4, BINS)


class TestSides:
    def test_have_the_golden_value(self) -> None:
        assert side_losses(*waves(), 10.0).sum().item() == pytest.approx(0.1773682326, abs=1e-9)

    def test_are_zero_for_equal_distributions_whatever_their_offset(self) -> None:
        student, _ = waves()
        assert side_losses(student + 3, student, 10.0).abs().max() < 1e-12

    def test_send_no_gradient_to_the_teacher(self) -> None:
        student, teacher = (each.requires_grad_() for each in waves())
        side_losses(student, teacher, 10.0).sum().backward()
        assert student.grad is not None and teacher.grad is None


class TestMainLoss:
    def test_weighs_the_locations_of_objects_by_the_students_score(self) -> None:
        losses = side_losses(*waves(), 10.0)
        both = main_loss(losses, torch.tensor([[0.5, 0.25]]), torch.tensor([[True, True]]))
        assert both.item() == pytest.approx(float(0.5 * losses[0, 0].sum() + 0.25 * losses[0, 1].sum()) / 4)

    def test_leaves_out_locations_without_an_object(self) -> None:
        losses = side_losses(*waves(), 10.0)
        scores = torch.tensor([[0.5, 0.25]])
        first = main_loss(losses, scores, torch.tensor([[True, False]]))
        assert first.item() == pytest.approx(float(0.5 * losses[0, 0].sum()) / 4)

    def test_is_a_connected_zero_without_objects(self) -> None:
        student, teacher = waves()
        losses = side_losses(student.requires_grad_(), teacher, 10.0)
        nothing = main_loss(losses, torch.ones(1, 2), torch.zeros(1, 2, dtype=torch.bool))
        nothing.backward()
        assert nothing.item() == 0 and student.grad is not None and not student.grad.any()


def test_the_valuable_loss_is_a_quarter_of_the_mean_over_sides() -> None:
    losses = side_losses(*waves(), 10.0)
    loss = valuable_loss(losses, torch.tensor([[0.5, 0.0]]))
    assert loss.item() == pytest.approx(0.5 * float(losses[0, 0].sum()) / 16)


class TestClassLoss:
    def test_agrees_with_plain_loops(self) -> None:
        student, teacher = (each[:, :, 0, :3] for each in waves())
        is_object = torch.tensor([[False, True]])
        loss = class_loss(student, teacher, is_object, 2.0)
        assert loss.item() == pytest.approx(divergence(student[0, 1], teacher[0, 1], 2.0) / 3)

    def test_is_zero_without_objects(self) -> None:
        student, teacher = (each[:, :, 0, :3] for each in waves())
        assert class_loss(student, teacher, torch.zeros(1, 2, dtype=torch.bool), 2.0).item() == 0


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> float:
    """Compute T^2 KL of one distribution in plain loops."""
    q, p = (probabilities([v / temperature for v in each.tolist()]) for each in (student, teacher))
    return temperature**2 * sum(b * math.log(b / a) for a, b in zip(q, p, strict=True))


def probabilities(logits: list[float]) -> list[float]:
    exponentials = [math.exp(value) for value in logits]
    return [value / sum(exponentials) for value in exponentials]


class TestValuableRegion:
    BOX = torch.tensor([[0.0, 0, 100, 100]], dtype=torch.float64)
    # The objects' centre; shifted so that the DIoU is between the bounds; far away.
    ANCHORS = torch.tensor([[0.0, 0, 100, 100], [40, 0, 140, 100], [300, 300, 400, 400]], dtype=torch.float64)

    def test_lies_between_a_quarter_of_the_threshold_and_the_threshold(self) -> None:
        """The second anchor has IoU 6000 / 14000 and DIoU 0.4286 - 40^2 / (140^2 + 100^2) = 0.3745."""
        weights = valuable_weights(self.ANCHORS, self.BOX, torch.tensor([0.6], dtype=torch.float64))
        assert weights.tolist() == pytest.approx([0, 6000 / 14000, 0])

    @pytest.mark.parametrize(("threshold", "is_inside"), [(0.3744, False), (0.3746, True), (1.497, True), (1.5, False)])
    def test_has_exact_bounds(self, threshold: float, is_inside: bool) -> None:
        weights = valuable_weights(self.ANCHORS, self.BOX, torch.tensor([threshold], dtype=torch.float64))
        assert bool(weights[1] > 0) == is_inside

    def test_of_two_objects_the_one_with_the_greater_overlap_counts(self) -> None:
        boxes = torch.cat([self.BOX, torch.tensor([[60.0, 0, 160, 100]], dtype=torch.float64)])
        thresholds = torch.tensor([0.6, 0.99], dtype=torch.float64)
        for order in ([0, 1], [1, 0]):
            weights = valuable_weights(self.ANCHORS, boxes[order], thresholds[order])
            assert weights[1].item() == pytest.approx(8000 / 12000)

    def test_is_empty_without_objects(self) -> None:
        assert valuable_weights(self.ANCHORS, self.BOX[:0], torch.zeros(0)).tolist() == [0, 0, 0]


class TestOnGfl:
    def outputs(self, num_boxes: int) -> DistributionOutputs:
        student, given = detector("gfl", 0, anchor_base_size_px=32.0), batch(num_boxes)
        out = student.predict(student.features(given.images), given.image_sizes, given.targets)
        assert isinstance(out, DistributionOutputs)
        return out

    def test_the_region_surrounds_the_locations_of_objects(self) -> None:
        out = self.outputs(3)
        weights = region_weights(out, batch(3).boxes)
        assert weights.shape == out.assigned.shape
        assert (weights[0] > 0).sum() > (out.assigned[0] >= 0).sum() > 0
        assert not weights[1].any(), "the second image has no object"
        assert not weights[out.assigned == IGNORED].any()

    def test_without_objects_nothing_is_compared(self) -> None:
        total, _ = distil(Ld(), detector("gfl", 0), detector("gfl", 1), batch(0))
        assert total.item() == 0

    def test_each_level_is_summed_and_its_classes_averaged_for_itself(self) -> None:
        student, teacher, given = detector("gfl", 0), detector("gfl", 1), batch(3)
        total, values = distil(Ld(main=0.0, valuable=0.0), student, teacher, given)
        maps = student.features(given.images)
        ours = student.predict(maps, given.image_sizes, given.targets)
        theirs = teacher.eval().predict(teacher.features(given.images), given.image_sizes)
        expected = 0.0
        for logits, wanted, matches in zip(
            ours.logits, theirs.logits, ours.assigned.split(ours.counts, 1), strict=True
        ):
            own = [divergence(s, t, 2.0) / 3 for s, t in zip(logits[matches >= 0], wanted[matches >= 0], strict=True)]
            expected += sum(own) / max(1, len(own))
        assert values["classes"] == pytest.approx(expected, rel=1e-4)
        assert total.item() == pytest.approx(10 * expected, rel=1e-4)

    def test_of_a_student_equal_to_its_teacher_has_no_loss(self) -> None:
        student, teacher = (detector("gfl", 0).eval() for _ in range(2))
        assert abs(distil(Ld(), student, teacher, batch())[0].item()) < 1e-5

    @pytest.mark.parametrize("kind", ["retinanet", "faster_rcnn"])
    def test_other_detectors_are_refused_with_their_field(self, kind: str) -> None:
        assert {each.loc for each in Ld().unmet(settings(kind), settings("gfl"))} >= {"student"}

    def test_distributions_of_other_bins_are_refused(self) -> None:
        (unmet,) = Ld().unmet(settings("gfl", reg_max=8), settings("gfl"))
        assert unmet.loc == "student.reg_max" and "16" in unmet.message
