"""A training ends before its last epoch: evaluations without a gain, or a budget that is spent."""

from pathlib import Path
from typing import Any

import pytest

from fgd_core.detectors.weights.checkpoint import read_checkpoint, save_checkpoint
from fgd_core.runs import execute
from fgd_core.spec.event_text import describe
from fgd_core.spec.events import EndedEarly, EpochFinished, Evaluated, Resumed
from fgd_core.spec.training import EarlyStop, TimeBudget, sum_of_budgets
from fgd_core.training.ending import Spent, exhausted, no_gain_is_left
from tests.library import RecordingContext, StopsAfterAnEpoch, train_spec


class TestPatience:
    @pytest.mark.parametrize(
        ("aps", "is_over"),
        [
            ([0.1, 0.2], False),
            ([0.1, 0.2, 0.2], False),
            ([0.1, 0.2, 0.2, 0.1], True),
            ([0.3, 0.2, 0.25, 0.31], False),
            ([0.0, 0.0, 0.0], True),
            ([], False),
        ],
    )
    def test_ends_after_that_many_evaluations_without_a_gain(self, aps: list[float], is_over: bool) -> None:
        assert no_gain_is_left(EarlyStop(patience=2), aps) is is_over

    def test_gains_that_are_too_small_do_not_count_but_add_up(self) -> None:
        settings = EarlyStop(patience=2, min_gain=0.02)
        assert no_gain_is_left(settings, [0.1, 0.11, 0.115])
        assert not no_gain_is_left(settings, [0.1, 0.11, 0.125])


class TestTheBudget:
    def test_of_several_trainings_has_a_limit_where_each_has_it(self) -> None:
        both, wall = TimeBudget(wall_h=1, gpu_h=2), TimeBudget(wall_h=3)
        assert sum_of_budgets([both, both]) == TimeBudget(wall_h=2, gpu_h=4)
        assert sum_of_budgets([both, wall]) == TimeBudget(wall_h=4)
        assert sum_of_budgets([both, None]) is None

    def test_ends_before_the_epoch_that_would_exceed_it(self) -> None:
        budget = TimeBudget(wall_h=1)
        assert exhausted(budget, Spent(3000, 0), next_s=600, gpus=0) is None
        assert exhausted(budget, Spent(3000, 0), next_s=601, gpus=0) == "wall_time"

    def test_counts_hours_of_all_gpus(self) -> None:
        budget = TimeBudget(gpu_h=2)
        assert exhausted(budget, Spent(9000, 6000), next_s=300, gpus=4) is None
        assert exhausted(budget, Spent(9000, 6000), next_s=301, gpus=4) == "gpu_time"


def ended(folder: Path, **training: Any) -> tuple[RecordingContext, Any]:
    context = RecordingContext(folder)
    finished = execute(train_spec(training={"epochs": 6, **training}), context)
    assert finished.outcome == "succeeded", finished.error
    return context, finished.result


class TestARun:
    def test_ends_when_the_ap_no_longer_grows_and_stays_so(self, tmp_path: Path) -> None:
        settings = {"early_stop": {"patience": 2, "min_gain": 0.9}}
        context, result = ended(tmp_path, **settings)
        assert result.ended_by == "early_stop"
        assert [event.epoch for event in context.of(Evaluated)] == [1, 2, 3]
        (event,) = context.of(EndedEarly)
        assert describe(event) == "training ends after epoch 3: the last evaluations had no gain"
        again, result = ended(tmp_path, **settings)
        assert result.ended_by == "early_stop" and again.of(EpochFinished) == []
        patient, result = ended(tmp_path, early_stop={"patience": 3, "min_gain": 0.9})
        assert result.ended_by == "early_stop"
        assert [event.epoch for event in patient.of(EpochFinished)] == [4]

    def test_ends_with_an_evaluation_when_its_budget_is_spent(self, tmp_path: Path) -> None:
        context, result = ended(tmp_path, budget={"wall_h": 1e-6}, evaluate_every=5)
        assert result.ended_by == "wall_time"
        assert [event.epoch for event in context.of(Evaluated)] == [1]
        assert [event.epoch for event in context.of(EndedEarly)] == [1]
        again, result = ended(tmp_path, budget={"wall_h": 2e-6}, evaluate_every=5)
        assert result.ended_by == "wall_time" and again.of(EpochFinished) == []
        larger, result = ended(tmp_path, budget={"wall_h": 9}, evaluate_every=5)
        assert result.ended_by is None
        assert [event.epoch for event in larger.of(EpochFinished)] == [2, 3, 4, 5, 6]

    def test_counts_the_time_of_an_attempt_with_a_larger_batch(self, tmp_path: Path) -> None:
        fields = {"epochs": 6, "budget": {"wall_h": 1}}
        assert execute(train_spec(training=fields), StopsAfterAnEpoch(tmp_path)).outcome == "stopped"
        _, training = read_checkpoint(tmp_path / "checkpoints/last.pt")
        assert training is not None
        training["place"] |= {"wall_s": 7200.0, "gpu_s": 0.0}
        halved = train_spec(training={**fields, "batch_size": train_spec().training.batch_size // 2})
        checkpoint, _ = read_checkpoint(tmp_path / "checkpoints/last.pt")
        save_checkpoint(tmp_path / "checkpoints/last.pt", checkpoint, training)
        context = RecordingContext(tmp_path)
        finished = execute(halved, context)
        assert finished.result is not None and finished.result.ended_by == "wall_time"
        assert [event.epoch for event in context.of(EpochFinished)] == [1]

    def test_counts_the_time_of_earlier_attempts(self, tmp_path: Path) -> None:
        spec = train_spec(training={"epochs": 6, "budget": {"wall_h": 1}})
        assert execute(spec, StopsAfterAnEpoch(tmp_path)).outcome == "stopped"
        _, training = read_checkpoint(tmp_path / "checkpoints/last.pt")
        assert training is not None
        first_s = training["place"]["wall_s"]
        assert first_s > 0
        context = RecordingContext(tmp_path)
        execute(spec, context)
        _, training = read_checkpoint(tmp_path / "checkpoints/last.pt")
        assert context.of(Resumed) and training is not None
        assert training["place"]["wall_s"] > first_s + training["place"]["evaluation_s"]
