"""Invalid sweeps are refused: all faults are reported at once, each with its field and the cure."""

import json
from typing import Any

import pytest
from control_plane import ControlPlane
from sweeps import SPACE, base, distill_base, sweep_spec

from fgd_core.data.shapes import CATEGORIES, SCENES
from fgd_core.spec.backbones import MobileNet
from fgd_core.spec.data import SHAPE_NAMES
from fgd_core.spec.detectors import RetinaNet
from fgd_core.spec.jobs import JOB_SPEC
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.methods import METHOD_TYPES, PRESETS, AnyMethod
from fgd_core.spec.training import AdamW
from service.jobs.admission import reasons, trial_reasons
from service.jobs.admission_facts import Facts, NeededJob
from service.jobs.sweep_admission import EarlierSweep
from service.jobs.sweep_space import MAX_VALUES, as_stored

RATE = "training.optimizer.learning_rate"


def parsed(spec: dict[str, Any]) -> SweepSpec:
    sweep = JOB_SPEC.validate_python(spec)
    assert isinstance(sweep, SweepSpec)
    return sweep


TEACHER = {"teacher": NeededJob("train", "succeeded", frozenset({"best.pt"}))}


def refused(spec: dict[str, Any], **facts: Any) -> dict[str, tuple[str, str]]:
    """{loc: (code, message)}"""
    found = reasons(parsed(spec), Facts(jobs=TEACHER, **facts))
    assert len({(each.loc, each.message) for each in found}) == len(found)
    return {each.loc: (each.code, each.message) for each in found}


def of_space(space: Any, **changes: Any) -> dict[str, tuple[str, str]]:
    return refused(sweep_spec(space=space, **changes))


def uniform(low: float, high: float, **others: Any) -> dict[str, Any]:
    return {"type": "uniform", "low": low, "high": high} | others


def integers(low: int, high: int, **others: Any) -> dict[str, Any]:
    return {"type": "integers", "low": low, "high": high} | others


def choice(*values: Any, **others: Any) -> dict[str, Any]:
    return {"type": "choice", "values": list(values)} | others


def is_suited(method: AnyMethod) -> bool:
    """Return whether a student of type retinanet can use the method with plain data."""
    return not method.pictures and not any(method.unmet(RetinaNet(), None))


SUITED_PRESETS = [name for name, method in PRESETS.items() if is_suited(METHOD_TYPES[method or "fgd"]())]

NUMBERS = {"method.alpha": {"type": "log_uniform", "low": 1e-4, "high": 1e-2}}


class TestValidSweeps:
    def test_the_default_sweep_is_accepted(self) -> None:
        assert refused(sweep_spec()) == {}

    @pytest.mark.parametrize("space", SUITED_PRESETS)
    def test_presets_are_accepted_for_a_distillation_with_their_method(self, space: str) -> None:
        method = {"type": PRESETS[space] or "fgd"}
        assert refused(sweep_spec(base=distill_base(method=method), space=space)) == {}

    def test_fields_of_all_depths_and_kinds_are_accepted(self) -> None:
        space = {
            "training.batch_size": integers(1, 40),
            "training.optimizer": choice({"type": "sgd"}, {"type": "adamw"}),
            "detector.backbone.name": choice("resnet18", "resnet34"),
            "input.flip_probability": uniform(0, 1, when={"field": "training.batch_size", "is_in": [8]}),
        }
        assert of_space(space) == {}


class TestFields:
    def test_an_empty_space_is_refused(self) -> None:
        assert "name at least one field" in of_space({})["space"][1]

    @pytest.mark.parametrize(
        ("path", "said"),
        [
            ("training.optimizer.learning_rat", "did you mean 'learning_rate'?"),
            ("trainin.epochs", "did you mean 'training'?"),
            ("training.epochs.most", "'training.epochs' is 3 in the base and has no fields"),
            ("resources.cpus", "'resources' is the same for every trial"),
            ("seed", "'seed' is the same for every trial"),
            ("training.optimizer.betas", "there is no field 'betas' in 'training.optimizer'"),
        ],
    )
    def test_a_field_that_the_base_lacks_is_refused(self, path: str, said: str) -> None:
        code, message = of_space({path: uniform(0.1, 0.2)})[f"space.{path}"]
        assert code == "unknown_field"
        assert said in message

    def test_a_part_of_a_mixture_that_the_base_lacks_is_refused(self) -> None:
        mixed = distill_base(method={"type": "mixed", "parts": {"pattern": {"type": "pkd"}}})
        for path, said in (
            ("method.parts.patern.scale", "did you mean 'pattern'?"),
            ("method.parts.pattern.alpha", "there is no field 'alpha' in 'method.parts.pattern'"),
        ):
            found = refused(sweep_spec(base=mixed, space={path: uniform(0.1, 0.2)}))[f"space.{path}"]
            assert found[0] == "unknown_field" and said in found[1]

    def test_a_field_of_the_method_needs_a_distillation(self) -> None:
        assert "make the base a distill job" in of_space({"method.alpha": uniform(0, 1)})["space.method.alpha"][1]
        assert "make the base a distill job" in of_space("fgd-weights")["space"][1]

    def test_files_and_checkpoints_are_the_same_for_every_trial(self) -> None:
        choices = choice("job:teacher/best", "job:other/best")
        spec = sweep_spec(base=distill_base(), space={"teacher.checkpoint": choices})
        assert refused(spec)["space.teacher.checkpoint.values.1"][0] == "other_file"
        coco = choice({"type": "coco", **{split: {"images": "/", "annotations": "/x"} for split in ("train", "val")}})
        assert of_space({"data": coco})["space.data.values.0"][0] == "other_file"


class TestValues:
    def test_both_ends_of_a_range_and_each_choice_are_checked(self) -> None:
        assert list(of_space({RATE: uniform(-1, 1)})) == [f"space.{RATE}.low"]
        found = of_space({"training.batch_size": choice(8, 0, "many"), "input.flip_probability": uniform(0.5, 1.5)})
        assert list(found) == [
            "space.training.batch_size.values.1",
            "space.training.batch_size.values.2",
            "space.input.flip_probability.high",
        ]
        assert found["space.input.flip_probability.high"][1].endswith("less than or equal to 1, and not 1.5")

    def test_an_integer_field_cannot_have_a_range_of_floats(self) -> None:
        code, message = of_space({"training.batch_size": uniform(1, 8)})["space.training.batch_size"]
        assert code == "int_from_float"
        assert "integer" in message

    def test_a_choice_that_contradicts_the_base_names_the_field(self) -> None:
        training = {"batch_size": 8, "epochs": 3, "optimizer": {"type": "sgd", "momentum": 0.8}}
        found = of_space({"training.optimizer.type": choice("sgd", "adamw")}, base=base(training=training))
        message = found["space.training.optimizer.type.values.1"][1]
        assert message.startswith("training.optimizer.momentum: there is no field 'momentum' here")

    def test_text_that_would_be_read_as_a_number_is_refused(self) -> None:
        for value in ("8", 8.0):
            found = of_space({"training.batch_size": choice(value)})
            assert "would be read as 8; write that" in found["space.training.batch_size.values.0"][1]

    def test_a_fault_of_the_base_is_reported_once(self) -> None:
        found = refused(sweep_spec(base=base(training={"batch_size": 100, "epochs": 3})))
        assert list(found) == ["base.training.batch_size"]

    def test_a_fault_of_the_whole_trial_is_reported(self) -> None:
        found = of_space({"training.batch_size": integers(8, 80)})
        assert found["space.training.batch_size.high"][0] == "batch_too_large"

    @pytest.mark.parametrize(
        ("dimension", "where", "code"),
        [
            ({"type": "log_uniform", "low": 0, "high": 1}, ".low", "log_of_zero"),
            (integers(0, 4, log=True), ".low", "log_of_zero"),
            (uniform(1, 1), "", "empty_range"),
            (integers(4, 2), "", "empty_range"),
            (choice(), ".values", "no_values"),
            (choice(8, 4, 8), ".values", "duplicate_values"),
        ],
    )
    def test_an_invalid_dimension_is_refused(self, dimension: dict[str, Any], where: str, code: str) -> None:
        found = of_space({"training.batch_size": dimension})
        assert [(loc, reason[0]) for loc, reason in found.items()] == [(f"space.training.batch_size{where}", code)]

    def test_too_many_choices_are_refused(self) -> None:
        found = of_space({"data.seed": choice(*range(MAX_VALUES + 1))})
        assert found["space"][0] == "too_many_values"


class TestKinds:
    """Parts of a spec that have several kinds, which `type` or `name` selects."""

    NAME = "detector.backbone.name"
    WIDTH = "detector.backbone.width_factor"

    def test_defaults_of_the_base_do_not_conflict_with_another_kind(self) -> None:
        space = {
            "detector.type": choice("retinanet", "fcos", "faster_rcnn"),
            self.NAME: choice("resnet18", "mobilenet_v3_small"),
            "training.optimizer.type": choice("sgd", "adamw"),
        }
        assert of_space(space) == {}

    def test_a_field_of_one_kind_is_searched_under_that_kind_only(self) -> None:
        only_there = {"field": self.NAME, "is_in": ["mobilenet_v3_small"]}
        name = choice("resnet18", "mobilenet_v3_small")
        assert of_space({self.NAME: name, self.WIDTH: uniform(0.5, 1, when=only_there)}) == {}
        everywhere = of_space({self.NAME: name, self.WIDTH: uniform(0.5, 1)})
        assert "there is no field 'width_factor' here" in everywhere[f"space.{self.WIDTH}.low"][1]
        alone = of_space({self.WIDTH: uniform(0.5, 1)})
        assert "there is no field 'width_factor' in 'detector.backbone'" in alone[f"space.{self.WIDTH}"][1]

    def test_an_unknown_kind_gets_a_suggestion(self) -> None:
        found = of_space({self.NAME: choice("resnet18", "mobilenet_v3_smal")})
        assert "did you mean 'mobilenet_v3_small'?" in found[f"space.{self.NAME}.values.1"][1]

    def test_a_trial_of_another_kind_has_the_defaults_of_that_kind(self) -> None:
        space = {self.NAME: choice("resnet18", "mobilenet_v3_small")}
        values = {self.NAME: "mobilenet_v3_small", self.WIDTH: 0.5, "training.optimizer.type": "adamw"}
        sweep = parsed(sweep_spec(space=space))
        assert trial_reasons(sweep, values) == []
        trial = sweep.trial(values, seed=1)
        assert trial.detector.backbone == MobileNet(name="mobilenet_v3_small", width_factor=0.5)
        assert trial.training.optimizer == AdamW()
        assert as_stored(sweep.base, values) == values


class TestConditions:
    @pytest.mark.parametrize(
        ("when", "where", "code"),
        [
            ({"field": "training.epoch", "is_in": [3]}, "field", "unknown_field"),
            ({"field": RATE, "is_in": [0.1]}, "field", "circle"),
            ({"field": "training.epochs", "is_in": [4]}, "field", "never_holds"),
            ({"field": "training.batch_size", "is_in": [3, 5]}, "is_in", "never_holds"),
        ],
    )
    def test_a_condition_that_never_holds_is_refused(self, when: dict[str, Any], where: str, code: str) -> None:
        found = of_space({RATE: uniform(0.1, 0.2, when=when), "training.batch_size": choice(4, 8)})
        assert [(loc, reason[0]) for loc, reason in found.items()] == [(f"space.{RATE}.when.{where}", code)]

    def test_conditions_in_a_circle_are_refused(self) -> None:
        space = {
            "training.batch_size": choice(4, 8, when={"field": "training.epochs", "is_in": [2]}),
            "training.epochs": choice(2, 3, when={"field": "training.batch_size", "is_in": [4]}),
        }
        found = of_space(space, scheduler={"type": "none"})
        assert [reason[0] for reason in found.values()] == ["circle"]

    def test_a_condition_that_the_base_meets_is_accepted(self) -> None:
        assert of_space({RATE: uniform(0.1, 0.2, when={"field": "training.epochs", "is_in": [3]})}) == {}


class TestSearchers:
    def test_a_grid_over_a_continuous_range_is_refused(self) -> None:
        code, message = refused(sweep_spec(searcher={"type": "grid"}))[f"space.{RATE}"]
        assert code == "grid_over_range"
        assert "choice or integers" in message

    def test_a_huge_grid_is_refused(self) -> None:
        found = of_space({"data.seed": integers(0, 10**9)}, searcher={"type": "grid"})
        assert found["searcher.type"][0] == "grid_too_large"

    @pytest.mark.parametrize("searcher", ["quasi_random", "cma_es", "gaussian_process"])
    def test_a_searcher_of_numbers_needs_a_number(self, searcher: str) -> None:
        found = of_space({"training.batch_size": choice(4, 8)}, searcher={"type": searcher})
        assert found["searcher.type"][0] == "no_numbers"

    def test_several_objectives_need_a_searcher_that_supports_them(self) -> None:
        both = [{"metric": "ap"}, {"metric": "images_per_s"}]
        spec = sweep_spec(searcher={"type": "cma_es"}, objectives=both, scheduler={"type": "none"})
        assert refused(spec)["searcher.type"][0] == "one_objective_only"

    def test_a_searcher_of_tune_must_be_in_the_setting(self) -> None:
        spec = sweep_spec(searcher={"type": "tune", "name": "ray.tune.search.HyperOptSearch"})
        allowed = ("ray.tune.search.hyperopt.HyperOptSearch",)
        code, message = refused(spec, tune_searchers=allowed)["searcher.name"]
        assert code == "searcher_not_allowed"
        assert message.endswith(f"FGD_TUNE_SEARCHERS; did you mean {allowed[0]!r}?")
        assert not refused(sweep_spec(searcher={"type": "tune", "name": allowed[0]}), tune_searchers=allowed)


class TestObjectives:
    def test_an_unknown_metric_gets_a_suggestion(self) -> None:
        code, message = refused(sweep_spec(objectives=[{"metric": "ap500"}]))["objectives.0.metric"]
        assert code == "unknown_metric"
        assert "did you mean 'ap50'?" in message

    def test_an_unknown_class_of_the_shapes_gets_a_suggestion(self) -> None:
        code, message = refused(sweep_spec(objectives=[{"metric": "class50:stra"}]))["objectives.0.metric"]
        assert code == "unknown_class"
        assert "did you mean 'star'?" in message
        assert refused(sweep_spec(objectives=[{"metric": "class:star"}])) == {}

    def test_the_spec_and_the_data_name_the_same_shapes(self) -> None:
        for scene, names in SHAPE_NAMES.items():
            assert tuple(category.name for category in CATEGORIES[: SCENES[scene].num_classes]) == names

    def test_a_metric_of_masks_needs_a_detector_of_masks(self) -> None:
        code, message = refused(sweep_spec(objectives=[{"metric": "mask_ap50"}]))["objectives.0.metric"]
        assert code == "no_masks"
        assert "retinanet has no masks" in message
        assert "'ap50'" in message
        masked = base(detector={"type": "mask_rcnn"})
        assert refused(sweep_spec(base=masked, objectives=[{"metric": "mask_ap50"}])) == {}
        assert refused(sweep_spec(base=masked, objectives=[{"metric": "masks"}]))["objectives.0.metric"][0] == (
            "unknown_metric"
        )

    def test_a_metric_of_keypoints_needs_a_detector_of_keypoints(self) -> None:
        code, message = refused(sweep_spec(objectives=[{"metric": "keypoint_ap"}]))["objectives.0.metric"]
        assert code == "no_keypoints"
        assert "retinanet has no keypoints" in message and "or the detector keypoint_rcnn" in message
        keyed = base(detector={"type": "keypoint_rcnn", "num_keypoints": 5})
        assert refused(sweep_spec(base=keyed, objectives=[{"metric": "keypoint_ap"}])) == {}
        assert (
            refused(sweep_spec(base=keyed, objectives=[{"metric": "mask_ap"}]))["objectives.0.metric"][0] == "no_masks"
        )
        sigmas = refused(sweep_spec(base=keyed, objectives=[{"metric": "keypoint_sigmas"}]))
        assert sigmas["objectives.0.metric"][0] == "unknown_metric"

    def test_several_objectives_need_a_scheduler_that_supports_them(self) -> None:
        both = [{"metric": "ap"}, {"metric": "num_parameters", "direction": "minimize"}]
        assert refused(sweep_spec(objectives=both))["scheduler.type"][0] == "one_objective_only"
        assert refused(sweep_spec(objectives=both, scheduler={"type": "none"})) == {}

    def test_an_objective_known_only_at_the_end_needs_no_scheduler(self) -> None:
        found = refused(sweep_spec(objectives=[{"metric": "images_per_s"}]))
        assert found["scheduler.type"][0] == "known_too_late"

    def test_missing_and_duplicate_objectives_are_refused(self) -> None:
        assert refused(sweep_spec(objectives=[]))["objectives"][0] == "no_objective"
        twice = sweep_spec(objectives=[{}, {}], scheduler={"type": "none"})
        assert refused(twice)["objectives.1.metric"][0] == "duplicate_objective"


class TestSchedulers:
    def test_a_population_can_change_fields_of_the_method_only(self) -> None:
        spec = sweep_spec(base=distill_base(), space=SPACE | NUMBERS, scheduler={"type": "population_based"})
        assert list(refused(spec)) == [f"space.{RATE}"]

    def test_a_population_cannot_change_between_an_automatic_scale_and_numbers(self) -> None:
        common = {"base": distill_base(), "scheduler": {"type": "population_based"}}
        code, message = of_space({"method.scale": choice("auto", 0.5)}, **common)["space.method.scale"]
        assert code == "not_in_flight" and "between auto and a number" in message
        assert of_space({"method.scale": choice(0.25, 0.5)}, **common) == {}

    def test_a_population_needs_no_grid_and_fits_the_budget(self) -> None:
        spec = sweep_spec(
            base=distill_base(),
            space={"method.mask": choice("geometric", "official")},
            scheduler={"type": "population_based", "population": 8},
            searcher={"type": "grid"},
            budget={"trials": 7},
        )
        assert {loc: reason[0] for loc, reason in refused(spec).items()} == {
            "searcher.type": "grid_with_population",
            "budget.trials": "below_population",
        }

    @pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median"])
    def test_a_first_rung_outside_the_training_is_refused(self, scheduler: str) -> None:
        late = sweep_spec(scheduler={"type": scheduler, "grace_epochs": 4})
        assert refused(late)["scheduler.grace_epochs"][0] == "beyond_training"
        training = {"batch_size": 8, "epochs": 6, "evaluate_every": 2}
        unseen = sweep_spec(base=base(training=training), scheduler={"type": scheduler, "grace_epochs": 3})
        assert refused(unseen)["scheduler.grace_epochs"][0] == "not_evaluated"

    def test_a_budget_below_one_rung_is_refused(self) -> None:
        spec = sweep_spec(scheduler={"type": "asha", "grace_epochs": 3}, budget={"epochs": 2})
        code, message = refused(spec)["budget.epochs"]
        assert code == "below_one_rung"
        assert "before the first rung at epoch 3" in message

    def test_rungs_need_trials_of_equal_length(self) -> None:
        space = {"training.epochs": integers(1, 3)}
        assert of_space(space)["space.training.epochs"][0] == "lengths_differ"
        assert of_space(space, scheduler={"type": "median"})["space.training.epochs"][0] == "lengths_differ"
        assert of_space(space, scheduler={"type": "none"}) == {}


class TestBudget:
    def test_a_constraint_needs_fresh_seeds_baselines_and_one_objective(self) -> None:
        constrained = sweep_spec(base=distill_base(), constraint={"type": "no_class_loses"})
        assert refused(constrained)["seeds"][0] == "too_few_seeds"
        assert not refused(constrained | {"seeds": 3})
        assert refused(constrained | {"seeds": 3, "baselines": False})["baselines"][0] == "no_baseline"
        two = {"objectives": [{"metric": "ap"}, {"metric": "ap50"}], "scheduler": {"type": "none"}}
        assert refused(constrained | {"seeds": 3} | two)["objectives"][0] == "several_objectives"
        assert refused(constrained | {"seeds": 3, "base": base()})["constraint"][0] == "no_distillation"

    def test_more_finalists_than_trials_are_refused(self) -> None:
        spec = sweep_spec(budget={"trials": 2}, finalists=3)
        assert refused(spec) == {}
        assert refused(spec | {"seeds": 2})["finalists"][0] == "more_than_trials"

    def test_a_budget_of_gpu_hours_needs_gpus(self) -> None:
        assert refused(sweep_spec(budget={"gpu_hours": 1}))["budget.gpu_hours"][0] == "no_gpus"


class TestEarlierSweeps:
    def earlier(self, **changes: Any) -> dict[str, Any]:
        job = {"kind": "sweep", "project": "default", "spec": parsed(sweep_spec()).model_dump(mode="json")}
        return {"earlier": {"abc": EarlierSweep(**(job | changes))}}

    def test_an_existing_similar_sweep_is_accepted(self) -> None:
        assert refused(sweep_spec(fork="abc", warm_start=["abc"]), **self.earlier()) == {}

    def test_an_unknown_job_another_kind_and_another_project_are_refused(self) -> None:
        assert refused(sweep_spec(fork="abc"))["fork"][0] == "unknown_job"
        assert refused(sweep_spec(warm_start=["abc"]), **self.earlier(kind="train"))["warm_start.0"][0] == "no_sweep"
        assert refused(sweep_spec(fork="abc"), **self.earlier(project="other"))["fork"][0] == "other_project"

    def test_a_sweep_with_other_objectives_is_refused(self) -> None:
        spec = sweep_spec(warm_start=["abc"], objectives=[{"metric": "ap50"}])
        assert refused(spec, **self.earlier())["warm_start.0"][0] == "other_objectives"

    def test_a_sweep_of_another_base_can_warm_start_but_not_fork(self) -> None:
        other = base(training={"batch_size": 4, "epochs": 3, "optimizer": {"type": "sgd", "learning_rate": 0.5}})
        code, message = refused(sweep_spec(base=other, fork="abc"), **self.earlier())["fork"]
        assert code == "other_base"
        # The learning rate is searched, so its value in the base does not matter.
        assert "the bases differ in training.batch_size; use" in message
        assert refused(sweep_spec(base=other, warm_start=["abc"]), **self.earlier()) == {}


class TestOneTrial:
    def test_values_outside_the_space_are_accepted_if_the_base_allows_them(self) -> None:
        sweep = parsed(sweep_spec())
        assert trial_reasons(sweep, {RATE: 7.0, "training.batch_size": 4}) == []
        assert json.dumps(as_stored(sweep.base, {RATE: 7, "training.epochs": 3.0})) == json.dumps(
            {RATE: 7.0, "training.epochs": 3}
        )

    def test_it_cannot_name_another_file_than_its_sweep(self) -> None:
        sweep = parsed(sweep_spec(base=distill_base()))
        (reason,) = trial_reasons(sweep, {"teacher.checkpoint": "/etc/shadow"})
        assert (reason.loc, reason.code) == ("values.teacher.checkpoint", "other_file")

    def test_each_fault_names_its_field(self) -> None:
        found = trial_reasons(parsed(sweep_spec()), {RATE: -1, "training.batch_size": 41, "seed": 3})
        assert [each.loc for each in found] == ["values.seed"]
        found = trial_reasons(parsed(sweep_spec()), {RATE: -1, "training.epochs": 0})
        assert sorted(each.loc for each in found) == ["values.training.epochs", f"values.{RATE}"]


class TestAllAtOnce:
    SPEC = sweep_spec(
        base=base(training={"batch_size": 100, "epochs": 3}),
        space={
            RATE: {"type": "log_uniform", "low": 0, "high": 1},
            "training.bach_size": integers(1, 2),
            "training.warmup_steps": uniform(5, 1),
            "method.alpha": uniform(0, 1),
        },
        searcher={"type": "grid"},
        scheduler={"type": "asha", "grace_epochs": 5},
        objectives=[{"metric": "loss"}],
        budget={"epochs": 4},
        fork="nobody",
    )

    async def test_a_sweep_with_many_faults_gets_all_reasons_and_is_not_stored(self, plane: ControlPlane) -> None:
        answer = await plane.http.post("/v1/jobs", json=self.SPEC)
        assert (answer.status_code, answer.json()["code"]) == (422, "admission")
        assert {(each["loc"], each["code"]) for each in answer.json()["reasons"]} == {
            ("base.training.batch_size", "batch_too_large"),
            (f"space.{RATE}.low", "log_of_zero"),
            (f"space.{RATE}", "grid_over_range"),
            ("space.training.bach_size", "unknown_field"),
            ("space.training.warmup_steps", "empty_range"),
            ("space.training.warmup_steps", "grid_over_range"),
            ("space.method.alpha", "unknown_field"),
            ("space.method.alpha", "grid_over_range"),
            ("scheduler.grace_epochs", "beyond_training"),
            ("objectives.0.metric", "unknown_metric"),
            ("budget.epochs", "below_one_rung"),
            ("fork", "unknown_job"),
        }
        assert (await plane.http.get("/v1/jobs")).json()["items"] == []

    async def test_a_sweep_of_another_project_cannot_be_forked(self, plane: ControlPlane) -> None:
        earlier = await plane.submit(sweep_spec(project="vision"))
        answer = await plane.http.post("/v1/jobs", json=sweep_spec(fork=earlier))
        assert [each["code"] for each in answer.json()["reasons"]] == ["other_project"]
        assert (await plane.http.post("/v1/jobs", json=sweep_spec(fork=earlier, project="vision"))).status_code == 202
