"""The parts of methods that compare regions, on tiny two-stage detectors."""

import pytest
import torch
from torch import Tensor

from fgd_core.detectors.base import Detector
from fgd_core.errors import SpecError
from fgd_core.methods.base import Lesson, Moment
from fgd_core.methods.parts.region_methods import RegionTasks, TaskWeights, objects_of
from fgd_core.methods.parts.regions import improves
from fgd_core.methods.parts.shared_regions import SharedRegions, on_students_regions, on_teachers_regions
from fgd_core.spec.methods import Cwd, Defeat, Tadr
from fgd_core.training.distiller import side_of
from tests.methods.lessons import SIZE, batch, detector, distil, lesson, settings

TWO_STAGE = ("faster_rcnn", "cascade_rcnn")
MANY = 512
"""With so many regions the sample has all true boxes."""


class TestSharedRegions:
    @pytest.mark.parametrize("scale", [1.0, 2.0])
    def test_of_the_teacher_are_in_the_students_pixels(self, scale: float) -> None:
        shown = lesson(detector("faster_rcnn", 0), detector("faster_rcnn", 1, scale=scale, rois_per_image=MANY))
        shared = on_teachers_regions(shown, scale)
        assert shared.boxes.min() >= 0 and SIZE / 2 < shared.boxes.max() <= SIZE
        # A true box is always among the candidates, and its label is 1 more than its class.
        is_true = torch.cat(shared.regions.is_ground_truth)
        assert is_true.any() and shared.has_object[is_true].all()
        true_boxes = shown.targets.boxes[0]
        assert all((true_boxes == own).all(1).any() for own in shared.boxes[is_true])

    @pytest.mark.parametrize("scale", [1.0, 1.5])
    def test_of_the_student_are_read_by_the_teacher_in_its_own_pixels(self, scale: float) -> None:
        teacher = detector("faster_rcnn", 1, scale=scale)
        shown = lesson(detector("faster_rcnn", 0), teacher)
        shared = on_students_regions(shown, scale)
        assert teacher.region_head is not None
        with torch.no_grad():
            expected = teacher.region_head.on(shown.teacher.pyramid, [own * scale for own in shared.regions.boxes])
        assert shared.teacher.logits.equal(expected.logits) and not shared.teacher.logits.requires_grad
        assert shared.student.logits.requires_grad


class TestObjects:
    def test_of_regions_are_their_true_boxes_and_zeros_for_background(self) -> None:
        shown = lesson(detector("faster_rcnn", 0), detector("faster_rcnn", 1))
        shared = on_students_regions(shown, 1.0)
        objects = objects_of(shared, shown.targets)
        numbers = torch.cat(shared.regions.objects)
        assert not objects[~shared.has_object].any()
        assert objects[shared.has_object].equal(shown.targets.boxes[0][numbers[shared.has_object]])


class TestTasks:
    @staticmethod
    def gate(shared: SharedRegions, shown: Lesson, teacher: Detector) -> Tensor:
        """Find where the teacher improves a region, one region after the other."""
        head, is_open = teacher.region_head, []
        assert head is not None
        decoded = torch.cat(head.decode(shared.teacher.deltas, shared.regions.boxes))
        objects = objects_of(shared, shown.targets)
        for index, label in enumerate(shared.labels.tolist()):
            refined = head.class_columns(decoded)[index, max(0, label - 1)][None]
            own = slice(index, index + 1)
            is_open.append(label > 0 and bool(improves(refined, shared.boxes[own], objects[own])))
        return torch.tensor(is_open)

    @pytest.mark.parametrize("kind", TWO_STAGE)
    def test_imitate_boxes_only_where_the_teacher_improves_the_region(self, kind: str) -> None:
        student, teacher = detector(kind, 0, rois_per_image=MANY), detector(kind, 1)
        shown = lesson(student, teacher)
        method = RegionTasks("tadr", side_of(student), side_of(teacher), TaskWeights(1, 1))
        loss = method(shown)["regions"].parts["region_boxes"]
        shared = on_students_regions(shown, 1.0)
        is_open = self.gate(shared, shown, teacher)
        assert is_open.any() and not is_open[shared.has_object].all()
        own = (torch.arange(len(shared.labels)), (shared.labels - 1).clamp(min=0))
        assert student.region_head is not None and teacher.region_head is not None
        ours = student.region_head.class_columns(shared.student.deltas)[own]
        theirs = teacher.region_head.class_columns(shared.teacher.deltas)[own]
        expected = (ours - theirs)[is_open].abs().sum(1).mean()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)

    def test_without_objects_have_a_connected_zero(self) -> None:
        total, values = distil(
            Tadr(features=0, classes=10, boxes=1), detector("faster_rcnn", 0), detector("faster_rcnn", 1), batch(0)
        )
        total.backward()
        assert values["region_classes"] == 0 and values["region_boxes"] == 0


class TestMethods:
    @pytest.mark.parametrize(
        ("method", "terms"),
        [
            (Defeat(region_foreground=2, region_background=2), {"region_foreground", "region_background"}),
            (Tadr(classes=10, boxes=1), {"region_classes", "region_boxes"}),
        ],
    )
    @pytest.mark.parametrize("student", TWO_STAGE)
    def test_compare_maps_and_regions(self, student: str, method: Defeat | Tadr, terms: set[str]) -> None:
        given = detector(student, 0)
        total, values = distil(method, given, detector("cascade_mask_rcnn", 1), batch())
        total.backward()
        assert terms < set(values) and {"P2", "P5", "regions"} < set(values)
        heads = given.roi_heads.parameters()  # type: ignore[union-attr]
        assert any(each.grad is not None and each.grad.any() for each in heads)

    @pytest.mark.parametrize(
        "method", [Defeat(region_foreground=2, region_background=2, decay="linear"), Tadr(classes=10, boxes=1)]
    )
    def test_weigh_regions_less_and_less_with_their_decay(self, method: Defeat | Tadr) -> None:
        weighed = [
            distil(method, detector("faster_rcnn", 0), detector("faster_rcnn", 1), batch(), moment=Moment(step, 10, 2))
            for step in (0, 5, 10)
        ]
        regions = [values["regions"] for _, values in weighed]
        assert regions[0] > 0 and regions[2] == 0
        assert regions[1] == pytest.approx(regions[0] / 2, rel=1e-5)

    def test_refuse_weights_of_regions_for_detectors_without_them(self) -> None:
        method = Tadr(classes=10, boxes=1)
        fields = [each.loc for each in method.unmet(settings("gfl"), settings("faster_rcnn"))]
        assert fields == ["method.classes", "method.boxes"]
        assert [*method.unmet(settings("faster_rcnn"), settings("cascade_rcnn"))] == []
        with pytest.raises(SpecError, match="two-stage"):
            distil(method, detector("faster_rcnn", 0), detector("gfl", 1), batch())

    def test_have_published_weights_of_regions_only_for_two_stages(self) -> None:
        assert Tadr().published(settings("faster_rcnn"), settings("mask_rcnn")).classes == 10
        assert Tadr().published(settings("faster_rcnn"), settings("gfl")).classes == 0
        assert Tadr().published(settings("gfl"), settings("gfl")).boxes == 0


class TestCwdOnLogits:
    def test_compares_the_logits_of_each_level(self) -> None:
        student, teacher = detector("retinanet", 0), detector("retinanet", 1)
        total, values = distil(Cwd(on="logits", levels=3), student, teacher, batch())
        total.backward()
        assert {"P3", "P4", "P5"} < set(values) and "P6" not in values
        head = student.head.classification_head.parameters()  # type: ignore[union-attr]
        assert any(each.grad is not None and each.grad.any() for each in head)

    def test_of_a_student_equal_to_its_teacher_is_zero(self) -> None:
        student, teacher = (detector("gfl", 0).eval() for _ in range(2))
        assert abs(distil(Cwd(on="logits"), student, teacher, batch())[0].item()) < 1e-6

    def test_needs_two_dense_detectors_of_one_kind(self) -> None:
        method = Cwd(on="logits")
        assert [each.loc for each in method.unmet(settings("gfl"), settings("fcos"))] == ["teacher.detector"]
        assert [each.loc for each in method.unmet(settings("faster_rcnn"), None)] == ["method.on"]

    def test_has_its_own_published_values(self) -> None:
        published = Cwd(on="logits").published(settings("gfl"), None)
        assert (published.on, published.weight, published.levels) == ("logits", 10, None)
