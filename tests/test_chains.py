"""Chains of teachers: each stage begins where the one before ended, and a kill changes no result."""

import itertools
import os
import shutil
import signal
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch

from fgd_core.detectors.weights.checkpoint import read_checkpoint
from fgd_core.runs import execute
from fgd_core.spec.chains import StageFinished, StageStarted, TeachersOrdered
from fgd_core.spec.events import (
    ArtifactSaved,
    CheckpointSaved,
    EpochFinished,
    Evaluated,
    MetricsLogged,
    Progress,
    Resumed,
    RunEvent,
    TeacherChecked,
    WeightsLoaded,
)
from fgd_core.spec.jobs import JOB_SPEC
from fgd_core.spec.kinds.chain import ChainSpec
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.training import TimeBudget
from tests.library import TINY, TINY_DETECTOR, RecordingContext, distill_spec, train_spec, write_squares
from tests.tiers import slow

EPOCHS = 2
KEYS = {"gate": "keys"}


def chain_spec(*teachers: dict[str, Any], **fields: Any) -> ChainSpec:
    base = {
        "kind": "chain",
        "name": "chain",
        "student": TINY_DETECTOR,
        "stages": [{"teacher": teacher} for teacher in teachers],
        "method": {"type": "fgd", "scale": 0.05},
        "inherit": "nothing",
        **TINY,
    }
    spec = JOB_SPEC.validate_python(base | fields)
    assert isinstance(spec, ChainSpec)
    return spec


def trained(folder: Path, seed: int, **fields: Any) -> Path:
    assert execute(train_spec(seed=seed, **fields), RecordingContext(folder)).outcome == "succeeded"
    return folder / "checkpoints/best.pt"


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Two teachers that detect nothing yet, so they are checked by their keys alone."""
    folder = tmp_path_factory.mktemp("teachers")
    return [{"checkpoint": str(trained(folder / str(seed), seed)), **KEYS} for seed in (1, 2)]


class Undisturbed(RecordingContext):
    """The context of a chain of two teachers and its control that nothing interrupted."""

    def __init__(self, job_dir: Path, spec: ChainSpec) -> None:
        super().__init__(job_dir)
        self.spec = spec
        finished = execute(spec, self)
        assert finished.result is not None, finished.error
        self.result = finished.result


class StopsInTheSecondStage(RecordingContext):
    def should_stop(self) -> bool:
        return len(self.of(EpochFinished)) == EPOCHS + 1


@pytest.fixture(scope="module")
def undisturbed(teachers: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return Undisturbed(tmp_path_factory.mktemp("undisturbed"), chain_spec(*teachers))


def best(folder: Path, stage: str = "") -> Path:
    return folder / (f"stages/{stage}" if stage else "") / "checkpoints/best.pt"


def assert_equal(one: Path, other: Path) -> None:
    """Check that the weights of two checkpoints are equal to the bit."""
    ours, theirs = read_checkpoint(one)[0].state, read_checkpoint(other)[0].state
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def assert_ends_as(undisturbed: Undisturbed, folder: Path) -> None:
    for stage in ("", "1", "2", "control"):
        assert_equal(best(undisturbed.job_dir, stage), best(folder, stage))


class Mortal(RecordingContext):
    """Dies of SIGKILL when it reports its event `number` of `kind`."""

    def __init__(self, job_dir: Path, kind: str, number: int) -> None:
        super().__init__(job_dir)
        self._kind, self._number = kind, number

    def emit(self, event: RunEvent) -> None:
        super().emit(event)
        if sum(each.kind == self._kind for each in self.events) == self._number:
            os.kill(os.getpid(), signal.SIGKILL)


def kill(spec: ChainSpec, folder: Path, event: str) -> None:
    """Run a chain that dies at an event, for example at the third one: `evaluated 3`."""
    kind, number = event.split()
    # Forked, because a new process would import PyTorch for seconds.
    run = get_context("fork").Process(target=execute, args=(spec, Mortal(folder, kind, int(number))))
    run.start()
    run.join()
    assert run.exitcode == -signal.SIGKILL


def alone(spec: DistillSpec, folder: Path) -> Path:
    """Run a distillation by itself, and return the checkpoint of its student."""
    finished = execute(spec, RecordingContext(folder))
    assert finished.outcome == "succeeded", finished.error
    return best(folder)


class TestStages:
    def test_the_first_stage_is_the_distillation_from_the_first_teacher(
        self, undisturbed: Undisturbed, teachers: list[dict[str, Any]], tmp_path: Path
    ) -> None:
        first = distill_spec(teachers[0]["checkpoint"], teacher=KEYS)
        assert_equal(best(undisturbed.job_dir, "1"), alone(first, tmp_path))

    def test_the_second_stage_is_a_fresh_distillation_that_begins_with_the_first_ones_student(
        self, undisturbed: Undisturbed, tmp_path: Path
    ) -> None:
        second = undisturbed.spec.stage(1, position=1, weights=str(best(undisturbed.job_dir, "1")))
        assert second.seed != undisturbed.spec.seed
        assert_equal(best(undisturbed.job_dir, "2"), alone(second, tmp_path))

    def test_a_later_stage_loads_every_key_of_the_student_before_and_a_control_is_optional(
        self, teachers: list[dict[str, Any]], tmp_path: Path
    ) -> None:
        context = RecordingContext(tmp_path)
        spec = chain_spec(*teachers, inherit="full", control=False)
        assert execute(spec, context).outcome == "succeeded"
        loaded = [event for event in context.of(WeightsLoaded) if event.role != "teacher"]
        assert [(event.role, event.source) for event in loaded] == [
            ("inherited", teachers[0]["checkpoint"]),
            ("student", "stage:1/best"),
        ]
        assert loaded[1].num_matched == loaded[1].num_total
        assert [event.stage for event in context.of(StageStarted)] == ["1", "2"], "without a control"

    def test_the_control_is_the_distillation_from_the_last_teacher_for_all_epochs(
        self, undisturbed: Undisturbed, teachers: list[dict[str, Any]], tmp_path: Path
    ) -> None:
        control = distill_spec(teachers[1]["checkpoint"], teacher=KEYS, training={"epochs": 2 * EPOCHS})
        assert_equal(best(undisturbed.job_dir, "control"), alone(control, tmp_path))

    def test_the_result_is_the_student_of_the_last_stage(self, undisturbed: Undisturbed) -> None:
        folder = undisturbed.job_dir
        assert_equal(best(folder), best(folder, "2"))
        result = undisturbed.result
        by_stage = {event.stage: event.result for event in undisturbed.of(StageFinished)}
        assert list(by_stage) == ["1", "2", "control"]
        assert result.scores == by_stage["2"].scores
        assert result.train_s == pytest.approx((by_stage["1"].train_s or 0) + (by_stage["2"].train_s or 0))

    def test_the_control_has_the_hours_of_all_stages_and_no_early_stop(self) -> None:
        own = {"epochs": 3, "budget": {"wall_h": 2}, "early_stop": {"patience": 1}}
        common = {"epochs": 2, "budget": {"wall_h": 1, "gpu_h": 1}}
        stages = [{"teacher": {"checkpoint": "a.pt"}}, {"teacher": {"checkpoint": "b.pt"}, "training": own}]
        control = chain_spec(stages=stages, training=common).control_of(1).training
        assert (control.epochs, control.early_stop) == (5, None)
        assert control.budget == TimeBudget(wall_h=3)

    def test_a_stage_may_have_a_method_and_a_training_of_its_own(
        self, teachers: list[dict[str, Any]], tmp_path: Path
    ) -> None:
        own = {"training": TINY["training"] | {"epochs": 1, "batch_size": 8}, "method": {"type": "fgd", "scale": 0.1}}
        stages = [{"teacher": teachers[0], **own}, {"teacher": teachers[1]}]
        spec = chain_spec(stages=stages)
        context = RecordingContext(tmp_path)
        assert execute(spec, context).outcome == "succeeded"
        started = [
            (event.stage, event.epochs, event.first_epoch, event.first_step) for event in context.of(StageStarted)
        ]
        assert started == [("1", 1, 0, 0), ("2", 2, 1, 1), ("control", 3, 3, 5)]
        assert {event.epochs for event in context.of(EpochFinished)} == {6}
        assert {event.steps for event in context.of(EpochFinished)} == {1 + 4 + 6}


class TestEvents:
    def test_epochs_and_steps_count_on_over_all_stages(self, undisturbed: Undisturbed) -> None:
        epochs = undisturbed.of(EpochFinished)
        assert [event.epoch for event in epochs] == [*range(1, 9)]
        assert [event.step for event in epochs] == [*range(2, 17, 2)]
        assert {(event.epochs, event.steps) for event in epochs} == {(8, 16)}
        assert [event.epoch for event in undisturbed.of(Evaluated)] == [*range(1, 9)]
        logged = list(itertools.chain.from_iterable(event.steps for event in undisturbed.of(MetricsLogged)))
        assert logged == [*range(1, 17)]

    def test_the_time_left_contains_the_later_stages(self, undisturbed: Undisturbed) -> None:
        first = undisturbed.of(Progress)[0]
        assert first.eta_s is not None
        # Seven of eight epochs are still to come, of which the stage itself has at most two.
        assert first.eta_s > 3 * first.step / first.images_per_s
        assert undisturbed.of(EpochFinished)[-1].eta_s == pytest.approx(0, abs=60)

    def test_only_the_last_stages_student_is_the_jobs_own_checkpoint(self, undisturbed: Undisturbed) -> None:
        (saved,) = undisturbed.of(CheckpointSaved)
        assert (saved.name, saved.uri) == ("best", best(undisturbed.job_dir).resolve().as_uri())
        assert EPOCHS < saved.epoch <= 2 * EPOCHS
        names = {event.name for event in undisturbed.of(ArtifactSaved)}
        assert {"stages/1/best.pt", "stages/2/best.pt", "stages/control/best.pt"} < names
        # Its pictures and comparison data are the job's; those of the others have their stage's folder in the name.
        assert {"samples.png", "stages/1/samples.png", "stages/control/samples.png"} < names
        assert "stages/2/samples.png" not in names


WITHIN_A_STAGE = slow(
    "tests/test_chains.py::TestKills::test_a_killed_chain_goes_on_and_ends_as_an_undisturbed_one[within a stage]"
)


class TestKills:
    @pytest.mark.parametrize(
        ("event", "resumes"),
        [
            pytest.param("stage_finished 1", [], id="between two stages", marks=WITHIN_A_STAGE),
            pytest.param("epoch_finished 4", ["stages/2/last.pt"], id="within a stage"),
        ],
    )
    def test_a_killed_chain_goes_on_and_ends_as_an_undisturbed_one(
        self, undisturbed: Undisturbed, tmp_path: Path, event: str, resumes: list[str]
    ) -> None:
        spec = undisturbed.spec
        kill(spec, tmp_path, event)
        resumed = RecordingContext(tmp_path)
        assert execute(spec, resumed).outcome == "succeeded"
        assert [each.checkpoint for each in resumed.of(Resumed)] == resumes
        assert [each.stage for each in resumed.of(StageStarted)] == ["2", "control"]
        assert_ends_as(undisturbed, tmp_path)

    def test_a_chain_that_is_killed_again_and_again_ends_as_an_undisturbed_one(
        self, undisturbed: Undisturbed, tmp_path: Path
    ) -> None:
        spec = undisturbed.spec
        # Before the first stage, after its first epoch, when the chain's own checkpoint is saved, and after all stages.
        for event in ("teachers_ordered 1", "evaluated 1", "checkpoint_saved 1", "stage_finished 1"):
            kill(spec, tmp_path, event)
        resumed = RecordingContext(tmp_path)
        finished = execute(spec, resumed)
        assert resumed.of(StageStarted) == []
        assert finished.result is not None and finished.result.scores == undisturbed.result.scores
        assert_ends_as(undisturbed, tmp_path)


class TestResume:
    @WITHIN_A_STAGE
    def test_a_stopped_chain_resumes_within_its_stage(self, undisturbed: Undisturbed, tmp_path: Path) -> None:
        spec = undisturbed.spec
        assert execute(spec, StopsInTheSecondStage(tmp_path)).outcome == "stopped"
        resumed = RecordingContext(tmp_path)
        assert execute(spec, resumed).outcome == "succeeded"
        assert [(event.epoch, event.step) for event in resumed.of(Resumed)] == [(3, 6)]
        assert_ends_as(undisturbed, tmp_path)

    def test_half_the_batch_restarts_the_stage_and_keeps_those_before_it(
        self, undisturbed: Undisturbed, tmp_path: Path
    ) -> None:
        spec = undisturbed.spec.model_copy(update={"control": False})
        assert execute(spec, StopsInTheSecondStage(tmp_path)).outcome == "stopped"
        smaller = spec.model_copy(update={"training": spec.training.model_copy(update={"batch_size": 2})})
        resumed = RecordingContext(tmp_path)
        assert execute(smaller, resumed).outcome == "succeeded"
        assert [(event.stage, event.first_step) for event in resumed.of(StageStarted)] == [("2", 4)]
        assert resumed.of(Resumed) == []

    def test_a_stage_whose_student_is_damaged_is_run_again(self, undisturbed: Undisturbed, tmp_path: Path) -> None:
        folder = shutil.copytree(undisturbed.job_dir, tmp_path / "copy")
        best(folder, "1").write_bytes(b"half a file")
        for name in ("last.pt", "previous.pt"):
            (folder / "stages/1/checkpoints" / name).unlink()
        again = RecordingContext(folder)
        assert execute(undisturbed.spec, again).outcome == "succeeded"
        assert [event.stage for event in again.of(StageStarted)] == ["1"]
        assert_ends_as(undisturbed, folder)

    def test_a_folder_with_another_chain_is_refused_with_the_difference(
        self, undisturbed: Undisturbed, teachers: list[dict[str, Any]], tmp_path: Path
    ) -> None:
        folder = shutil.copytree(undisturbed.job_dir, tmp_path / "copy")
        finished = execute(chain_spec(*reversed(teachers)), RecordingContext(folder))
        assert finished.error is not None and finished.error.code == "weights"
        assert "stages.0.teacher.checkpoint was" in finished.error.message


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return write_squares(tmp_path_factory.mktemp("data") / "squares")


@pytest.fixture(scope="module")
def skilled(squares: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Two teachers that detect squares."""
    folder = tmp_path_factory.mktemp("skilled")
    training = {"epochs": 40, "evaluate_every": 20, "optimizer": {"learning_rate": 5e-3}}
    spec = train_spec(detector={"backbone": {"stem_width": 8}, "fpn_width": 16}, training=training)
    found = []
    for seed in (0, 2):
        own = spec.model_dump() | {"data": squares, "seed": seed}
        finished = execute(type(spec).model_validate(own), RecordingContext(folder / str(seed)))
        assert finished.result is not None and (finished.result.scores.ap or 0) > 0.3
        found.append({"checkpoint": str(best(folder / str(seed)))})
    return found


class TestTeachers:
    def test_by_adaptation_cost_the_strongest_comes_last_and_all_costs_are_reported(
        self, skilled: list[dict[str, Any]], squares: dict[str, Any], tmp_path: Path
    ) -> None:
        spec = chain_spec(*skilled, order="adaptation_cost", data=squares, control=False)
        context = RecordingContext(tmp_path)
        finished = execute(spec, context)
        assert finished.outcome == "succeeded", finished.error
        (ordered,) = context.of(TeachersOrdered)
        aps = [ap or 0 for ap in ordered.aps]
        assert ordered.order[-1] == aps.index(max(aps))
        assert [stage.teacher for stage in context.of(StageStarted)] == [ordered.teachers[i] for i in ordered.order]
        assert [ordered.costs[i][i] for i in (0, 1)] == [None, None]
        measured = [*ordered.costs_from_student, ordered.costs[0][1], ordered.costs[1][0]]
        assert all(cost is not None and 0 < cost < 1 for cost in measured)

    def test_their_aps_are_measured_once_in_a_chain(
        self, skilled: list[dict[str, Any]], squares: dict[str, Any], tmp_path: Path
    ) -> None:
        context = RecordingContext(tmp_path)
        finished = execute(chain_spec(*skilled, data=squares), context)
        assert finished.outcome == "succeeded", finished.error
        evaluated = [event.what for event in context.events if event.kind == "evaluation_progress"]
        assert evaluated.count("the teacher") <= 2
        assert len(context.of(TeacherChecked)) == 3
        (ordered,) = context.of(TeachersOrdered)
        assert [event.ap for event in context.of(TeacherChecked)] == [*ordered.aps, ordered.aps[1]]

    def test_a_last_teacher_that_detects_nothing_is_refused_before_the_first_stage(
        self,
        skilled: list[dict[str, Any]],
        squares: dict[str, Any],
        tmp_path: Path,
    ) -> None:
        untrained = trained(tmp_path / "untrained", 3)
        spec = chain_spec(skilled[0], {"checkpoint": str(untrained)}, data=squares)
        context = RecordingContext(tmp_path / "chain")
        error = execute(spec, context).error
        assert error is not None
        assert error.message.startswith("stages.1: ")
        assert context.of(StageStarted) == []

    def test_a_control_that_can_inherit_nothing_is_refused_before_the_first_stage(
        self, teachers: list[dict[str, Any]], tmp_path: Path
    ) -> None:
        wider = trained(tmp_path / "wider", 3, detector={"fpn_width": 16})
        spec = chain_spec(teachers[0], {"checkpoint": str(wider), **KEYS}, inherit="full")
        context = RecordingContext(tmp_path / "chain")
        error = execute(spec, context).error
        assert error is not None and error.message.startswith("stages.1: only")
        assert context.of(StageStarted) == []

    def test_an_order_by_cost_needs_the_ap_of_each_teacher(self, teachers: list[dict[str, Any]]) -> None:
        with pytest.raises(ValueError, match="stages 0, 1 have"):
            chain_spec(*teachers, order="adaptation_cost")

    def test_one_teacher_is_no_chain(self, teachers: list[dict[str, Any]]) -> None:
        with pytest.raises(ValueError, match="for one teacher, use kind: distill"):
            chain_spec(teachers[0])
