"""Mixtures: the sum of their parts, with names that never collide."""

from collections.abc import Iterator, Mapping

import pytest
import torch
from torch import Tensor

from fgd_core.methods import METHODS
from fgd_core.methods.base import Lesson, Method, Side, Terms, View
from fgd_core.outputs import FeatureLevel
from fgd_core.spec.detectors import AnyDetector, FasterRcnn, RetinaNet
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.methods import AnyMethod, Cwd, Defeat, Fgd, FitNet, Mgd, Mixed, Pkd
from fgd_core.spec.methods.base import Unmet
from tests.library import TINY, TINY_DETECTOR
from tests.methods.waves import lesson

LEVELS = [FeatureLevel(f"P{n}", 2**n, 4, is_derived=n == 7) for n in (4, 5, 6, 7)]
SIDE = Side(LEVELS, 3)


def given() -> Lesson:
    torch.manual_seed(0)
    student, teacher = ([torch.randn(2, 4, 16 >> n, 16 >> n) for n in range(4)] for _ in range(2))
    bare = lesson()
    return Lesson(View(lambda: student), View(lambda: teacher), bare.targets, bare.input_size)


def built(method: AnyMethod) -> Method:
    torch.manual_seed(1)
    return METHODS[type(method)](method, SIDE, SIDE)


def total(terms: Mapping[str, Terms]) -> Tensor:
    return torch.stack([each.total for each in terms.values()]).sum()


class TestLoss:
    def test_is_the_sum_of_the_parts_each_with_its_scale(self) -> None:
        alone = [total(built(method)(given())) for method in (FitNet(), Pkd())]
        mixed = Mixed(parts={"plain": FitNet(scale=0.5), "pattern": Pkd(scale=3)})
        torch.testing.assert_close(total(built(mixed)(given())), 0.5 * alone[0] + 3 * alone[1])

    def test_two_parts_of_the_same_kind_have_places_and_terms_of_their_own(self) -> None:
        mixed = Mixed(parts={"sharp": Cwd(temperature=0.5), "soft": Cwd(temperature=4)})
        terms = built(mixed)(given())
        assert set(terms) == {f"{part}/P{n}" for part in ("sharp", "soft") for n in (4, 5, 6)}
        assert set(terms["soft/P4"].parts) == set(terms["soft/P4"].weights) == {"soft/channels"}
        assert terms["sharp/P4"].total != terms["soft/P4"].total

    def test_a_part_that_weighs_nothing_is_not_built(self) -> None:
        mixed = Mixed(parts={"on": Pkd(), "off": Mgd(scale=0), "unweighed": Fgd(alpha=0, beta=0, gamma=0, lambda_=0)})
        method = built(mixed)
        assert not [*method.parameters()]
        assert {place.partition("/")[0] for place in method(given())} == {"on"}

    def test_the_parameters_of_all_parts_are_trained_and_saved(self) -> None:
        method = built(Mixed(parts={"one": Mgd(), "two": Mgd()}))
        total(method(given())).backward()
        assert all(each.grad is not None and each.grad.norm() > 0 for each in method.parameters())
        assert {name.split(".")[1] for name in method.state_dict()} == {"one", "two"}


class TestPlan:
    def test_a_level_is_distilled_if_any_part_compares_it(self) -> None:
        planned = built(Mixed(parts={"fine": Cwd(levels=1), "all": Defeat(), "most": Pkd()})).plan()
        assert [(each.student.name, each.is_distilled) for each in planned if each.student] == [
            (name, True) for name in ("P4", "P5", "P6", "P7")
        ]

    def test_a_level_that_no_part_compares_is_left_out_once_for_each_side(self) -> None:
        planned = built(Mixed(parts={"one": Cwd(levels=1), "other": Pkd(levels=2)})).plan()
        left_out = [each for each in planned if not each.is_distilled]
        assert [each.student.name for each in planned if each.student and each.is_distilled] == ["P4", "P5"]
        assert sorted((each.student or each.teacher).name for each in left_out if each.student or each.teacher) == [
            "P6",
            "P6",
            "P7",
            "P7",
        ]

    def test_advice_names_the_part(self) -> None:
        mixed = built(Mixed(parts={"focal": Fgd(temperature=1e-3), "pattern": Pkd()}))
        torch.manual_seed(0)
        maps = [torch.randn(2, 64, 8, 8) * torch.rand(64, 1, 1) for _ in LEVELS]
        (advice,) = mixed.advice(View(lambda: maps))
        assert advice.startswith("part focal: at temperature 0.001 ")


class Needy(Pkd):
    def unmet(self, student: AnyDetector, teacher: AnyDetector | None) -> Iterator[Unmet]:
        yield Unmet("student", f"{self.weight:g} is not enough")


class Picturing(Pkd):
    @property
    def pictures(self) -> Mapping[str, int | None]:
        return {"depth": int(self.weight) or None}


class TestSpec:
    def test_what_any_part_needs_the_mixture_needs_once(self) -> None:
        parts = {"one": Needy(weight=1), "same": Needy(weight=1), "two": Needy(weight=2), "all": Pkd()}
        found = [*Mixed.model_construct(parts=parts).unmet(RetinaNet(), None)]
        assert [each.message for each in found] == ["1 is not enough", "2 is not enough"]

    def test_published_values_are_those_of_the_parts_and_shares_are_kept(self) -> None:
        mixed = Mixed(scale=0.1, parts={"a": Fgd(alpha=7, scale=0.5), "b": Pkd(weight=1)})
        published = mixed.published(FasterRcnn(), FasterRcnn())
        expected = Fgd().published(FasterRcnn(), FasterRcnn()).model_copy(update={"scale": 0.5})
        assert published == Mixed(parts={"a": expected, "b": Pkd(weight=6)})

    def test_weighs_nothing_if_all_parts_do(self) -> None:
        assert Mixed(scale=0).weighs_nothing
        assert Mixed(parts={"a": Pkd(weight=0), "b": Mgd(scale=0)}).weighs_nothing
        assert not Mixed(parts={"a": Pkd(weight=0), "b": Mgd()}).weighs_nothing

    def test_a_sweep_sets_the_fields_of_a_part(self) -> None:
        parts = {"focal": {"type": "fgd", "scale": 0.2}, "pattern": {"type": "pkd"}}
        base = {
            "kind": "distill",
            "student": TINY_DETECTOR,
            "teacher": {"checkpoint": "/teacher.pt"},
            "method": {"type": "mixed", "parts": parts},
            **TINY,
        }
        sweep = SweepSpec.model_validate({"name": "shares", "space": "mixed-scales", "base": base})
        trial = sweep.trial({"method.parts.pattern.scale": 3, "method.parts.focal.alpha": 0.5}, seed=0)
        assert isinstance(trial, DistillSpec)
        assert trial.method == Mixed(parts={"focal": Fgd(scale=0.2, alpha=0.5), "pattern": Pkd(scale=3)})

    def test_its_pictures_are_those_of_all_parts_as_long_as_any_part_compares_them(self) -> None:
        parts = {"one": Picturing(weight=3), "two": Picturing(weight=7), "plain": Pkd()}
        assert Mixed.model_construct(parts=parts).pictures == {"depth": 7}
        forever = {**parts, "three": Picturing(weight=0)}
        assert Mixed.model_construct(parts=forever).pictures == {"depth": None}

    def test_its_spaces_search_the_scale_of_each_part(self) -> None:
        spaces = Mixed.spaces(Mixed(parts={"a": Pkd(), "b": Mgd()}))
        assert set(spaces["mixed-scales"]) == {"method.parts.a.scale", "method.parts.b.scale"}

    @pytest.mark.parametrize(
        "parts", [{}, {"A": {"type": "pkd"}}, {"a.b": {"type": "pkd"}}, {"a": {"type": "mixed"}}, {"a": {"type": "x"}}]
    )
    def test_no_parts_unusable_names_and_mixtures_of_mixtures_are_refused(self, parts: Mapping[str, object]) -> None:
        with pytest.raises(ValueError, match="parts"):
            Mixed.model_validate({"parts": parts})
