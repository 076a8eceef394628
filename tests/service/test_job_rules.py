"""The pure rules: lifecycle, retry, outcome, liveness, progress, thinning."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fgd_core.spec.event_state import fold_progress
from fgd_core.spec.events import (
    Evaluated,
    GpuMemory,
    JobState,
    MetricsLogged,
    Outcome,
    Progress,
    RunFinished,
)
from fgd_core.spec.report import CurvePoint
from fgd_core.spec.resources import RetryPolicy
from fgd_core.spec.results import ErrorReport, KeypointScores, MaskScores, Scores
from fgd_core.spec.views import ProgressView
from service.jobs import lifecycle
from service.jobs.cluster import ClusterJob, is_lost
from service.jobs.lifecycle import Reason
from service.jobs.outcome import after_loss, after_run_finished
from service.jobs.points import points_of
from service.jobs.retry import Budgets, Fail, Retry, after_failure, halved, why_unhalvable
from service.jobs.thinning import thin

LOST = ErrorReport(code="lost_run", message="the run is gone", retryable=True)


def budgets(*, failures: int = 0, losses: int = 0, max_failures: int = 9, max_losses: int = 9) -> Budgets:
    return Budgets(policy=RetryPolicy(failures=max_failures, losses=max_losses), failures=failures, losses=losses)


class TestLifecycle:
    def test_every_state_is_in_the_table_of_moves(self) -> None:
        assert set(lifecycle.MOVES) == set(get_args(JobState))

    def test_succeeded_failed_and_cancelled_are_the_final_states(self) -> None:
        assert {"succeeded", "failed", "cancelled"} == lifecycle.OVER

    def test_every_state_can_reach_an_end(self) -> None:
        ending = set(lifecycle.OVER)
        for _ in lifecycle.MOVES:
            ending |= {state for state, moves in lifecycle.MOVES.items() if moves & ending}
        assert ending == set(lifecycle.MOVES)

    def test_only_a_queued_job_starts(self) -> None:
        assert lifecycle.sources("starting") == ["queued"]

    def test_a_running_job_is_cancelled_in_two_phases(self) -> None:
        assert "cancelled" not in lifecycle.MOVES["running"]


class TestRetry:
    def test_the_pause_before_retrying_a_lost_run_doubles_up_to_a_minute(self) -> None:
        decisions = [after_failure(LOST, budgets(losses=n, max_losses=100)) for n in (0, 1, 2, 50)]
        assert [decision.after_s for decision in decisions if isinstance(decision, Retry)] == [1.0, 2.0, 4.0, 60.0]

    def test_a_job_fails_when_its_budget_is_spent(self) -> None:
        assert after_failure(LOST, budgets(losses=2, max_losses=2)) == Fail(Reason.RETRIES_SPENT)

    def test_a_loss_does_not_count_against_the_budget_of_failures(self) -> None:
        decision = after_failure(LOST, budgets(failures=2, max_failures=2, max_losses=1))
        assert decision == Retry(after_s=1.0, is_loss=True, number=1, out_of=1)
        network = ErrorReport(code="network", message="away", retryable=True)
        assert after_failure(network, budgets(failures=2, max_failures=2)) == Fail(Reason.RETRIES_SPENT)

    def test_a_permanent_error_is_not_retried(self) -> None:
        error = ErrorReport(code="data", message="no boxes")
        assert after_failure(error, budgets()) == Fail(Reason.RUN_FAILED)

    def test_out_of_memory_is_not_retried_even_if_the_run_calls_it_retryable(self) -> None:
        error = ErrorReport(code="out_of_memory", message="too much", retryable=True)
        assert after_failure(error, budgets()) == Fail(Reason.RUN_FAILED)

    def test_an_unknown_code_is_retried_if_the_run_calls_it_retryable(self) -> None:
        error = ErrorReport(code="cosmic_ray", message="a bit flipped", retryable=True)
        assert after_failure(error, budgets()) == Retry(after_s=1.0, is_loss=False, number=1, out_of=9)

    def test_out_of_memory_is_retried_with_half_the_batch_if_the_spec_allows_it(self) -> None:
        error = ErrorReport(code="out_of_memory", message="too much")
        policy = RetryPolicy(failures=1, on_out_of_memory="halve_batch")
        decision = after_failure(error, Budgets(policy=policy, failures=0, losses=0))
        assert isinstance(decision, Retry) and decision.halves_batch
        assert after_failure(error, Budgets(policy=policy, failures=1, losses=0)) == Fail(Reason.RETRIES_SPENT)

    def test_out_of_memory_is_not_retried_if_no_batch_can_be_halved(self) -> None:
        error = ErrorReport(code="out_of_memory", message="too much")
        policy = RetryPolicy(failures=9, on_out_of_memory="halve_batch")
        spent = Budgets(policy=policy, failures=0, losses=0, unhalvable="nothing is left")
        assert after_failure(error, spent) == Fail(Reason.RUN_FAILED, "nothing is left")

    def test_a_batch_of_the_fewest_images_that_its_workers_can_share_cannot_be_halved(self) -> None:
        assert not why_unhalvable({"training": {"batch_size": 8}, "resources": {"workers": 4}})
        assert why_unhalvable({"training": {"batch_size": 4}, "resources": {"workers": 4}})
        assert why_unhalvable({"kind": "sweep", "base": {"training": {"batch_size": 8}}})

    @pytest.mark.parametrize(
        ("accumulate", "resources", "least"),
        [(1, {}, 2), (2, {"workers": 3}, 12), (1, {"workers": 3, "min_workers": 2}, 6)],
    )
    def test_halving_leaves_each_worker_the_images_that_the_method_compares(
        self, accumulate: int, resources: dict[str, int], least: int
    ) -> None:
        form = {"type": "composed", "transform": "images"}
        training = {"batch_size": 24, "accumulate": accumulate}
        plain = {"method": {"type": "fgd"}, "training": training, "resources": resources}
        of_mixture = {"method": {"type": "mixed", "parts": {"form": form}}}
        for changes in ({"method": form}, of_mixture, {"stages": [{"method": form}]}):
            halvings = halved({**plain, **changes}, 9)
            assert halvings["training.batch_size"] == least
            smallest = {**plain, **changes, "training": {**training, "batch_size": least}}
            assert "the method compares images, so each worker must see 2" in why_unhalvable(smallest)
        # A method that weighs nothing compares nothing.
        assert halved({**plain, "method": {**form, "scale": 0}}, 9)["training.batch_size"] < 12

    def test_halving_changes_nothing_in_a_job_without_a_batch(self) -> None:
        assert halved({"kind": "check_data", "num_samples": 12}, 1) == {}

    def test_a_halved_batch_can_still_be_shared_by_the_workers(self) -> None:
        spec = {"training": {"batch_size": 12}, "resources": {"workers": 4}}
        assert halved(spec, 1) == {"training.batch_size": 4}
        assert halved(spec, 5) == {"training.batch_size": 4}

    def test_keeps_equal_parts_and_lets_a_rate_for_a_batch_size_follow_by_itself(self) -> None:
        training = {"batch_size": 12, "accumulate": 3, "learning_rate_for": 16, "optimizer": {"learning_rate": 0.01}}
        assert halved({"kind": "train", "training": training}, 1) == {"training.batch_size": 6}
        assert halved({"kind": "train", "training": training}, 4) == {"training.batch_size": 3}

    def test_halving_changes_the_training_of_a_chain_and_of_each_stage_with_its_own(self) -> None:
        training = {"batch_size": 16, "optimizer": {"learning_rate": 0.02}}
        own = {"batch_size": 6, "optimizer": {"learning_rate": 0.01}}
        stages = [{"teacher": "a", "training": None}, {"teacher": "b", "training": own}]
        assert halved({"kind": "chain", "training": training, "stages": stages}, 1) == {
            "training.batch_size": 8,
            "training.optimizer.learning_rate": 0.01,
            "stages": [
                stages[0],
                {"teacher": "b", "training": {"batch_size": 3, "optimizer": {"learning_rate": 0.005}}},
            ],
        }


class TestOutcome:
    @pytest.mark.parametrize("resumes_itself", [False, True])
    @pytest.mark.parametrize("state", sorted(lifecycle.ON_CLUSTER))
    @pytest.mark.parametrize("outcome", get_args(Outcome))
    def test_every_outcome_is_a_chain_of_legal_moves_from_every_active_state(
        self, state: JobState, outcome: Outcome, resumes_itself: bool
    ) -> None:
        for error in (None, LOST):
            finished = RunFinished(outcome=outcome, error=error)
            now = state
            for step in after_run_finished(state, finished, budgets(), resumes_itself=resumes_itself):
                assert step.to in lifecycle.MOVES[now]
                now = step.to

    @pytest.mark.parametrize("resumes_itself", [False, True])
    @pytest.mark.parametrize("state", sorted(lifecycle.ON_CLUSTER))
    @pytest.mark.parametrize("max_losses", [0, 1])
    def test_every_loss_is_a_chain_of_legal_moves(self, state: JobState, max_losses: int, resumes_itself: bool) -> None:
        for step in after_loss(state, LOST, budgets(max_losses=max_losses), resumes_itself=resumes_itself):
            assert step.to in lifecycle.MOVES[state]
            state = step.to

    @pytest.mark.parametrize(("resumes_itself", "ends"), [(False, "paused"), (True, "queued")])
    def test_a_pausing_run_that_stops_or_is_lost_is_paused(self, resumes_itself: bool, ends: JobState) -> None:
        stopped = RunFinished(outcome="stopped")
        assert after_run_finished("pausing", stopped, budgets(), resumes_itself=resumes_itself)[-1].to == ends
        assert after_loss("pausing", LOST, budgets(), resumes_itself=resumes_itself)[-1].to == ends

    def test_a_run_that_fails_while_it_pauses_stays_paused(self) -> None:
        finished = RunFinished(outcome="failed", error=LOST)
        assert after_run_finished("pausing", finished, budgets(), resumes_itself=False)[-1].to == "paused"

    def test_a_run_that_stopped_without_a_request_is_retried(self) -> None:
        (step,) = after_run_finished("running", RunFinished(outcome="stopped"), budgets(), resumes_itself=False)
        assert (step.to, step.reason) == ("queued", Reason.RUN_STOPPED)

    def test_a_run_that_finishes_before_its_cancellation_succeeds(self) -> None:
        (step,) = after_run_finished("cancelling", RunFinished(outcome="succeeded"), budgets(), resumes_itself=False)
        assert step.to == "succeeded"


class TestLiveness:
    FAILED = ClusterJob(submission_id="s", status="FAILED", message="")
    RUNNING = ClusterJob(submission_id="s", status="RUNNING", message="")

    def lost(self, word: ClusterJob | None, *, silent_s: float, over_for_s: float = 5.0) -> bool:
        return is_lost(word, silent_s=silent_s, over_for_s=over_for_s, heartbeat_s=5, heartbeat_timeout_s=30)

    def test_a_silent_run_that_ray_reports_as_running_is_not_lost(self) -> None:
        assert not self.lost(self.RUNNING, silent_s=10_000)

    def test_a_run_with_a_recent_heartbeat_is_not_lost_although_ray_says_failed(self) -> None:
        assert not self.lost(self.FAILED, silent_s=9.9)

    def test_a_silent_run_that_ray_reports_as_ended_is_lost(self) -> None:
        assert self.lost(self.FAILED, silent_s=10.1)

    def test_a_run_that_just_ended_has_time_for_its_final_batch(self) -> None:
        assert not self.lost(self.FAILED, silent_s=100, over_for_s=1.0)

    def test_an_unknown_run_is_lost_when_its_heartbeat_has_expired(self) -> None:
        assert not self.lost(None, silent_s=29)
        assert self.lost(None, silent_s=31)


class TestProgress:
    PROGRESS = Progress(
        epoch=2, epochs=5, step=20, steps=50, images_per_s=9.0, eta_s=3.0, learning_rate=0.1, values={"loss": 0.5}
    )

    @staticmethod
    def evaluated(ap: float | None) -> Evaluated:
        none = dict.fromkeys(Scores.model_fields)
        return Evaluated(epoch=1, step=10, scores=Scores.model_validate(none | {"ap": ap, "per_class": {}}))

    def test_progress_shows_the_newest_values(self) -> None:
        view = fold_progress(ProgressView(step=10, ap=0.3), self.PROGRESS)
        assert (view.epoch, view.step, view.values, view.ap) == (2, 20, {"loss": 0.5}, 0.3)

    def test_the_gpu_memory_of_each_worker_stays_until_the_next_progress(self) -> None:
        memory = [GpuMemory(allocated_bytes=1, peak_bytes=2), GpuMemory(allocated_bytes=3, peak_bytes=4)]
        view = fold_progress(ProgressView(), self.PROGRESS.model_copy(update={"gpu_memory_of_workers": memory}))
        assert fold_progress(view, self.evaluated(0.3)).gpu_memory_of_workers == memory
        assert fold_progress(view, self.PROGRESS).gpu_memory_of_workers == []

    def test_the_best_score_is_kept(self) -> None:
        view = ProgressView()
        for ap in (0.3, 0.5, None, 0.4):
            view = fold_progress(view, self.evaluated(ap))
        assert (view.ap, view.best_ap) == (0.4, 0.5)

    def test_values_of_single_steps_become_points_but_means_do_not(self) -> None:
        logged = MetricsLogged(steps=[19, 20], values={"loss": [0.6, 0.4]})
        assert points_of([logged, self.PROGRESS]) == {
            "loss": ([19, 20], [0.6, 0.4]),
            "learning_rate": ([20], [0.1]),
            "images_per_s": ([20], [9.0]),
        }

    def test_waits_and_gpu_memory_become_points_where_they_are_known(self) -> None:
        known = self.PROGRESS.model_copy(update={"data_wait": 0.25, "gpu_memory_bytes": 4096})
        found = points_of([known])
        assert (found["data_wait"], found["gpu_memory_bytes"]) == (([20], [0.25]), ([20], [4096]))

    def test_columns_of_points_are_not_copied(self) -> None:
        logged = MetricsLogged(steps=[1, 2, 3], values={"loss": [3.0, 2.0, 1.0]})
        assert points_of([logged])["loss"].values is logged.values["loss"]

    def test_the_newest_value_of_a_step_wins(self) -> None:
        again = MetricsLogged(steps=[2, 3], values={"loss": [5.0, 4.0]})
        assert points_of([MetricsLogged(steps=[1, 2], values={"loss": [9.0, 8.0]}), again]) == {
            "loss": ([1, 2, 3], [9.0, 5.0, 4.0])
        }

    def test_scores_of_boxes_and_masks_become_points(self) -> None:
        assert points_of([self.evaluated(0.3)]) == {"val/ap": ([10], [0.3])}
        event = self.evaluated(0.3)
        masks = MaskScores(ap=0.2, ap50=0.4, ap75=None, ap_small=None, ap_medium=None, ap_large=None)
        event = event.model_copy(update={"scores": event.scores.model_copy(update={"masks": masks})})
        found = {name: column.values for name, column in points_of([event]).items()}
        assert found == {"val/ap": [0.3], "val/mask_ap": [0.2], "val/mask_ap50": [0.4]}

    def test_scores_of_keypoints_become_points(self) -> None:
        event = self.evaluated(0.3)
        keypoints = KeypointScores(ap=0.2, ap50=0.4, ap75=None, ap_medium=None, ap_large=None, sigmas="0.05")
        event = event.model_copy(update={"scores": event.scores.model_copy(update={"keypoints": keypoints})})
        found = {name: column.values for name, column in points_of([event]).items()}
        assert found == {"val/ap": [0.3], "val/keypoint_ap": [0.2], "val/keypoint_ap50": [0.4]}

    def test_values_that_no_curve_can_show_are_dropped(self) -> None:
        odd = self.PROGRESS.model_copy(update={"values": {"loss": float("nan")}, "step": 2**70})
        assert points_of([odd]) == {}
        assert fold_progress(ProgressView(), odd).values == {}


class TestThinning:
    @given(st.lists(st.floats(-1e9, 1e9), max_size=300), st.integers(2, 50))
    def test_it_keeps_the_extremes_the_order_and_the_limit(self, values: list[float], max_points: int) -> None:
        curve = [CurvePoint(step=step, value=value) for step, value in enumerate(values)]
        kept = thin(curve, max_points)
        assert len(kept) <= max_points or kept == curve
        assert [point.step for point in kept] == sorted({point.step for point in kept})
        if values:
            kept_values = [point.value for point in kept]
            assert (min(kept_values), max(kept_values)) == (min(values), max(values))
