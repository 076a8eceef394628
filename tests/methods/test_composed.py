"""The composed loss: known methods are points of its space, and every combination of its parts is a sound loss."""

import itertools
from typing import Any, get_args

import pytest
import torch
from pydantic import JsonValue

from fgd_core.methods.composed import ComposedLoss
from fgd_core.methods.cwd import cwd_loss
from fgd_core.methods.fgd import EagerFGDLoss
from fgd_core.methods.fitnet import imitation_loss
from fgd_core.methods.pkd import pkd_loss
from fgd_core.spec.detectors import Fcos, RetinaNet
from fgd_core.spec.dimensions import Choice
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.sweep import with_values
from fgd_core.spec.methods import Composed, preset_space
from fgd_core.spec.methods.composed import Attention, Cells, Distance, Transform
from tests.library import distill_spec
from tests.methods.waves import PAIR, boxes, golden_maps, lesson

ALL_CELLS: dict[str, Any] = {
    "cells": "all", "attention": "none", "transform": "none", "distance": "l2", "temperature": 1.0, "weight": 1.0
}  # fmt: skip


def loss_of(**fields: Any) -> ComposedLoss:
    return ComposedLoss(Composed(**(ALL_CELLS | fields)), PAIR).double()


def value(**fields: Any) -> float:
    return loss_of(**fields)(*golden_maps(), lesson()).total.item()


class TestKnownMethods:
    def test_pkd(self) -> None:
        assert value(transform="channels", weight=0.5) == pytest.approx(pkd_loss(*golden_maps()).item(), abs=1e-10)

    def test_cwd(self) -> None:
        for temperature in (0.5, 2.0):
            expected = cwd_loss(*golden_maps(), temperature).item()
            assert value(distance="kl_over_cells", temperature=temperature) == pytest.approx(expected, abs=1e-10)

    def test_fitnet(self) -> None:
        student, teacher = golden_maps()
        assert value() == pytest.approx(imitation_loss(student, teacher).item(), abs=1e-10)
        assert value(reduction="sum") == pytest.approx(100.3023765535, abs=1e-9)
        by_angle = imitation_loss(student, teacher, "sum", normalised=True).item()
        assert value(transform="map", reduction="sum") == pytest.approx(by_angle, abs=1e-10)

    @pytest.mark.parametrize("temperature", [0.5, "auto"])
    def test_fgd_is_a_mixture_of_five(self, temperature: Any) -> None:
        torch.manual_seed(0)
        published = EagerFGDLoss(4, 4, alpha=1.0, beta=1.0, gamma=1.0, lambda_=1.0, temperature=temperature).double()
        for block in (published.student_context, published.teacher_context):
            torch.nn.init.normal_(block.transform[-1].weight)
        expected = published(*golden_maps(), lesson()).parts
        common = {"reduction": "sum", "temperature": temperature}
        relation = loss_of(**common, transform="context")
        relation.student_context.load_state_dict(published.student_context.state_dict())
        relation.teacher_context.load_state_dict(published.teacher_context.state_dict())
        found = {
            "foreground": value(**common, cells="object_areas", attention="both"),
            "background": value(**common, cells="background_areas", attention="both"),
            "attention": sum(
                value(**common, transform=f"attention_of_{kind}", distance="l1") for kind in ("cells", "channels")
            ),
            "relation": relation(*golden_maps(), lesson()).total.item(),
        }
        assert found == pytest.approx({name: part.item() for name, part in expected.items()}, rel=1e-9)


class TestWeights:
    @pytest.mark.parametrize("distance", get_args(Distance))
    def test_outside_of_objects_nothing_counts(self, distance: str) -> None:
        student, teacher = golden_maps()
        changed = student.clone()
        changed[:, :, 5] += 3  # below both objects
        changed[1] -= 1  # the image without objects
        loss = loss_of(cells="objects", distance=distance)
        if distance == "relation":
            # Its grid is that of the map here, 6 x 8.
            assert max(student.shape[2:]) <= 8
        torch.testing.assert_close(
            loss(changed, teacher, lesson()).total, loss(student, teacher, lesson()).total, rtol=1e-9, atol=1e-12
        )

    def test_the_mean_is_over_what_counts(self) -> None:
        """A constant gap of 2 has the mean square 4, wherever it counts."""
        _, teacher = golden_maps()
        for cells in get_args(Cells):
            if cells != "confidence":
                found = loss_of(cells=cells, attention="both")(teacher + 2, teacher, lesson()).total.item()
                assert found == pytest.approx(4), cells

    def test_each_object_counts_the_same(self) -> None:
        """Without a transform, objects of 7 x 7 cells that differ by 1 and by 3 have the mean square 5."""
        _, teacher = golden_maps()
        student = teacher.clone()
        student[0] += 1
        student[1] += 3
        given = lesson([boxes((8, 8, 40, 30)), boxes((0, 0, 16, 16))])
        assert loss_of(cells="each_object")(student, teacher, given).total.item() == pytest.approx(5, rel=1e-5)


FIELDS = ("cells", "attention", "transform", "distance")
SPACE = [
    combination
    for combination in itertools.product(*map(get_args, (Cells, Attention, Transform, Distance)))
    if combination[0] != "confidence"
]


@pytest.mark.parametrize("num_objects", [0, 1, 2])
def test_every_combination_is_finite_and_teaches(num_objects: int) -> None:
    student, teacher = golden_maps()
    given = lesson([boxes((8, 8, 40, 30), (20, 16, 28, 24))[:num_objects], boxes()])
    still = []
    for index, names in enumerate(SPACE[num_objects::13]):
        fields = dict(zip(FIELDS, names, strict=True))
        fields |= {"attention_of": ("teacher", "each")[index // 2 % 2], "pooling": (1, 2)[index % 3 == 0]}
        ours = student.clone().requires_grad_()
        loss = loss_of(**fields, reduction=("mean", "sum")[index % 2], temperature="auto")
        total = loss(ours, teacher, given).total
        total.backward()
        assert total.isfinite() and total >= -1e-9 and ours.grad is not None and ours.grad.isfinite().all(), names
        if not ours.grad.any():
            still.append(names)
    if num_objects:
        # A single value per picture, or a single object, leaves no distribution and no angle to compare.
        alone = [("each_object", "images")] if num_objects == 1 else []
        assert all(names[2].startswith("attention_of_") or names[::2][:2] in alone for names in still), still


@pytest.mark.parametrize("names", SPACE[::11])
def test_equal_maps_have_no_loss(names: tuple[str, ...]) -> None:
    _, teacher = golden_maps()
    fields = dict(zip(FIELDS, names, strict=True))
    assert loss_of(**fields)(teacher.clone(), teacher, lesson()).total.item() == pytest.approx(0, abs=1e-9)


def test_the_context_of_logits_is_refused() -> None:
    with pytest.raises(ValueError, match="set of to maps"):
        Composed(of="logits", transform="context")


class TestSearchedForm:
    def choices(self, teacher: RetinaNet | Fcos | None, field: str) -> tuple[JsonValue, ...]:
        dimension = preset_space("composed-form", Composed(), RetinaNet(), teacher).get(f"method.{field}")
        assert dimension is None or isinstance(dimension, Choice)
        return () if dimension is None else dimension.values

    def test_has_class_scores_only_if_the_pair_is_known_to_have_them(self) -> None:
        assert self.choices(RetinaNet(), "of") == ("backbone", "maps", "logits")
        assert "confidence" in self.choices(Fcos(), "cells")
        # Heads of two kinds cannot be compared, and a checkpoint may hold any detector.
        assert self.choices(Fcos(), "of") == self.choices(None, "of") == ("backbone", "maps")
        assert "confidence" not in self.choices(None, "cells")

    def test_searches_a_temperature_only_where_distributions_are_compared(self) -> None:
        when = preset_space("composed-form", Composed(), RetinaNet(), None)["method.temperature"].when
        assert when is not None and when.is_in == ("kl_over_cells", "kl_over_channels")

    @pytest.mark.parametrize("schedule", [None, {"decay": "linear"}])
    def test_takes_every_schedule(self, schedule: JsonValue) -> None:
        assert schedule in self.choices(None, "scale_schedule")
        trial = with_values(distill_spec("t.pt", method={"type": "composed"}), {"method.scale_schedule": schedule})
        decay = DistillSpec.model_validate(trial).method.scale_schedule
        assert (decay and decay.decay) == (schedule and "linear")
