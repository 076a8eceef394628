"""The scale that finds itself, the advice about an unbalanced one, and which specs get which."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fgd_core.detectors.weights.checkpoint import read_checkpoint
from fgd_core.methods.base import Moment
from fgd_core.runs import execute
from fgd_core.spec.event_text import describe
from fgd_core.spec.events import MetricsLogged, ScaleChosen, Warned
from fgd_core.spec.jobs import JOB_SPEC
from fgd_core.spec.kinds.chain import ChainSpec
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.methods import METHOD_TYPES
from fgd_core.spec.methods.fgd import Fgd
from fgd_core.spec.methods.single import RECOMMENDED
from fgd_core.training.auto_scale import TARGET, AutoScale, advise_scale
from service.catalogue.recipes import recipes
from tests.library import RecordingContext, distill_spec, train_spec
from tests.tiers import slow

TRAINING = {"epochs": 3, "batch_size": 2, "evaluate_every": 3}


def after(losses: list[tuple[float, float]], *, steps: int = 60) -> AutoScale:
    """Return the search of a scale after these losses of task and distillation."""
    scale = AutoScale()
    for step, (task, distilled) in enumerate(losses):
        scale(torch.tensor(float(task)), torch.tensor(float(distilled)), Moment(step, steps))
    return scale


def next_factor(scale: AutoScale, task: float, distilled: float, step: int) -> float:
    factor: Tensor = scale(torch.tensor(float(task)), torch.tensor(float(distilled)), Moment(step, 60))
    return factor.item()


class TestSearch:
    def test_makes_the_geometric_mean_of_the_ratio_the_target(self) -> None:
        scale = after([(1, 4), (2, 2), (1, 2)])
        assert [news.steps for news in scale.take_news()] == [3]
        assert next_factor(scale, 1, 100, 3) == pytest.approx(TARGET / 2)
        assert scale.take_news() == []

    def test_uses_what_it_has_seen_until_then(self) -> None:
        scale = AutoScale()
        assert next_factor(scale, 1, 4, 0) == pytest.approx(TARGET / 4)
        assert next_factor(scale, 1, 1, 1) == pytest.approx(TARGET / 2)

    @pytest.mark.parametrize("unusable", [0.0, float("nan"), float("inf")])
    def test_leaves_out_steps_without_a_ratio(self, unusable: float) -> None:
        scale = after([(1, unusable), (1, 4)])
        assert next_factor(scale, 1, 4, 2) == pytest.approx(TARGET / 4)

    def test_goes_on_until_there_is_a_ratio(self) -> None:
        scale = after([(1, 0)] * 4)
        assert scale.take_news() == []
        assert next_factor(scale, 1, 2, 4) == pytest.approx(TARGET / 2)
        assert [news.steps for news in scale.take_news()] == [5]

    def test_is_not_repeated_in_a_longer_training(self) -> None:
        scale = after([(1, 4)] * 3)
        assert scale(torch.tensor(1.0), torch.tensor(1.0), Moment(3, 6000)).item() == pytest.approx(TARGET / 4)

    def test_continues_from_its_state(self) -> None:
        first, again = after([(1, 4), (1, 3)]), AutoScale()
        again.load_state_dict(first.state_dict())
        assert next_factor(first, 1, 2, 2) == next_factor(again, 1, 2, 2)
        assert first.take_news() == again.take_news()


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    assert execute(train_spec(), RecordingContext(folder)).outcome == "succeeded"
    return folder / "checkpoints/best.pt"


def spec_of(teacher: Path, **fields: Any) -> DistillSpec:
    common = {"method": {"scale": "auto"}, "training": TRAINING, "teacher": {"gate": "keys"}}
    return distill_spec(teacher, **(common | fields))


def column(context: RecordingContext, name: str) -> list[float]:
    return [value for event in context.of(MetricsLogged) for value in event.values[name] if value is not None]


RESUMES = slow("tests/training/test_auto_scale.py::TestRun::test_resumes_to_the_bit[1]")


class TestRun:
    def test_balances_distillation_and_task(self, teacher: Path, tmp_path: Path) -> None:
        context = RecordingContext(tmp_path)
        assert execute(spec_of(teacher, method={"type": "mgd", "scale": "auto"}), context).outcome == "succeeded"
        (chosen,) = context.of(ScaleChosen)
        assert chosen.scale == pytest.approx(TARGET / chosen.ratio)
        scales = column(context, "distill/scale")
        assert scales[chosen.steps :] == pytest.approx([chosen.scale] * (len(scales) - chosen.steps))
        task = sum(column(context, name)[0] for name in ("task/classification", "task/box"))
        assert column(context, "distill/total")[0] == pytest.approx(TARGET * task, rel=1e-5)
        assert f"scale found in {chosen.steps} steps: {chosen.scale:.3g}, because" in (describe(chosen) or "")

    @pytest.mark.parametrize("stop_after_steps", [1, pytest.param(4, marks=RESUMES)])
    def test_resumes_to_the_bit(self, teacher: Path, tmp_path: Path, stop_after_steps: int) -> None:
        training = TRAINING | {"epochs": 4, "evaluate_every": 4}
        whole, parts = tmp_path / "whole", tmp_path / "parts"
        execute(spec_of(teacher, training=training), RecordingContext(whole))
        stopped = RecordingContext(parts, stop_after_steps=stop_after_steps)
        assert execute(spec_of(teacher, training=training), stopped).outcome == "stopped"
        resumed = RecordingContext(parts)
        assert execute(spec_of(teacher, training=training), resumed).outcome == "succeeded"
        assert len(stopped.of(ScaleChosen)) + len(resumed.of(ScaleChosen)) == 1
        (one, _), (other, _) = (read_checkpoint(folder / "checkpoints/last.pt") for folder in (whole, parts))
        assert all(torch.equal(one.state[name], other.state[name]) for name in one.state)

    def test_with_several_teachers_finds_a_scale_for_each(self, teacher: Path, tmp_path: Path) -> None:
        context = RecordingContext(tmp_path)
        more = [{"checkpoint": str(teacher), "gate": "keys", "weight": 3}]
        assert execute(spec_of(teacher, more_teachers=more), context).outcome == "succeeded"
        assert [news.teacher for news in context.of(ScaleChosen)] == [1, 2]

    def test_with_a_scale_of_its_own_has_no_such_state(self, teacher: Path, tmp_path: Path) -> None:
        context = RecordingContext(tmp_path)
        execute(spec_of(teacher, method={"scale": 0.05}), context)
        _, training = read_checkpoint(tmp_path / "checkpoints/last.pt")
        assert training is not None and not [name for name in training["distiller"] if "auto" in name]
        assert not any("distill/scale" in event.values for event in context.of(MetricsLogged))


class TestAdvice:
    @pytest.mark.parametrize(
        ("ratio", "advice"),
        [(0.05, "multiply method.scale by about 40"), (20, "divide method.scale by about 10")],
    )
    def test_names_the_ratio_and_the_cure(self, ratio: float, advice: str) -> None:
        found = advise_scale({"task/boxes": 1.0, "task/classification": 1.0, "distill/total": 2 * ratio})
        assert found is not None and f"is {ratio:g} times the task loss" in found
        assert found.endswith(f"set method.scale to auto, or {advice}")

    @pytest.mark.parametrize("ratio", [0.11, 0.5, 1.9])
    def test_is_not_given_within_bounds(self, ratio: float) -> None:
        assert advise_scale({"task/classification": 1.0, "distill/total": ratio}) is None

    def test_is_not_given_without_distillation(self) -> None:
        assert advise_scale({"task/classification": 1.0}) is None
        assert advise_scale({"task/classification": 1.0, "distill/total": 0.0}) is None

    def test_is_given_once_in_a_run_and_not_with_a_schedule(self, teacher: Path, tmp_path: Path) -> None:
        for name, schedule, expected in (("plain", None, 1), ("scheduled", {"decay": "linear"}, 0)):
            context = RecordingContext(tmp_path / name)
            method = {"scale": 1e-7, "scale_schedule": schedule}
            execute(spec_of(teacher, method=method), context)
            found = [event for event in context.of(Warned) if event.code == "distillation_unbalanced"]
            assert len(found) == expected
            assert all("in epoch 1 the distillation loss is" in each.message for each in found)


STUDENT = {"type": "retinanet"}
JOB: dict[str, Any] = {
    "kind": "distill",
    "name": "a",
    "student": STUDENT,
    "teacher": {"checkpoint": "/t.pt"},
    "data": {"type": "shapes"},
    "method": {},
}


def scale_of(**changes: Any) -> float | str:
    spec = JOB_SPEC.validate_python(JOB | changes)
    assert isinstance(spec, DistillSpec)
    return spec.method.scale


class TestDefault:
    def test_is_the_published_scale_for_a_recipe(self) -> None:
        assert scale_of() == 1
        assert scale_of(student={"type": "retinanet", "backbone": {"name": "resnet101"}}) == 1

    @pytest.mark.parametrize(
        "changes",
        [
            {"student": {"type": "cascade_rcnn"}},
            {"method": {"type": "fitnet"}},
            {"input": {"shorter_px": 400}},
            {"student": {**STUDENT, "backbone": {"name": "resnet18"}}},
            {"student": {**STUDENT, "backbone": {"name": "resnet50", "stem_width": 32}}},
            {"student": {**STUDENT, "fpn_width": 64}},
        ],
        ids=str,
    )
    def test_is_found_for_other_pairs(self, changes: dict[str, Any]) -> None:
        assert scale_of(**changes) == "auto"

    def test_leaves_a_scale_that_is_named(self) -> None:
        assert scale_of(method={"type": "fitnet", "scale": 1.0}) == 1
        assert scale_of(method={"scale": "auto"}) == "auto"

    def test_keeps_what_is_stored(self) -> None:
        for scale in (1.0, "auto"):
            spec = JOB_SPEC.validate_python(JOB | {"method": {"type": "pkd", "scale": scale}})
            assert JOB_SPEC.validate_python(spec.model_dump(mode="json")) == spec

    def test_holds_for_the_stages_of_a_chain(self) -> None:
        stages = [{"teacher": JOB["teacher"]}, {"teacher": JOB["teacher"], "method": {"type": "fitnet"}}]
        job = {name: value for name, value in JOB.items() if name != "teacher"}
        spec = JOB_SPEC.validate_python(job | {"kind": "chain", "stages": stages})
        assert isinstance(spec, ChainSpec)
        assert spec.method.scale == 1 and spec.stages[1].method is not None and spec.stages[1].method.scale == "auto"

    def test_is_one_in_a_sweep(self) -> None:
        base = JOB | {"method": {"type": "fitnet"}}
        spec = JOB_SPEC.validate_python({"kind": "sweep", "name": "s", "base": base, "space": "fitnet-scale"})
        assert isinstance(spec, SweepSpec) and isinstance(spec.base, DistillSpec)
        assert spec.base.method.scale == 1

    @pytest.mark.parametrize(
        ("changes", "temperature"),
        [
            ({}, 0.5),
            ({"input": {"shorter_px": 400}}, "auto"),
            ({"input": {"shorter_px": 400}, "method": {"scale": 0.2}}, "auto"),
            ({"input": {"shorter_px": 400}, "method": {"temperature": 0.5}}, 0.5),
        ],
        ids=["recipe", "other size", "named scale", "named temperature"],
    )
    def test_comes_with_a_temperature_that_suits_the_teacher(
        self, changes: dict[str, Any], temperature: float | str
    ) -> None:
        job = JOB_SPEC.validate_python(JOB | changes)
        sweep = JOB_SPEC.validate_python({"kind": "sweep", "name": "s", "base": JOB | changes, "space": "fgd-scale"})
        assert isinstance(job, DistillSpec) and isinstance(sweep, SweepSpec)
        trial = sweep.trial({"method.type": "fgd"}, seed=0)
        assert isinstance(trial, DistillSpec)
        for method in (job.method, trial.method):
            assert isinstance(method, Fgd)
            assert method.temperature == temperature

    def test_comes_with_a_temperature_where_a_sweep_changes_the_method(self) -> None:
        base = JOB | {"input": {"shorter_px": 400}, "method": {"type": "pkd"}}
        sweep = JOB_SPEC.validate_python({"kind": "sweep", "name": "s", "base": base, "space": "pkd-scale"})
        assert isinstance(sweep, SweepSpec)
        trial = sweep.trial({"method.type": "fgd"}, seed=0)
        assert isinstance(trial, DistillSpec) and isinstance(trial.method, Fgd)
        assert (trial.method.scale, trial.method.temperature) == (1.0, "auto")

    def test_is_found_in_a_sweep_over_forms(self) -> None:
        """Forms of the loss are of different sizes, so at one scale only the size would be compared."""
        base = JOB | {"method": {"type": "composed"}}
        spec = JOB_SPEC.validate_python({"kind": "sweep", "name": "s", "base": base, "space": "composed-form"})
        assert isinstance(spec, SweepSpec) and isinstance(spec.base, DistillSpec)
        assert spec.base.method.scale == "auto"

    def test_comes_with_the_recommended_method_where_a_job_names_none(self) -> None:
        job = {name: value for name, value in JOB.items() if name != "method"} | {"input": {"shorter_px": 400}}
        stages = [{"teacher": job["teacher"]}] * 2
        chain = {name: value for name, value in job.items() if name != "teacher"} | {"kind": "chain", "stages": stages}
        for each in (job, chain):
            spec = JOB_SPEC.validate_python(each)
            assert isinstance(spec, DistillSpec | ChainSpec) and spec.method == RECOMMENDED
        for space, method in (("methods", RECOMMENDED.type), ("fgd-scale", "fgd"), ("pkd-scale", "pkd")):
            sweep = JOB_SPEC.validate_python({"kind": "sweep", "name": "s", "base": job, "space": space})
            assert isinstance(sweep, SweepSpec) and isinstance(sweep.base, DistillSpec)
            assert (sweep.base.method.name(), sweep.base.method.scale) == (method, 1.0)
            assert sweep.dimensions()

    def test_is_refused_for_a_part_by_name(self) -> None:
        parts = {"features": {"type": "pkd", "scale": "auto"}}
        with pytest.raises(ValueError, match="the scale of pkd is auto, but it is a part of another method"):
            scale_of(method={"type": "mixed", "parts": parts})

    def test_knows_the_recipes(self) -> None:
        found: dict[str, set[str]] = {}
        for recipe in recipes().values():
            method = recipe.spec["method"].get("type", "fgd")
            found.setdefault(method, set()).add(recipe.spec["student"]["type"])
            spec = JOB_SPEC.validate_python(recipe.spec)
            assert isinstance(spec, DistillSpec) and spec.method.scale == 1
        assert found == {
            name: {*kind.students_of_recipes} for name, kind in METHOD_TYPES.items() if kind.students_of_recipes
        }
