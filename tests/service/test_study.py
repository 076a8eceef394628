"""The fold of a sweep's events into trials."""

import json

import pytest

from fgd_core.spec.events import StoredEvent
from fgd_core.spec.results import ErrorReport
from fgd_core.spec.study_state import StudyFold, StudyRow, fold_trials
from fgd_core.spec.sweep_report import TrialView
from tests.reports.recorded_sweeps import STEP_S, Study, asha_study


def trials(study: Study, *directions: str, is_over: bool = False) -> list[TrialView]:
    return fold_trials(study.events(), directions or ("maximize",), is_over=is_over)  # type: ignore[arg-type]


def the_trial(study: Study, *directions: str, is_over: bool = False) -> TrialView:
    (only,) = trials(study, *directions, is_over=is_over)
    return only


class TestTrial:
    def test_a_completed_trial_has_its_values_and_reports(self) -> None:
        study = Study(epochs=3)
        study.run(4, [0.1, 0.3, 0.2], {"method.alpha": 0.5}, seed=7)
        trial = the_trial(study)
        assert (trial.trial, trial.state, trial.epoch, trial.epochs, trial.seed) == (4, "completed", 3, 3, 7)
        assert trial.values == {"method.alpha": 0.5}
        assert [(point.epoch, point.objectives) for point in trial.reports] == [(1, [0.1]), (2, [0.3]), (3, [0.2])]
        assert trial.train_s == 6.0

    def test_the_best_epoch_counts_and_not_the_last(self) -> None:
        study = Study(epochs=3)
        study.run(0, [0.1, 0.3, 0.2])
        assert (the_trial(study).objectives, the_trial(study).best_epoch) == ([0.3], 2)

    def test_the_lowest_value_counts_if_the_objective_is_minimised(self) -> None:
        study = Study(epochs=3)
        study.run(0, [5.0, 2.0, 3.0])
        assert (the_trial(study, "minimize").objectives, the_trial(study, "minimize").best_epoch) == ([2.0], 2)

    def test_several_objectives_are_those_of_one_epoch(self) -> None:
        study = Study()
        study.start(0)
        study.report(0, 1, 0.1, 9.0)
        study.report(0, 2, 0.3, 5.0)
        study.report(0, 3, 0.2, 1.0)
        assert the_trial(study, "maximize", "minimize").objectives == [0.3, 5.0]

    def test_an_objective_that_is_known_at_the_end_comes_from_the_final_event(self) -> None:
        study = Study(epochs=1)
        study.start(0)
        study.report(0, 1, 0.3, None)
        study.end(0, "completed", 1, objectives=[0.3, 40.0])
        assert the_trial(study, "maximize", "maximize").objectives == [0.3, 40.0]

    @pytest.mark.parametrize("no_number", [None, float("nan"), float("inf")])
    def test_a_trial_without_a_finite_value_has_no_best_epoch(self, no_number: float | None) -> None:
        study = Study()
        study.start(0)
        study.report(0, 1, no_number)
        assert (the_trial(study).objectives, the_trial(study).best_epoch) == ([None], None)

    def test_a_trial_holds_resources_from_its_start_to_its_final_event(self) -> None:
        study = Study(epochs=2)
        study.run(0, [0.1, 0.2])
        study.run(1, [0.1, 0.2])
        assert [trial.busy_s for trial in trials(study)] == [3 * STEP_S, 3 * STEP_S]


class TestIncompleteEvents:
    def test_a_trial_is_running_until_its_final_event(self) -> None:
        study = Study()
        study.start(0)
        study.report(0, 1, 0.1)
        assert (the_trial(study).state, the_trial(study).epoch) == ("running", 1)

    def test_a_trial_without_a_final_event_is_lost_when_the_sweep_is_over(self) -> None:
        study = Study()
        study.start(0)
        assert the_trial(study, is_over=True).state == "lost"

    def test_the_events_may_end_at_any_point(self) -> None:
        study = Study(epochs=2)
        study.run(0, [0.1, 0.2])
        study.start(1, {"method.alpha": 1.0})
        study.report(1, 1, 0.3)
        study.end(1, "lost", 1)
        study.start(1, {"method.alpha": 1.0}, from_epoch=1, is_resumed=True)
        study.report(1, 2, 0.4)
        study.end(1, "completed", 2)
        for count in range(len(study.reported) + 1):
            found = fold_trials(study.events()[:count], ("maximize",), is_over=False)
            assert [trial.trial for trial in found] == [0, 1][: len(found)]
        assert [trial.state for trial in trials(study)] == ["completed", "completed"]

    def test_a_fold_continues_after_each_event_as_if_it_had_all(self) -> None:
        events, continued = asha_study().events(), StudyFold(["maximize"])
        for count, event in enumerate(events, start=1):
            continued.add_rows([StudyRow(event.sequence, event.at, event.attempt, json.dumps(event.data))])
            if count % 20 == 0 or count == len(events):
                for is_over in (False, True):
                    found = continued.trials(is_over=is_over)
                    assert found == fold_trials(events[:count], ["maximize"], is_over=is_over)

    def test_unreadable_events_are_skipped(self) -> None:
        study = Study(epochs=1)
        study.run(0, [0.1])
        broken = study.events()[1].model_copy(update={"data": {"kind": "trial_reported", "trial": "many"}})
        unknown = study.events()[1].model_copy(update={"kind": "trial_dreamt"})
        events: list[StoredEvent] = [broken, unknown, *study.events()]
        events[-1] = events[-1].model_copy(update={"data": events[-1].data | {"mood": "good"}})
        (trial,) = fold_trials(events, ("maximize",), is_over=False)
        assert (trial.state, len(trial.reports)) == ("completed", 1)

    def test_a_report_without_a_start_is_skipped(self) -> None:
        study = Study()
        study.report(3, 1, 0.5)
        study.end(3, "completed", 1)
        assert trials(study) == []


class TestResumedTrial:
    def test_each_epoch_is_reported_once_with_its_newer_value(self) -> None:
        study = Study(epochs=3)
        study.start(0)
        study.report(0, 1, 0.1)
        study.report(0, 2, 0.9)
        study.start(0, from_epoch=1, is_resumed=True)
        study.report(0, 2, 0.2)
        study.report(0, 3, 0.3)
        study.end(0, "completed", 3)
        trial = the_trial(study)
        assert [point.objectives for point in trial.reports] == [[0.1], [0.2], [0.3]]
        assert trial.objectives == [0.3]

    def test_each_epoch_is_counted_once(self) -> None:
        study = Study(epochs=3)
        study.start(0)
        study.report(0, 2, 0.1)
        study.start(0, from_epoch=1, is_resumed=True)
        study.report(0, 3, 0.3)
        assert (the_trial(study).epochs_trained, len(the_trial(study).segments)) == (3, 1)

    def test_it_holds_no_resources_while_its_driver_is_down(self) -> None:
        study = Study(epochs=3)
        study.start(0)
        study.report(0, 1, 0.1)
        study.start(1)
        study.start(0, from_epoch=1, is_resumed=True)
        study.report(0, 2, 0.1)
        assert trials(study)[0].busy_s == 2 * STEP_S

    def test_it_is_running_again_and_has_no_error(self) -> None:
        study = Study()
        study.start(0)
        study.end(0, "lost", 0, error=ErrorReport(code="lost", message="gone"))
        study.start(0, is_resumed=True)
        assert (the_trial(study).state, the_trial(study).error) == ("running", None)


class TestTrialWithChangedValues:
    @pytest.fixture
    def study(self) -> Study:
        """Trial 1 continues from a checkpoint of trial 0 after two epochs, with other values."""
        study = Study(epochs=4)
        study.start(1, {"method.alpha": 1.0})
        study.report(1, 2, 0.1)
        study.end(1, "paused", 2)
        study.start(1, {"method.alpha": 2.5}, segment=1, goes_on_from=(0, 0), from_epoch=2)
        study.report(1, 4, 0.4, segment=1)
        study.end(1, "completed", 4, segment=1)
        return study

    def test_it_shows_the_values_of_its_best_epoch(self, study: Study) -> None:
        assert the_trial(study).values == {"method.alpha": 2.5}
        assert [part.values["method.alpha"] for part in the_trial(study).segments] == [1.0, 2.5]
        assert the_trial(study).segments[1].goes_on_from == (0, 0)

    def test_only_epochs_that_it_trained_itself_are_counted(self) -> None:
        study = Study(epochs=9)
        study.start(1)
        study.report(1, 2, 0.1)
        study.end(1, "paused", 2)
        study.start(1, segment=1, goes_on_from=(0, 0), from_epoch=6)
        study.report(1, 9, 0.4, segment=1)
        assert the_trial(study).epochs_trained == 2 + 3
