"""A teacher whose classes have another order, or that knows more classes than the data."""

from collections.abc import Sequence

import pytest
import torch

from fgd_core.detectors.base import Detector
from fgd_core.detectors.weights.classes import match_classes
from fgd_core.errors import SpecError
from fgd_core.methods.base import Lesson, Moment, View
from fgd_core.outputs import IGNORED, DenseOutputs
from fgd_core.spec.methods import Fgd, GDetKd, Ld, Logit
from fgd_core.training.class_order import class_order
from fgd_core.training.distiller import Distiller
from tests.methods.lessons import batch, detector

MOMENT = Moment(1, 10, 2)
ORDER = [4, 0, 2]
"""The teacher has five classes; the data has three of them in another order."""


def shown(student: Detector, teacher: Detector, classes: Sequence[int | None]) -> View:
    """Return the view of the teacher that a method gets."""
    seen: list[View] = []
    distiller = Distiller(Logit(), student, teacher, classes=classes)
    distiller.losses.register_forward_pre_hook(lambda _, given: seen.append(given[0].teacher))
    distiller(student.features(batch().images), batch(), MOMENT)
    return seen[0]


class TestOutputs:
    @pytest.mark.parametrize("kind", ["retinanet", "gfl", "reppoints"])
    def test_have_the_logits_of_the_datas_classes(self, kind: str) -> None:
        teacher, given = detector(kind, 1, num_classes=5), batch()
        outputs = shown(detector(kind, 0), teacher, ORDER).outputs
        with torch.no_grad():
            own = teacher.predict(teacher.features(given.images), given.image_sizes)
        assert isinstance(outputs, DenseOutputs) and type(outputs) is type(own)
        # The distiller folds the teacher's norms into its convolutions, which rounds otherwise.
        for level, expected in zip(outputs.logits, own.logits, strict=True):
            torch.testing.assert_close(level, expected[..., ORDER], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(outputs.boxes(), own.boxes(), rtol=1e-5, atol=1e-4)

    @pytest.mark.parametrize("kind", ["faster_rcnn", "cascade_rcnn"])
    def test_of_regions_have_the_background_and_the_datas_classes(self, kind: str) -> None:
        teacher, given = detector(kind, 1, num_classes=5), batch()
        head = shown(detector(kind, 0), teacher, ORDER).region_head
        assert head is not None and teacher.region_head is not None
        maps = teacher.features(given.images)
        own, found = teacher.region_head.on(maps, given.boxes), head.on(maps, given.boxes)
        assert found.logits.equal(own.logits[:, [0, 5, 1, 3]])
        columns = teacher.region_head.class_columns(own.deltas)[:, ORDER]
        assert found.deltas.equal(columns) and head.class_columns(found.deltas) is found.deltas
        decoded = torch.cat(head.decode(found.deltas, given.boxes))
        expected = torch.cat(teacher.region_head.decode(columns, given.boxes))
        assert decoded.shape == (3, 3, 4) and decoded.equal(expected)


class TestOrder:
    def test_that_is_the_same_selects_nothing(self) -> None:
        assert class_order([0, 1, 2], 3) is None and class_order(None, 3) is None

    def test_is_needed_for_a_teacher_that_knows_more(self) -> None:
        assert class_order([0, 1, 2], 4) is not None

    def test_comes_from_the_names(self) -> None:
        classes = match_classes(["cat", "dog", "bird"], ["bird", "horse", "Cat"])
        assert classes.sources(3) == [2, None, 0]


class TestLackingClasses:
    def test_are_refused_by_methods_that_compare_scores_of_regions(self) -> None:
        with pytest.raises(SpecError, match="lacks a class"):
            Distiller(GDetKd(), detector("faster_rcnn", 0), detector("faster_rcnn", 1), classes=[0, None, 1])

    @pytest.mark.parametrize("method", [Ld(), Logit()], ids=lambda method: method.name())
    def test_are_refused_if_no_class_is_shared(self, method: Ld | Logit) -> None:
        with pytest.raises(SpecError, match="lacks a class"):
            Distiller(method, detector("gfl", 0), detector("gfl", 1), classes=[None, None, None])

    @pytest.mark.parametrize("kind", ["retinanet", "gfl", "reppoints"])
    def test_leave_the_classes_that_both_dense_detectors_know(self, kind: str) -> None:
        student, teacher, given = detector(kind, 0), detector(kind, 1, num_classes=5), batch()
        seen: list[Lesson] = []
        distiller = Distiller(Logit(), student, teacher, classes=[4, None, 2])
        distiller.losses.register_forward_pre_hook(lambda _, lesson: seen.append(lesson[0]))
        total, _ = distiller(student.features(given.images), given, MOMENT)
        total.backward()
        assert total.isfinite() and any(each.grad is not None for each in student.parameters())
        own = student.predict(student.features(given.images), given.image_sizes, given.targets)
        ours, theirs = seen[0].student.outputs, seen[0].teacher.outputs
        assert isinstance(ours, DenseOutputs) and isinstance(theirs, DenseOutputs)
        assert [level.shape[2] for level in (*ours.logits, *theirs.logits)] == [2] * 2 * len(own.logits)
        assert all(torch.equal(a, b[..., [0, 2]]) for a, b in zip(ours.logits, own.logits, strict=True))
        for before, after, labels in zip(own.matches, ours.assigned, given.labels, strict=True):
            unknown = (labels == 1).nonzero().flatten()
            assert torch.equal(after == IGNORED, (before == IGNORED) | torch.isin(before, unknown))
            assert torch.equal(after[after != IGNORED], before[after != IGNORED])

    def test_do_not_matter_to_methods_that_compare_maps(self) -> None:
        student = detector("gfl", 0)
        distiller = Distiller(Fgd(), student, detector("gfl", 1), classes=[0, None, 1])
        total, _ = distiller(student.features(batch().images), batch(), MOMENT)
        assert total > 0
