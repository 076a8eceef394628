"""An evaluation beside the next epoch: the same results as one after the other, also after a kill."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from test_stopping import StopsAfter, assert_ends_as, kill_in_first_evaluation, scores_by_epoch

from fgd_core.detectors import build_detector
from fgd_core.evaluation import evaluator
from fgd_core.runs import execute
from fgd_core.spec.events import EpochFinished, Evaluated, Resumed
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.resources import Resources
from fgd_core.stopping import raise_if_stopped
from fgd_core.training.beside import EvaluationBeside, has_room
from fgd_core.training.machine import default_evaluate_beside
from tests.library import RecordingContext, train_spec
from tests.tiers import slow
from tests.training.killed_run import WAIT_S, SecondEpoch


def _spec(*, beside: bool = True, **training: Any) -> TrainSpec:
    # Four steps in an epoch, a checkpoint after each step, and an average: each evaluated epoch has other weights.
    settings = {"epochs": 3, "checkpoint_every_s": 0, "ema": {"decay": 0.5}, "evaluate_beside": beside, **training}
    return train_spec(data={"num_train": 16, "num_val": 12}, training=settings)


@pytest.fixture(scope="module")
def one_after_the_other(tmp_path_factory: pytest.TempPathFactory) -> RecordingContext:
    context = RecordingContext(tmp_path_factory.mktemp("sequential"))
    assert execute(_spec(beside=False), context).outcome == "succeeded"
    return context


def _assert_same(context: RecordingContext, expected: RecordingContext) -> None:
    assert scores_by_epoch(context.events) == scores_by_epoch(expected.events)
    assert [event.step for event in context.of(Evaluated)] == [event.step for event in expected.of(Evaluated)]
    assert_ends_as(expected, context.job_dir)


def test_the_next_epoch_trains_meanwhile_and_nothing_changes(
    one_after_the_other: RecordingContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, score, has_stepped = SecondEpoch(tmp_path), evaluator.coco_scores, []

    def wait_and_score(*arguments: Any) -> Any:
        has_stepped.append(context.has_stepped.wait(WAIT_S))
        return score(*arguments)

    monkeypatch.setattr(evaluator, "coco_scores", wait_and_score)
    assert execute(_spec(), context).outcome == "succeeded"
    assert has_stepped[0]
    assert [event.epoch for event in context.events if isinstance(event, EpochFinished | Evaluated)] == [
        1,
        1,
        2,
        2,
        3,
        3,
    ]
    _assert_same(context, one_after_the_other)


def test_a_run_that_was_killed_meanwhile_ends_the_same(one_after_the_other: RecordingContext, tmp_path: Path) -> None:
    kill_in_first_evaluation(_spec(), tmp_path, "--beside")
    resumed = RecordingContext(tmp_path)
    assert execute(_spec(), resumed).outcome == "succeeded"
    assert [(event.epoch, event.step, event.awaits_evaluation) for event in resumed.of(Resumed)] == [(1, 4, True)]
    _assert_same(resumed, one_after_the_other)


@slow("tests/training/test_beside.py::test_a_run_that_was_killed_meanwhile_ends_the_same")
def test_a_run_that_was_stopped_meanwhile_ends_the_same(one_after_the_other: RecordingContext, tmp_path: Path) -> None:
    stopped = StopsAfter(tmp_path, "epoch_finished")
    assert execute(_spec(), stopped).outcome == "stopped"
    assert "evaluated" not in stopped.kinds
    resumed = RecordingContext(tmp_path)
    assert execute(_spec(), resumed).outcome == "succeeded"
    _assert_same(resumed, one_after_the_other)


def test_a_checkpoint_within_the_next_epoch_knows_the_score(
    one_after_the_other: RecordingContext, tmp_path: Path
) -> None:
    stopped = StopsAfter(tmp_path, "evaluated")
    assert execute(_spec(), stopped).outcome == "stopped"
    resumed = RecordingContext(shutil.copytree(tmp_path, tmp_path / "copy"))
    assert execute(_spec(), resumed).outcome == "succeeded"
    assert [event.awaits_evaluation for event in resumed.of(Resumed)] == [False]
    assert scores_by_epoch(resumed.events) == scores_by_epoch(one_after_the_other.events)[1:]
    assert_ends_as(one_after_the_other, resumed.job_dir)


def test_its_error_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("no scores today")

    monkeypatch.setattr(evaluator, "coco_scores", fail)
    finished = execute(_spec(), RecordingContext(tmp_path))
    assert finished.error is not None
    assert "no scores today" in finished.error.message


def test_with_an_early_stop_each_score_is_awaited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EvaluationBeside, "start", None)
    spec = _spec(epochs=2, early_stop={"patience": 1, "min_gain": 1.0})
    assert execute(spec, RecordingContext(tmp_path)).outcome == "succeeded"


@pytest.mark.parametrize(("gpus", "cpus", "expected"), [(0, 16, False), (1, 2, False), (1, 4, True)])
def test_the_default_needs_a_gpu_and_cores(gpus: int, cpus: int, *, expected: bool) -> None:
    assert default_evaluate_beside(Resources(gpus=gpus, cpus=cpus)) is expected


@pytest.mark.parametrize(("free_bytes", "expected"), [(99, False), (100, True)])
def test_an_evaluation_has_room_where_a_step_had(
    free_bytes: int, *, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free_bytes, 1000))
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 100)
    assert has_room(torch.device("cuda")) is expected


def test_an_evaluation_that_nobody_takes_is_stopped() -> None:
    detector = build_detector(_spec().detector, 3)

    def evaluate(detector: Any) -> Any:
        while True:
            raise_if_stopped()

    beside = EvaluationBeside(evaluate, lambda: False)
    beside.start(detector, 0)
    assert (beside.is_pending, beside.is_done) == (True, False)
    beside.close()
    assert not beside.is_pending
