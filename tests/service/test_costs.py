"""What jobs cost: expected from earlier runs, while they run, and compared with what came."""

import json
from typing import Any

import pytest
from control_plane import SHAPES, ControlPlane, Run, train_spec
from sweeps import begun, distill_base, ended, progressed, sweep_spec

from fgd_core.spec.costs import Span
from fgd_core.spec.jobs import JOB_SPEC
from service.jobs.costs.earlier import Took, run_type
from service.jobs.costs.estimate import OwnRun, estimate, left, makespan
from service.jobs.costs.plan import plan

pytestmark = pytest.mark.one_database

EPOCHS = 10
GPU = {"cpus": 1, "gpus": 1}


def plain(**changes: Any) -> dict[str, Any]:
    return train_spec(training={"batch_size": 8, "epochs": EPOCHS}) | changes


def distilled(**changes: Any) -> dict[str, Any]:
    return distill_base(training={"batch_size": 8, "epochs": EPOCHS}, name="a distillation") | changes


def chained(*stages: dict[str, Any], **changes: Any) -> dict[str, Any]:
    base = {name: value for name, value in distilled(**changes).items() if name != "teacher"}
    teacher = {"checkpoint": "RetinaNet_ResNet50_FPN_Weights.COCO_V1"}
    teachers = [{"teacher": teacher, **stage} for stage in stages or ({}, {})]
    return {**base, "kind": "chain", "name": "a chain", "stages": teachers}


def took(spec: dict[str, Any], ran_s: float, *, machine: str = "A", start_s: float = 0, **of_type: Any) -> Took:
    stored = JOB_SPEC.validate_python({"name": "earlier", **spec}).model_dump(mode="json")
    return Took(run_type(stored)._replace(**of_type), ran_s, ended_s=0.0, machine=machine, start_s=start_s)


def study(**question: Any) -> dict[str, Any]:
    base = {name: value for name, value in distilled(inherit="nothing").items() if name not in ("name", "kind")}
    return {"kind": "study", "name": "helps", "base": base, "study": {"type": "gain", "num_seeds": 2, **question}}


def estimated(spec: dict[str, Any], *earlier: Took, slots: int | None = 1) -> Any:
    return estimate(plan(JOB_SPEC.validate_python(spec)), earlier, slots=slots)  # type: ignore[arg-type]


def bounds(found: Span) -> tuple[float, float | None]:
    return found.least, found.most


def span(least: float, most: float | None = None) -> Any:
    return pytest.approx((least, least if most is None else most))


class TestOneRun:
    def test_it_takes_as_long_as_earlier_runs_with_other_seeds(self) -> None:
        found = estimated(plain(), took(plain(seed=1), 100), took(plain(seed=2), 200))
        assert (bounds(found.runs_s), bounds(found.wall_s), found.at_once) == (span(150), span(150), 1)
        assert found.runs[0].earlier == 2 and found.runs[0].differs_in == []
        assert found.sentence == "Expected cost of 1 training: 2:30 of running time, from 2 earlier runs on A."

    def test_the_time_is_scaled_by_the_epochs_that_were_trained(self) -> None:
        found = estimated(plain(), took(plain(), 30, epochs=2))
        assert (bounds(found.runs_s), found.runs[0].differs_in) == (span(150), ["epochs"])
        assert "by which their time is scaled" in found.sentence

    @pytest.mark.parametrize(
        ("earlier", "expected_s"),
        [
            ([took(plain(), 26, epochs=1), took(plain(), 38, epochs=4)], 22 + 4 * EPOCHS),
            # Too similar to tell the start from the epochs.
            ([took(plain(), 26, epochs=3), took(plain(), 38, epochs=4)], (26 / 3 + 38 / 4) / 2 * EPOCHS),
            ([took(plain(), 26, epochs=1, start_s=20)], 20 + 6 * EPOCHS),
            ([took(plain(), 26, epochs=1), took(plain(), 38, epochs=4, machine="B")], None),
            ([took(plain(), 26, epochs=1), took(plain(), 20, epochs=4)], 0.5 * (26 + 5) * EPOCHS),
        ],
    )
    def test_the_start_is_not_scaled_by_the_epochs(self, earlier: list[Took], expected_s: float | None) -> None:
        found = bounds(estimated(plain(), *earlier).runs_s)
        assert found == (span(expected_s) if expected_s is not None else span(95, 260))

    def test_the_closest_runs_count(self) -> None:
        found = estimated(plain(), took(plain(), 100), took(plain(), 3, epochs=2), took(plain(), 7, form="trial"))
        assert (bounds(found.runs_s), found.runs[0].earlier) == (span(100), 1)

    @pytest.mark.parametrize(
        "other",
        [
            {"detector": {"type": "fcos"}},
            {"data": {**SHAPES, "num_train": 41}},
            {"training": {"batch_size": 4, "epochs": EPOCHS}},
            {"resources": {"cpus": 2}},
        ],
    )
    def test_runs_with_another_pace_do_not_count(self, other: dict[str, Any]) -> None:
        found = estimated(plain(), took(plain(**other), 100))
        assert (found.runs_s.least, found.runs_s.most, found.runs[0].earlier) == (0, None, 0)
        assert "unknown" in found.sentence and "one training of 1 epoch shows it before" in found.sentence

    def test_another_learning_rate_does_not_change_the_pace(self) -> None:
        other = plain(training={"batch_size": 8, "epochs": EPOCHS, "optimizer": {"type": "sgd", "learning_rate": 0.5}})
        assert bounds(estimated(plain(), took(other, 100)).runs_s) == span(100)

    def test_it_lies_between_the_fastest_and_the_slowest_machine(self) -> None:
        found = estimated(plain(), took(plain(), 100), took(plain(), 110), took(plain(), 200, machine="B"))
        assert (bounds(found.runs_s), found.machines) == (span(105, 200), ["A", "B"])
        assert "1:45 to 3:20 of running time, from 3 earlier runs on A and B" in found.sentence

    def test_gpu_hours_are_those_of_all_workers(self) -> None:
        spec = plain(resources={**GPU, "workers": 4})
        assert bounds(estimated(spec, took(spec, 1800)).gpu_hours) == span(2.0)


class TestStudy:
    def test_it_costs_its_runs_of_which_some_run_at_once(self) -> None:
        found = estimated(study(), took(plain(), 100), took(distilled(), 300), slots=2)
        assert [(each.name, each.count) for each in found.runs] == [("plain", 2), ("distilled", 2)]
        assert (bounds(found.runs_s), bounds(found.wall_s), found.at_once) == (span(800), span(400), 2)
        assert "Expected cost of 4 trainings: 6:40 with 2 at a time, 13:20 of running time" in found.sentence

    def test_what_nothing_has_run_like_is_unknown(self) -> None:
        found = estimated(study(), took(plain(), 100))
        assert (found.runs_s.least, found.runs_s.most) == (200, None)
        assert "at least 3:20" in found.sentence and "Nothing like distilled has run yet" in found.sentence
        assert "the base, as a job of 1 epoch, shows it before" in found.sentence

    @pytest.mark.parametrize(
        ("question", "most_s"),
        [
            ({}, 4 * 300),
            ({"type": "left_over"}, 5 * 300),
            ({"type": "why", "fractions": [0.5]}, 9 * 300),
            # Another temperature has the pace of the base, and a level of another field may have any.
            ({"type": "why", "over": {"method.temperature": [2]}}, 7 * 300),
            ({"type": "left_over", "over": {"training.batch_size": [4]}}, None),
        ],
    )
    def test_one_distillation_limits_all_that_does_less(self, question: dict[str, Any], most_s: float | None) -> None:
        found = estimated(study(**question), took(distilled(), 300))
        known = [each.count for each in found.runs if each.earlier]
        assert bounds(found.runs_s) == (sum(known) * 300, most_s)
        assert "takes as long as a distillation, which does more" in found.sentence

    def test_a_larger_share_of_the_images_is_not_limited(self) -> None:
        spec = study(type="why", fractions=[0.9])
        spec["base"]["input"] = {"sampling": {"fraction": 0.5}}
        own = distilled(input=spec["base"]["input"])
        found = estimated(spec, took(own, 300))
        unlimited = [each.name for each in found.runs if each.each_s.most is None]
        assert unlimited == ["plain at 0.9", "distilled at 0.9"]
        assert "Nothing like plain at 0.9 and distilled at 0.9 has run yet" in found.sentence

    def test_no_more_runs_than_it_has_run_at_once(self) -> None:
        assert estimated(study(), slots=100).at_once == 4
        assert estimated(study(), slots=None).wall_s is None

    def test_the_evaluation_of_the_teacher_is_counted_once(self) -> None:
        spec = study(type="left_over")
        teacher = JOB_SPEC.validate_python(spec).arm("teacher").model_dump(mode="json")  # type: ignore[union-attr]
        found = estimated(spec, took(plain(), 100), took(distilled(), 300), took(teacher, 50))
        assert {each.name: each.count for each in found.runs} == {"plain": 2, "distilled": 2, "teacher": 1}
        assert bounds(found.runs_s) == span(850)
        assert "Expected cost of 4 trainings and 1 evaluation" in found.sentence

    def test_runs_without_the_altered_copies_count_by_name(self) -> None:
        found = estimated(study(type="left_over", altered={"copies": 3}), took(plain(), 100))
        assert found.runs[0].differs_in == ["altered"] and "evaluated other copies of the images" in found.sentence


class TestChain:
    def test_it_costs_what_an_earlier_chain_took(self) -> None:
        found = estimated(chained(), took(chained(seed=1), 400), took(distilled(), 70))
        assert (found.runs[0].earlier, bounds(found.runs_s)) == (1, span(400))
        assert found.sentence.startswith("Expected cost of 1 chain: 6:40")

    def test_it_is_priced_by_distillations_with_the_pace_of_its_stages(self) -> None:
        # Two stages, and a control that is as long as both.
        assert bounds(estimated(chained(), took(distilled(), 70)).runs_s) == span(280)
        assert bounds(estimated(chained(control=False), took(distilled(), 70)).runs_s) == span(140)
        assert "were single trainings or trials" in estimated(chained(), took(distilled(), 70)).sentence

    def test_what_is_left_of_it_is_known_from_an_earlier_one(self) -> None:
        own = OwnRun(name="chain", ran_s=100, began_s=0, ended_s=None)
        assert left([own], estimated(chained(), took(chained(seed=1), 400))) == pytest.approx(300)

    def test_stages_of_other_paces_are_priced_by_chains_alone(self) -> None:
        spec = chained({}, {"training": {"batch_size": 4, "epochs": EPOCHS}})
        assert estimated(spec, took(distilled(), 70)).runs_s.most is None
        assert bounds(estimated(spec, took(spec, 300)).runs_s) == span(300)


class TestSweep:
    def sweep(self, **changes: Any) -> dict[str, Any]:
        base = {name: value for name, value in distilled().items() if name != "name"}
        space = {"method.scale": {"type": "uniform", "low": 0.1, "high": 1.0}}
        budget = {"trials": 5}
        return sweep_spec(**{"base": base, "space": space, "scheduler": {"type": "none"}, "budget": budget, **changes})

    def test_it_costs_trials_baselines_and_repeats(self) -> None:
        found = estimated(self.sweep(seeds=3, finalists=1, concurrent_trials=2), took(distilled(), 100), slots=9)
        assert {each.name: each.count for each in found.runs} == {"baselines": 2, "trials": 5, "repeats": 6}
        # 7 runs on 2 places, and then 6 repeats.
        assert (bounds(found.runs_s), bounds(found.wall_s), found.at_once) == (span(1300), span(700), 2)
        assert "were jobs of their own" in found.sentence

    def test_its_scheduler_may_stop_all_trials_but_one(self) -> None:
        spec = self.sweep(scheduler={"type": "asha", "grace_epochs": 4}, baselines=False)
        found = estimated(spec, took(distilled(), 100, form="trial"))
        assert bounds(found.runs_s) == span(4 * 40 + 100, 500)
        assert "the larger ones if it stops none" in found.sentence

    @pytest.mark.parametrize(
        ("budget", "most_s"), [({"epochs": 20}, 200), ({"wall_clock_s": 150}, 150), ({"gpu_hours": 0.05}, 180)]
    )
    def test_its_budget_limits_the_search(self, budget: dict[str, float], most_s: float) -> None:
        spec = self.sweep(baselines=False, budget={"trials": 5, **budget}, resources=GPU)
        found = estimated(spec, took(distilled(resources=GPU), 100, form="trial"))
        assert bounds(found.runs_s) == span(most_s)

    def test_a_budget_of_hours_is_known_before_any_run(self) -> None:
        found = estimated(self.sweep(baselines=False, budget={"trials": 5, "wall_clock_s": 150}))
        assert (found.runs_s.least, found.runs_s.most) == (0, 150)
        assert "at most 2:30 of running time, by the budget" in found.sentence

    def test_a_grid_has_no_more_trials_than_points(self) -> None:
        space = {"method.scale": {"type": "choice", "values": [0.1, 0.2, 0.4]}}
        found = estimated(self.sweep(space=space, searcher={"type": "grid"}, baselines=False))
        assert [(each.name, each.count) for each in found.runs] == [("trials", 3)]


def test_a_makespan_is_that_of_runs_which_start_as_soon_as_there_is_room() -> None:
    assert makespan([3, 1, 1, 1], 2) == 3
    assert makespan([1, 1, 1, 3], 2) == 4
    assert makespan([], 2) == 0


# -- over the API ----------------------------------------------------------------------------------------------------


async def runs_for(plane: ControlPlane, run: Run, seconds: float) -> None:
    plane.clock.forward(seconds)
    await run.saves_checkpoint(run.writes("best.pt", b"weights"))
    await run.succeeds()
    await plane.tick()


async def trained(plane: ControlPlane, spec: dict[str, Any], seconds: float) -> None:
    _, run = await plane.started_job(spec)
    await runs_for(plane, run, seconds)


async def cost(plane: ControlPlane, job_id: str) -> dict[str, Any]:
    answer = await plane.http.get(f"/v1/jobs/{job_id}/cost")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_study_is_known_from_its_own_runs_and_compared_with_what_it_took(plane: ControlPlane) -> None:
    await trained(plane, plain(name="teacher", detector={"type": "fcos"}), 50)
    teacher = (await plane.http.get("/v1/jobs")).json()["items"][0]["job_id"]
    spec = study(arms=["plain", "distilled"])
    spec["base"]["teacher"]["checkpoint"] = f"job:{teacher}/best"
    draft = await plane.http.post("/v1/drafts", json={"text": json.dumps(spec)})
    assert "unknown" in draft.json()["cost"]["sentence"]
    study_id = await plane.submit(spec)
    first = await cost(plane, study_id)
    assert (first["spent"]["runs"], first["spent"]["wall_s"], first["left_s"]) == (0, None, None)

    num_before = len(plane.cluster.submissions)
    for number in range(4):
        await plane.tick()
        run = plane.run(num_before + number)
        plane.cluster.say(run.submission_id, "RUNNING")
        await run.starts()
        if number == 2:
            halfway = await cost(plane, study_id)
            # The cluster has room for both at once.
            assert halfway["left_s"] == pytest.approx(300, abs=10)
            assert "left." in halfway["sentence"]
        await runs_for(plane, run, (100, 300)[number % 2])
    own = plane.run()
    assert await plane.state(study_id) in ("queued", "starting")
    await plane.tick()
    plane.cluster.say(own.submission_id, "RUNNING")
    found = await cost(plane, study_id)
    assert found["spent"]["runs"] == 4
    assert found["spent"]["runs_s"] == pytest.approx(800, abs=10)
    # A second study of the same kind is known before it starts.
    again = (await cost(plane, await plane.submit(spec)))["expected"]
    assert [(each["name"], each["earlier"]) for each in again["runs"]] == [("plain", 2), ("distilled", 2)]
    assert again["runs_s"]["most"] == pytest.approx(800, abs=10)


async def test_a_sweep_is_priced_from_the_trials_of_earlier_sweeps(plane: ControlPlane) -> None:
    spec = sweep_spec(baselines=False, scheduler={"type": "none"}, budget={"trials": 2})
    _, run = await plane.started_job(spec)
    await run.reports(begun(0))
    plane.clock.forward(60)
    await run.reports(ended(0, machine="EPYC"), begun(1, origin="fork"), ended(1), progressed(done=2, planned=2))
    plane.clock.forward(40)
    await run.succeeds()
    await plane.tick()
    again = await plane.submit(spec)
    found = await cost(plane, again)
    assert found["left_s"] == pytest.approx(120, abs=5)
    (trials,) = found["expected"]["runs"]
    # The trial of a fork took no time here.
    assert (trials["count"], trials["earlier"], trials["differs_in"]) == (2, 1, [])
    assert found["expected"]["machines"] == ["EPYC"]
    assert found["expected"]["runs_s"]["most"] == pytest.approx(120, abs=5)
    report = (await plane.http.get(f"/v1/jobs/{again}/report")).json()
    assert report["cost"]["sentence"].startswith("Expected cost of 2 trainings")


async def test_a_report_says_what_a_job_was_expected_to_cost_and_what_it_cost(plane: ControlPlane) -> None:
    await trained(plane, plain(), 100)
    job_id, run = await plane.started_job(plain(seed=1))
    await runs_for(plane, run, 150)
    found = await cost(plane, job_id)
    assert "from 1 earlier run" in found["sentence"] and "50% more than expected" in found["sentence"]
    report = (await plane.http.get(f"/v1/jobs/{job_id}/report")).json()
    assert any(each.endswith(found["sentence"]) for each in report["sentences"])


async def test_the_machines_and_the_starts_of_earlier_runs_count(plane: ControlPlane) -> None:
    ready = {"kind": "device_ready", "threads": 1, "precision": "float32", "versions": {}}
    figures = {"epoch": 1, "epochs": 2, "steps": 10, "images_per_s": 9.0, "eta_s": 9.0, "learning_rate": 0.1}
    step = {"kind": "progress", **figures, "step": 1, "values": {}}
    for device, seconds in ({"device": "x86_64 CPU", "processor": "EPYC"}, 200), ({"device": "NVIDIA H200"}, 100):
        _, run = await plane.started_job(plain(training={"batch_size": 8, "epochs": 2}))
        plane.clock.forward(20)
        await run.reports(ready | device, step)
        plane.clock.forward(5)
        await run.reports(step | {"step": 2, "epoch": 2})
        await runs_for(plane, run, seconds)
    expected = (await cost(plane, await plane.submit(plain())))["expected"]
    assert expected["machines"] == ["EPYC", "NVIDIA H200"]
    # 20 s until the first step, and then 5 times the time of 2 epochs.
    assert [*expected["runs_s"].values()] == pytest.approx([20 + 5 * 105, 20 + 5 * 205], abs=10)


async def test_a_draft_that_names_a_data_set_is_priced_by_runs_on_it(plane: ControlPlane) -> None:
    named = {"type": "registered", "name": "drawn"}
    assert (await plane.http.post("/v1/datasets", json={"name": "drawn", "data": SHAPES})).is_success
    await trained(plane, plain(data=named), 100)
    draft = (await plane.http.post("/v1/drafts", json={"text": json.dumps(plain(data=named))})).json()
    assert [each["earlier"] for each in draft["cost"]["runs"]] == [1]


async def test_other_kinds_and_projects_have_no_cost(plane: ControlPlane) -> None:
    check = await plane.submit({"kind": "check_data", "name": "a check", "data": SHAPES})
    answer = await plane.http.get(f"/v1/jobs/{check}/cost")
    assert (answer.status_code, answer.json()["code"]) == (422, "spec")
    await trained(plane, plain(project="other"), 100)
    found = await cost(plane, await plane.submit(plain()))
    assert found["expected"]["runs"][0]["earlier"] == 0
    chain = await cost(plane, await plane.submit(chained()))
    assert [(each["name"], each["earlier"]) for each in chain["expected"]["runs"]] == [("chain", 0)]
