"""The places that the composed loss can compare: the backbone, regions, and what a pair has not got."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fgd_core.errors import SpecError
from fgd_core.methods.base import Lesson
from fgd_core.methods.composed import ComposedOnRegions
from fgd_core.methods.parts.shared_regions import on_students_regions
from fgd_core.spec.backbones import ResNet
from fgd_core.spec.methods import Composed, Fgd, Ikd, Mixed, preset_space
from fgd_core.spec.methods.composed import Cells
from fgd_core.training.distiller import Distiller, side_of
from tests.library import TINY_DETECTOR
from tests.methods.lessons import MOMENT, batch, detector, distil, lesson, settings

BACKBONE: dict[str, Any] = TINY_DETECTOR["backbone"]
ALL: dict[str, Any] = {"cells": "all", "attention": "none", "transform": "none", "distance": "l2", "weight": 1.0}


def trained(module: nn.Module) -> bool:
    """Return whether any parameter got a gradient other than zero."""
    return any(each.grad is not None and bool(each.grad.any()) for each in module.parameters())


class TestBackbone:
    @pytest.mark.parametrize(
        ("kind", "names"), [("fcos", {"C3", "C4", "C5"}), ("faster_rcnn", {"C2", "C3", "C4", "C5"})]
    )
    def test_compares_the_stages_and_trains_nothing_above(self, kind: str, names: set[str]) -> None:
        student, teacher = detector(kind, 0), detector(kind, 1)
        total, values = distil(Composed(of="backbone"), student, teacher, batch())
        total.backward()
        assert {name for name in values if name[0] in "CP"} == names
        pyramid = student.backbone
        assert isinstance(pyramid, nn.Module)
        assert trained(pyramid.get_submodule("body")) and not trained(pyramid.get_submodule("fpn"))

    def test_is_the_distance_of_the_backbones_maps(self) -> None:
        student, teacher, given = detector("retinanet", 0), detector("retinanet", 1), batch()
        _, values = distil(Composed(of="backbone", **ALL), student, teacher, given)
        with torch.no_grad():
            maps = [net.all_maps(given.images)[-3:] for net in (student, teacher.eval())]
        expected = [(ours - theirs).square().mean().item() for ours, theirs in zip(*maps, strict=True)]
        assert [values[name] for name in ("C3", "C4", "C5")] == pytest.approx(expected, rel=1e-4)

    def test_adapts_other_channels_and_matches_strides(self) -> None:
        """A larger image and a wider backbone: C3 of the student is compared with C4 of the teacher."""
        teacher = detector("retinanet", 1, scale=2.0, backbone=BACKBONE | {"stem_width": 16})
        distiller = Distiller(Composed(of="backbone"), detector("retinanet", 0), teacher)
        pairs = [
            (each.student.name, each.teacher.name) for each in distiller.planned_levels if each.teacher and each.student
        ]
        assert pairs == [("C3", "C4"), ("C4", "C5")]
        assert len([*distiller.parameters()]) == 4  # a weight and a bias for each pair

    @pytest.mark.parametrize("cells", ["confidence", "objects"])
    def test_takes_the_teachers_scores_at_the_level_above_the_stage(self, cells: Cells) -> None:
        total, _ = distil(Composed(of="backbone", cells=cells), detector("gfl", 0), detector("fcos", 1), batch())
        total.backward()
        assert total.isfinite() and total > 0

    def test_leaves_out_frozen_stages(self) -> None:
        backbone = BACKBONE | {"frozen_stages": 3}
        distiller = Distiller(
            Composed(of="backbone"), detector("faster_rcnn", 0, backbone=backbone), detector("faster_rcnn", 1)
        )
        assert distiller.level_names == ["C4", "C5"]

    def test_with_every_stage_frozen_is_refused(self) -> None:
        frozen = settings("fcos", backbone=ResNet(frozen_stages=5))
        assert [each.loc for each in Composed(of="backbone").unmet(frozen, None)] == ["method.of"]

    def test_is_wanted_by_what_contains_it(self) -> None:
        below, above = Composed(of="backbone"), Composed()
        assert below.compares_stages and Mixed(parts={"a": Fgd(), "b": below}).compares_stages
        assert Ikd(base=below).compares_stages and not above.compares_stages and not Mixed().compares_stages


class TestRegions:
    @staticmethod
    def loss(shown: Lesson, cells: Cells) -> Tensor:
        student, teacher = (side_of(detector("faster_rcnn", seed)) for seed in (0, 1))
        method = ComposedOnRegions(Composed(of="regions", **(ALL | {"cells": cells})), student, teacher)
        return method(shown)["regions"].total

    @pytest.fixture
    def shown(self) -> Lesson:
        torch.manual_seed(3)
        return lesson(detector("faster_rcnn", 0, rois_per_image=64), detector("cascade_rcnn", 1))

    def test_are_compared_as_pooled_by_both_heads(self, shown: Lesson) -> None:
        shared = on_students_regions(shown, 1.0)
        gap = (shared.student.pooled - shared.teacher.pooled).square()
        assert self.loss(shown, "all").item() == pytest.approx(gap.mean().item(), rel=1e-5)
        with_object = gap[shared.has_object]
        assert 0 < len(with_object) < len(gap)
        assert self.loss(shown, "each_object").item() == pytest.approx(with_object.mean().item(), rel=1e-5)
        scores = shared.teacher.logits.softmax(1)[:, 1:].amax(1)
        weighed = (gap.mean((1, 2, 3)) * scores).sum() / scores.sum()
        assert self.loss(shown, "confidence").item() == pytest.approx(weighed.item(), rel=1e-5)

    def test_have_the_object_that_they_are_matched_to(self, shown: Lesson) -> None:
        """The cells of the true box of each region, found one region after the other."""
        shared = on_students_regions(shown, 1.0)
        values, count = 0.0, 0
        gap = (shared.student.pooled - shared.teacher.pooled).square().detach()
        start = 0
        for image, (boxes, objects) in enumerate(zip(shared.regions.boxes, shared.regions.objects, strict=True)):
            for index, (region, number) in enumerate(zip(boxes, objects.tolist(), strict=True)):
                if number < 0:
                    continue
                corner, size = region[:2].repeat(2), (region[2:] - region[:2]).repeat(2)
                first_x, first_y, last_x, last_y = (
                    ((shown.targets.boxes[image][number] - corner) / size * 7).trunc().clamp(0, 7).int().tolist()
                )
                inside = gap[start + index][:, first_y : max(last_y, first_y + 1), first_x : max(last_x, first_x + 1)]
                values, count = values + inside.sum().item(), count + inside.numel()
            start += len(boxes)
        assert self.loss(shown, "objects").item() == pytest.approx(values / count, rel=1e-4)
        assert self.loss(shown, "background") > 0

    @pytest.mark.parametrize("num_boxes", [0, 3])
    @pytest.mark.parametrize("cells", ["each_object", "gaussian", "object_areas", "background_areas"])
    def test_train_what_pools_them(self, cells: Cells, num_boxes: int) -> None:
        student, teacher = detector("faster_rcnn", 0), detector("cascade_rcnn", 1, fpn_width=12)
        method = Composed(of="regions", cells=cells)
        distiller = Distiller(method, student, teacher)
        given = batch(num_boxes)
        total, _ = distiller(student.all_maps(given.images), given, MOMENT)
        total.backward()
        assert total.isfinite() and all(each.grad is not None for each in distiller.parameters())
        assert num_boxes == 0 or cells == "background_areas" or trained(student.backbone)  # type: ignore[arg-type]

    def test_are_refused_by_name_without_two_stages(self) -> None:
        method = Composed(of="regions")
        (found,) = method.unmet(settings("faster_rcnn"), settings("gfl"))
        assert found.loc == "method.of" and "gfl has no region heads" in found.message
        assert [each.loc for each in method.unmet(settings("fcos"), None)] == ["method.of"]
        with pytest.raises(SpecError, match="two-stage"):
            distil(method, detector("faster_rcnn", 0), detector("gfl", 1), batch())


class TestSearchedForm:
    def test_has_the_places_of_the_pair(self) -> None:
        two = settings("cascade_rcnn")
        places = {
            teacher and teacher.name(): preset_space("composed-form", Composed(), two, teacher)["method.of"].values  # type: ignore[union-attr]
            for teacher in (settings("faster_rcnn"), settings("gfl"), None)
        }
        assert places == {
            "faster_rcnn": ("backbone", "maps", "regions"),
            "gfl": ("backbone", "maps"),
            None: ("backbone", "maps"),
        }


class TestPublished:
    @pytest.mark.parametrize(
        ("kind", "weight"), [("fcos", 5), ("gfl", 10), ("reppoints", 10), ("faster_rcnn", 2), ("cascade_mask_rcnn", 2)]
    )
    def test_is_the_form_found_for_the_students_kind(self, kind: str, weight: float) -> None:
        found = Composed().published(settings(kind), None)
        assert (found.weight, found.transform, found.pooling, found.levels) == (weight, "images", 2, None)
        assert not [*found.unmet(settings(kind), None)]

    def test_of_retinanet_is_the_default(self) -> None:
        assert Composed().published(settings("retinanet"), None) == Composed()

    def test_keeps_a_form_that_a_user_chose(self) -> None:
        chosen = Composed(cells="gaussian", distance="relation")
        assert chosen.published(settings("fcos"), None) == chosen
