"""Stored events fold into the status of a job, and each gets a line of text."""

from datetime import UTC, datetime
from typing import Any

import pytest

from fgd_core.spec.event_state import JobStatus, read_event, read_trial_event
from fgd_core.spec.event_text import describe
from fgd_core.spec.events import StoredEvent
from fgd_core.spec.results import Scores
from fgd_core.spec.trials import TrialEvent

AT = datetime(2026, 1, 1, tzinfo=UTC)
STEP = {"epoch": 1, "epochs": 2, "step": 5, "steps": 10, "images_per_s": 8.0, "eta_s": 75.0, "learning_rate": 0.1}
PROGRESS = {"kind": "progress", **STEP, "values": {"loss": 0.5}}


def stored(data: dict[str, Any]) -> StoredEvent:
    return StoredEvent(job_id="a", sequence=1, at=AT, attempt=1, kind=data["kind"], data=data)


def status(*events: dict[str, Any]) -> JobStatus:
    folded = JobStatus("a", "student", "train", "queued")
    for event in events:
        folded.update(stored(event))
    return folded


def started(stage: str) -> dict[str, Any]:
    place = {"epochs": 12, "first_epoch": 0, "first_step": 0}
    return {"kind": "stage_started", "stage": stage, "num_stages": 2, "teacher": "b.pt", "method": "fgd", **place}


def evaluated(ap: float) -> dict[str, Any]:
    scores = dict.fromkeys([name for name in Scores.model_fields if name not in ("per_class", "masks")])
    return {"kind": "evaluated", "epoch": 1, "step": 1, "scores": scores | {"ap": ap}}


class TestJobStatus:
    def test_progress_is_folded_in(self) -> None:
        found = status(PROGRESS)
        assert (found.progress.step, found.progress.values, found.fraction) == (5, {"loss": 0.5}, 0.5)

    def test_a_failed_job_has_its_error(self) -> None:
        error = {"code": "data", "message": "no boxes"}
        moved = {"kind": "state_changed", "from_state": "running", "to_state": "failed", "reason": "run_failed"}
        assert status(moved | {"error": error}).error == "no boxes"
        assert status(moved | {"message": "no node left"}).error == "no node left"

    def test_a_chain_has_its_stage_and_the_scores_of_its_newest_stage(self) -> None:
        found = status(started("1"), evaluated(0.5), started("2"), evaluated(0.3))
        assert (found.progress.stage, found.progress.ap, found.progress.best_ap) == ("stage 2/2", 0.3, 0.3)

    def test_a_stage_that_goes_on_after_a_loss_keeps_its_best_score(self) -> None:
        found = status(started("2"), evaluated(0.5), started("2"), evaluated(0.3))
        assert (found.progress.ap, found.progress.best_ap) == (0.3, 0.5)

    def test_a_retry_names_its_cause_once(self) -> None:
        moved = {"kind": "state_changed", "from_state": "lost", "to_state": "queued", "reason": "retry"}
        cause = {"code": "lost_run", "message": "the run is gone"}
        event = read_event(stored(moved | {"error": cause, "message": "the run is gone; starts again in 1 s"}))
        assert event is not None
        assert describe(event) == "queued  the run is gone; starts again in 1 s"

    def test_the_control_of_a_chain_changes_none_of_its_scores(self) -> None:
        found = status(started("2"), evaluated(0.3), started("control"), evaluated(0.9))
        assert (found.progress.stage, found.progress.ap, found.progress.best_ap) == ("control", 0.3, 0.3)

    def test_a_paused_job_says_which_job_needs_its_resources(self) -> None:
        assert "job b" in status({"kind": "pause_requested", "for_job": "b"}).doing

    @pytest.mark.parametrize("event", [{"kind": "from_the_future", "x": 1}, {"kind": "progress", "step": "many"}])
    def test_an_event_that_cannot_be_read_changes_nothing(self, event: dict[str, Any]) -> None:
        assert read_event(stored(event)) is None
        assert status(PROGRESS, event) == status(PROGRESS)

    def test_an_event_of_a_trial_is_read_if_it_is_known(self) -> None:
        assert read_trial_event(TrialEvent(trial=0, event=PROGRESS)) is not None
        assert read_trial_event(TrialEvent(trial=0, event={"kind": "from_the_future"})) is None


class TestDescribe:
    @pytest.mark.parametrize(
        ("data", "text"),
        [
            (PROGRESS, "epoch 1/2, step 5/10  8 images/s  1:15 left"),
            (PROGRESS | {"kind": "epoch_finished"}, "epoch 1/2  loss 0.5  8 images/s  1:15 left"),
            ({"kind": "metrics_logged", "steps": [1], "values": {"loss": [0.5]}}, None),
            ({"kind": "warned", "code": "x", "message": "slow disk"}, "warning: slow disk"),
            (started("2"), "stage 2/2: 12 epochs of fgd from b.pt"),
            (started("control"), "control: 12 epochs of fgd from b.pt"),
            (
                {"kind": "teachers_ordered", "by": "given", "order": [1, 0], "teachers": ["a.pt", "b.pt"]},
                "teachers as given: b.pt → a.pt",
            ),
            ({"kind": "cancel_requested", "by": "ana"}, "requested: cancel by ana"),
            ({"kind": "pause_requested", "for_job": "b"}, "requested: pause to make room for job b"),
            ({"kind": "priority_changed", "from_priority": 0, "to_priority": 7}, "requested: priority 7"),
            ({"kind": "trial_ended", "trial": 2, "cause": "stopped", "epoch": 3}, "trial 2 stopped after 3 epochs"),
            ({"kind": "run_finished", "outcome": "stopped"}, "run stopped"),
        ],
        ids=lambda each: each["kind"] if isinstance(each, dict) else "",
    )
    def test_an_event_is_one_line(self, data: dict[str, Any], text: str | None) -> None:
        event = read_event(stored(data))
        assert event is not None
        assert describe(event) == text
