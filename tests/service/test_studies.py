"""Studies: a job that waits for the jobs of its runs, whatever becomes of each, and acts with them as one."""

from typing import Any

import pytest
from control_plane import SHAPES, ControlPlane, train_spec
from pydantic import ValidationError

from fgd_core.spec.checkpoint_references import checkpoint_sources
from fgd_core.spec.evaluation import AlteredImages, Contents, EvaluationSpec, ImageGroups
from fgd_core.spec.jobs import JOB_SPEC
from fgd_core.spec.kinds.study import StudySpec
from service.jobs.admission import reasons
from service.jobs.admission_facts import Facts, NeededJob
from service.jobs.study_admission import classes_found, group_reasons

KNOWN = {"abc": NeededJob("train", "succeeded", frozenset({"best.pt"}))}
COCO = {
    "type": "coco",
    "train": {"images": "/data/train", "annotations": "/data/train.json"},
    "val": {"images": "/data/val", "annotations": "/data/val.json"},
}
GPU = {"cpus": 2, "gpus": 1}
_HEAT, _BATCH = "method.temperature", "training.batch_size"
WHY = {
    "type": "why",
    "num_seeds": 2,
    "teachers": ["job:b/best"],
    "fractions": [0.5],
    "over": {"method.temperature": [2.0]},
}


def gain_spec(*, teacher: str = "abc", num_seeds: int = 2, **base: Any) -> dict[str, Any]:
    distilled = {
        "student": {"type": "retinanet"},
        "teacher": {"checkpoint": f"job:{teacher}/best"},
        "method": {"type": "fgd"},
        "data": SHAPES,
        "training": {"batch_size": 8},
    }
    return {
        "kind": "study",
        "name": "does it help",
        "base": distilled | base,
        "study": {"type": "gain", "num_seeds": num_seeds},
    }


def study(**changes: Any) -> StudySpec:
    spec = JOB_SPEC.validate_python(gain_spec(**changes))
    assert isinstance(spec, StudySpec)
    return spec


def refused(spec: dict[str, Any]) -> dict[str, str]:
    """{loc: code}"""
    return {reason.loc: reason.code for reason in reasons(JOB_SPEC.validate_python(spec), Facts(jobs=KNOWN))}


class TestPlan:
    def test_the_arms_differ_in_what_they_measure_and_in_nothing_else(self) -> None:
        spec = study(inherit="neck")
        plain, distilled, inherited, both = map(spec.arm, ("plain", "distilled", "inherited", "both"))
        assert plain.kind == "train" and plain.detector == spec.base.student
        assert (plain.data, plain.input, plain.training) == (spec.base.data, spec.base.input, spec.base.training)
        assert distilled.kind == inherited.kind == both.kind == "distill"
        assert (distilled.inherit, inherited.inherit, both.inherit) == ("nothing", "neck", "neck")
        assert inherited.method.weighs_nothing
        assert distilled.method == both.method == spec.base.method
        assert distilled.model_copy(update={"inherit": "neck", "name": both.name}) == both

    def test_seeds_come_one_after_another(self) -> None:
        spec = StudySpec.model_validate(gain_spec() | {"seed": 7})
        assert [(run.arm, run.spec.seed) for run in spec.runs()] == [
            (arm, seed) for seed in (7, 8) for arm in ("plain", "distilled", "inherited", "both")
        ]

    def test_without_inheritance_two_arms_are_left(self) -> None:
        assert list(study(inherit="nothing").variants()) == ["plain", "distilled"]

    def test_runs_have_the_resources_and_the_project_of_the_study(self) -> None:
        spec = StudySpec.model_validate(gain_spec() | {"resources": GPU, "project": "cells", "priority": 3})
        for run in spec.runs():
            assert (run.spec.resources.gpus, run.spec.project, run.spec.priority) == (1, "cells", 3)

    def test_a_study_of_why_has_an_arm_for_each_further_setting(self) -> None:
        spec = StudySpec.model_validate(gain_spec() | {"study": WHY})
        assert {name: variant.kind for name, variant in spec.variants().items()} == {
            "plain": "train",
            "distilled": "distill",
            "teacher": "evaluate",
            "plain at 0.5": "train",
            "distilled at 0.5": "distill",
            "distilled by teacher 2": "distill",
            "teacher 2": "evaluate",
            "temperature 2": "distill",
        }
        fractions = {name: spec.arm(name).input.sampling.fraction for name in spec.variants()}
        assert {name for name, fraction in fractions.items() if fraction == 0.5} == {"plain at 0.5", "distilled at 0.5"}
        assert spec.arm("temperature 2").method.temperature == 2
        assert spec.arm("teacher 2").checkpoint == spec.arm("distilled by teacher 2").teacher.checkpoint == "job:b/best"

    def test_all_runs_of_a_study_measure_the_same(self) -> None:
        question = {
            "type": "left_over",
            "num_seeds": 2,
            "over": {"method.temperature": [4.0]},
            "altered": {"copies": 3, "seed": 5},
            "attributes": {"weather": {}},
            "groups": {"light": {"day": {"image_ids": [1]}, "rest": {"image_ids": [2], "classes": ["circle"]}}},
        }
        spec = StudySpec.model_validate(gain_spec() | {"study": question})
        seen = {run.arm: run.spec.evaluation for run in spec.runs()}
        assert [*seen] == ["plain", "distilled", "teacher", "temperature 4"]
        measured = EvaluationSpec(
            altered=AlteredImages(copies=3, seed=5),
            attributes={"weather": ImageGroups()},
            expected=Contents(classes=("circle",), image_ids=(1, 2)),
        )
        assert all(each == measured for each in seen.values())

    def test_a_study_of_why_waits_for_all_its_teachers(self) -> None:
        spec = JOB_SPEC.validate_python(gain_spec() | {"study": WHY})
        assert dict(checkpoint_sources(spec)) == {
            "base.teacher.checkpoint": "job:abc/best",
            "study.teachers.0": "job:b/best",
        }


class TestAdmission:
    def test_all_reasons_come_at_once_at_the_fields_of_the_study(self) -> None:
        spec = gain_spec(teacher="gone", num_seeds=1, inherit="nothing", training={"batch_size": 41})
        spec["study"]["arms"] = ["distilled", "both"]
        assert refused(spec) == {
            "study.num_seeds": "too_few_seeds",
            "study.arms": "no_plain",
            "study": "equal_arms",
            "base.training.batch_size": "batch_too_large",
            "base.teacher.checkpoint": "unknown_job",
        }

    @pytest.mark.parametrize("base", [{"method": {"type": "fgd", "scale": 0}}, {"inherit": "nothing"}])
    def test_arms_that_would_be_the_same_runs_are_refused(self, base: dict[str, Any]) -> None:
        spec = gain_spec(**base)
        spec["study"]["arms"] = ["plain", "distilled", "inherited"]
        assert refused(spec) == {"study": "equal_arms"}

    @pytest.mark.parametrize("name", ["light", "size"])
    def test_two_sets_of_groups_of_one_name_are_refused(self, name: str) -> None:
        sets = {"groups": {"light": {"some": {"image_ids": [1]}}}, "attributes": {name: {}}}
        with pytest.raises(ValidationError, match=f"{name} names two sets of groups"):
            StudySpec.model_validate(gain_spec() | {"study": {"type": "left_over"} | sets})

    @pytest.mark.parametrize(
        ("question", "message"),
        [
            (
                {"type": "left_over", "over": {"method.scale": [1], "training.scale": [2]}},
                "two fields that end in scale",
            ),
            ({"type": "why", "over": {"training.batch_size": [4]}}, "may change the plain student, too"),
        ],
    )
    def test_settings_without_an_own_name_or_with_effect_on_the_plain_student_are_refused(
        self, question: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ValidationError, match=message):
            StudySpec.model_validate(gain_spec() | {"study": question})

    def test_groups_of_classes_that_the_data_has_not_are_refused(self) -> None:
        groups = {"form": {"round": {"classes": ["circle"]}, "edged": {"classes": ["triangle", "squere"]}}}
        spec = gain_spec() | {"study": {"type": "left_over", "groups": groups}}
        (reason,) = reasons(JOB_SPEC.validate_python(spec), Facts(jobs=KNOWN))
        assert (reason.loc, reason.code) == ("study.groups.form.edged.classes", "unknown_class")
        assert "no class 'squere'; did you mean 'square'?" in reason.message

    def test_a_check_of_the_data_knows_its_classes(self) -> None:
        counts = {"num_images": 1, "num_images_without_boxes": 0, "num_boxes": 1, "num_crowd": 0}
        split = {"kind": "data_checked", "split": "val", **counts, "boxes_per_category": {"cat": 1, "dog": 0}}
        checked = classes_found({"kind": "data_set_checked", "splits": [split], "profiles": []})
        assert (classes_found(None), checked) == ([], ["cat", "dog"])
        data = {"type": "registered", "name": "pets", "resolved": {"dataset_id": "1", "data": COCO}}
        groups = {"kind": {"cats": {"classes": ["cat"]}, "dogs": {"classes": ["dogg"]}}}
        spec = JOB_SPEC.validate_python(gain_spec(data=data) | {"study": {"type": "left_over", "groups": groups}})
        (reason,) = group_reasons(spec, checked)  # type: ignore[arg-type]
        assert "did you mean 'dog'?" in reason.message
        assert not [*group_reasons(spec, ())]  # type: ignore[arg-type]

    def test_a_sound_study_is_accepted(self) -> None:
        assert refused(gain_spec()) == {}

    @pytest.mark.parametrize(
        ("study", "base", "refusal"),
        [
            ({"over": {_HEAT: [1.0, 4.0]}}, {"method": {"type": "fgd", "temperature": 4}}, {"study": "equal_arms"}),
            (
                {"over": {_HEAT: [4.0]}},
                {"method": {"type": "fgd", "temperature": "auto"}},
                {f"study.over.{_HEAT}": "one_level"},
            ),
            ({"over": {"method.heat": [4.0]}}, {}, {"base.method.heat": "extra_forbidden"}),
            ({"over": {"heat.method": [4.0]}}, {}, {"study": "unknown_field"}),
            ({"over": {_HEAT: [4.0]}}, {"method": {"type": "fgfi"}}, {"base.method.temperature": "extra_forbidden"}),
            ({"over": {_BATCH: [41]}}, {}, {"base.training.batch_size": "batch_too_large"}),
            ({"over": {_BATCH: [0.5]}}, {}, {"base.training.batch_size": "int_from_float"}),
            ({}, {"teacher": {"checkpoint": "job:abc/best", "input_scale": 2}}, {"base.teacher": "other_images"}),
        ],
    )
    def test_a_study_of_what_is_left_over_is_refused_where_it_cannot_run(
        self, study: dict[str, Any], base: dict[str, Any], refusal: dict[str, str]
    ) -> None:
        spec = gain_spec()
        spec["base"] |= base
        spec["study"] = {"type": "left_over", "num_seeds": 2} | study
        assert refused(spec) == refusal

    @pytest.mark.parametrize(
        ("study", "refusal"),
        [
            ({"fractions": [1.0]}, {"study": "equal_arms"}),
            ({"fractions": [0.25]}, {"base.training.batch_size": "batch_too_large"}),
            ({"teachers": ["job:abc/best"]}, {"study": "equal_arms"}),
            ({"teachers": ["job:gone/best"]}, {"study.teachers.0": "unknown_job"}),
            ({"fractions": [0.5]}, {}),
        ],
    )
    def test_a_study_of_why_is_refused_where_it_cannot_run(
        self, study: dict[str, Any], refusal: dict[str, str]
    ) -> None:
        spec = gain_spec(training={"batch_size": 16})
        assert refused(spec | {"study": {"type": "why", "num_seeds": 2} | study}) == refusal

    def test_what_the_study_decides_is_not_in_its_base(self) -> None:
        with pytest.raises(ValueError, match="set priority, seed on the study"):
            study(seed=3, priority=1)


async def submitted(plane: ControlPlane) -> tuple[str, list[dict[str, Any]]]:
    """Submit a study of two arms and two seeds with a trained teacher; returns its id and its runs."""
    teacher, run = await plane.started_job(train_spec())
    await run.saves_checkpoint(run.writes("attempts/1/checkpoints/best.pt", b"weights"))
    await run.succeeds()
    await plane.tick()
    retry = {"on_out_of_memory": "halve_batch"}
    study_id = await plane.submit(gain_spec(teacher=teacher, inherit="nothing") | {"retry": retry})
    return study_id, (await plane.job(study_id))["study_runs"]


async def ends(plane: ControlPlane, job_id: str, *, error: str | None = None) -> None:
    """Let the queued run of a job start and end."""
    await plane.tick()
    index = max(i for i, each in enumerate(plane.cluster.submissions) if each.metadata["job_id"] == job_id)
    run = plane.run(index)
    plane.cluster.say(run.submission_id, "RUNNING")
    await run.starts()
    await (run.fails(error) if error is not None else run.succeeds())
    await plane.tick()


class TestLife:
    @pytest.mark.one_database
    async def test_a_study_runs_once_all_its_runs_have_ended_however_they_ended(self, plane: ControlPlane) -> None:
        study_id, runs = await submitted(plane)
        assert [(run["arm"], run["seed"], run["state"]) for run in runs] == [
            (arm, seed, "queued") for seed in (0, 1) for arm in ("plain", "distilled")
        ]
        job = await plane.job(study_id)
        assert (job["state"], job["reason"]) == ("blocked", "waits for its 4 runs")
        part_of = {"job_id": study_id, "name": "does it help", "arm": "distilled"}
        assert (await plane.job(runs[1]["job_id"]))["part_of"] == part_of
        for place, each in enumerate(runs):
            assert await plane.state(study_id) == "blocked"
            await ends(plane, each["job_id"], error={2: "data", 3: "out_of_memory"}.get(place))
        assert await plane.state(study_id) == "blocked"
        plane.clock.forward(60)
        await ends(plane, runs[3]["job_id"])
        assert await plane.state(study_id) == "starting"
        claimed = await plane.http.get(f"/v1/attempts/{plane.run().attempt_id}", headers=plane.run().headers)
        given = claimed.json()["study_runs"]
        assert [run["job_id"] for run in given] == [run["job_id"] for run in runs]
        assert [run["result"] is None for run in given] == [False, False, True, False]
        assert given[2]["error"]["code"] == "data"
        assert [run["changes"].get("training.batch_size") for run in given] == [None, None, None, 4]

    @pytest.mark.one_database
    async def test_a_repeated_request_adds_no_runs(self, plane: ControlPlane) -> None:
        spec, key = gain_spec(teacher=(await plane.started_job(train_spec()))[0]), {"Idempotency-Key": "once"}
        first, again = [(await plane.http.post("/v1/jobs", json=spec, headers=key)).json() for _ in range(2)]
        assert (first["job_id"], first["study_runs"]) == (again["job_id"], again["study_runs"])
        assert len((await plane.http.get("/v1/jobs?kind=distill")).json()["items"]) == 6

    @pytest.mark.one_database
    async def test_a_study_fails_with_its_teacher(self, plane: ControlPlane) -> None:
        teacher, run = await plane.started_job(train_spec())
        study_id = await plane.submit(gain_spec(teacher=teacher, inherit="nothing"))
        await run.fails("data")
        await plane.tick()
        assert await plane.state(study_id) == "failed"

    async def test_pause_resume_cancel_and_retry_act_on_the_runs_that_have_not_ended(self, plane: ControlPlane) -> None:
        study_id, runs = await submitted(plane)
        await ends(plane, runs[0]["job_id"])

        async def states(action: str) -> list[str]:
            answer = await plane.http.post(f"/v1/jobs/{study_id}/{action}")
            assert answer.status_code == 202, answer.text
            job = answer.json()
            return [job["state"], *(run["state"] for run in job["study_runs"])]

        assert await states("pause") == ["paused", "succeeded", "pausing", "pausing", "paused"]
        assert await states("resume") == ["blocked", "succeeded", "pausing", "pausing", "queued"]
        assert await states("cancel") == ["cancelled", "succeeded", "cancelling", "cancelling", "cancelled"]
        assert await states("retry") == ["blocked", "succeeded", "cancelling", "cancelling", "queued"]

    @pytest.mark.one_database
    async def test_a_study_is_deleted_with_its_runs(self, plane: ControlPlane) -> None:
        study_id, runs = await submitted(plane)
        await plane.http.post(f"/v1/jobs/{runs[0]['job_id']}/cancel")
        refused = await plane.http.delete(f"/v1/jobs/{runs[0]['job_id']}")
        assert refused.status_code == 409 and study_id in refused.json()["detail"]
        await plane.http.post(f"/v1/jobs/{study_id}/cancel")
        assert (await plane.http.delete(f"/v1/jobs/{study_id}")).status_code == 204
        assert [(await plane.http.get(f"/v1/jobs/{run['job_id']}")).status_code for run in runs] == [404] * 4
