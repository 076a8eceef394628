"""The pure rules: lifecycle, retry, outcome, liveness, scheduling, progress, thinning."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fgd_core.spec.events import ErrorReport, Evaluated, JobState, Progress, RunFinished, Scores
from fgd_core.spec.report import CurvePoint
from fgd_core.spec.views import ProgressView
from service.dispatcher.cluster import Capacity, ClusterJob
from service.jobs import lifecycle
from service.jobs.lifecycle import Reason
from service.jobs.liveness import is_lost
from service.jobs.outcome import after_loss, after_run_finished
from service.jobs.progress import fold, points
from service.jobs.retry import Fail, Retry, after_failure
from service.jobs.scheduling import Needs, choose
from service.jobs.thinning import thin

LOST = ErrorReport(code="lost_run", message="the run is gone", retryable=True)


class TestLifecycle:
    def test_every_state_has_its_row(self) -> None:
        assert set(lifecycle.MOVES) == set(get_args(JobState))

    def test_what_is_over_stays_over(self) -> None:
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
    def test_a_lost_run_is_tried_again_later_each_time(self) -> None:
        waits = [after_failure(LOST, retries=n, max_retries=3) for n in range(3)]
        assert waits == [Retry(1.0), Retry(2.0), Retry(4.0)]

    def test_the_budget_ends(self) -> None:
        assert after_failure(LOST, retries=2, max_retries=2) == Fail(Reason.RETRIES_SPENT)

    def test_what_a_repetition_cannot_cure_is_not_repeated(self) -> None:
        error = ErrorReport(code="data", message="no boxes")
        assert after_failure(error, retries=0, max_retries=9) == Fail(Reason.RUN_FAILED)

    def test_out_of_memory_is_not_repeated_even_if_the_run_believes_in_it(self) -> None:
        error = ErrorReport(code="out_of_memory", message="too much", retryable=True)
        assert after_failure(error, retries=0, max_retries=9) == Fail(Reason.RUN_FAILED)

    def test_an_unknown_code_is_taken_at_its_word(self) -> None:
        error = ErrorReport(code="cosmic_ray", message="a bit flipped", retryable=True)
        assert after_failure(error, retries=0, max_retries=9) == Retry(1.0)


class TestOutcome:
    @pytest.mark.parametrize("state", ["starting", "running", "cancelling"])
    @pytest.mark.parametrize("outcome", ["succeeded", "failed", "cancelled"])
    def test_every_outcome_is_a_legal_move_from_every_state_on_the_cluster(
        self, state: JobState, outcome: lifecycle.JobState
    ) -> None:
        finished = RunFinished.model_validate({"outcome": outcome})
        for step in after_run_finished(state, finished, retries=0, max_retries=1):
            assert step.to in lifecycle.MOVES[state]

    @pytest.mark.parametrize("state", ["starting", "running", "cancelling"])
    @pytest.mark.parametrize("max_retries", [0, 1])
    def test_every_loss_is_a_chain_of_legal_moves(self, state: JobState, max_retries: int) -> None:
        for step in after_loss(state, LOST, retries=0, max_retries=max_retries):
            assert step.to in lifecycle.MOVES[state]
            state = step.to

    def test_a_run_that_was_stopped_by_someone_else_is_tried_again(self) -> None:
        (step,) = after_run_finished("running", RunFinished(outcome="cancelled"), retries=0, max_retries=1)
        assert (step.to, step.reason) == ("queued", Reason.RUN_STOPPED)

    def test_a_job_that_made_it_before_its_cancellation_has_succeeded(self) -> None:
        (step,) = after_run_finished("cancelling", RunFinished(outcome="succeeded"), retries=0, max_retries=1)
        assert step.to == "succeeded"


class TestLiveness:
    FAILED = ClusterJob(submission_id="s", status="FAILED", message="")
    RUNNING = ClusterJob(submission_id="s", status="RUNNING", message="")

    def lost(self, word: ClusterJob | None, *, silent_s: float, over_for_s: float = 5.0) -> bool:
        return is_lost(word, silent_s=silent_s, over_for_s=over_for_s, heartbeat_s=5, heartbeat_timeout_s=30)

    def test_silence_alone_proves_nothing(self) -> None:
        assert not self.lost(self.RUNNING, silent_s=10_000)

    def test_a_false_failed_does_not_outweigh_a_heartbeat(self) -> None:
        assert not self.lost(self.FAILED, silent_s=9.9)

    def test_over_and_silent_is_lost(self) -> None:
        assert self.lost(self.FAILED, silent_s=10.1)

    def test_the_final_batch_has_its_grace(self) -> None:
        assert not self.lost(self.FAILED, silent_s=100, over_for_s=1.0)

    def test_an_unknown_run_is_lost_when_its_heartbeat_has_expired(self) -> None:
        assert not self.lost(None, silent_s=29)
        assert self.lost(None, silent_s=31)


class TestScheduling:
    @staticmethod
    def job(job_id: str, cpus: int, gpus: int = 0) -> Needs:
        return Needs(job_id=job_id, cpus=cpus, gpus=gpus)

    @staticmethod
    def capacity(cpus_free: float, gpus_free: float = 1) -> Capacity:
        return Capacity(
            cpus_total=4,
            cpus_free=cpus_free,
            gpus_total=1,
            gpus_free=gpus_free,
            largest_node_cpus=4,
            largest_node_gpus=1,
        )

    def test_the_oldest_that_fit_start(self) -> None:
        queued = [self.job("a", 2), self.job("b", 2), self.job("c", 1)]
        choice = choose(queued, active=[], pending=[], capacity=self.capacity(4))
        assert choice.start == ["a", "b"]
        assert choice.wait == {"c": "waits for 1 CPUs and 0 GPUs; 0 CPUs and 1 GPUs are free"}

    def test_a_small_job_does_not_starve_a_big_one(self) -> None:
        choice = choose([self.job("big", 4), self.job("small", 1)], active=[], pending=[], capacity=self.capacity(3))
        assert choice.start == []

    def test_a_job_passes_one_that_waits_for_something_else(self) -> None:
        queued = [self.job("gpu", 1, 1), self.job("cpu", 1)]
        choice = choose(queued, active=[], pending=[], capacity=self.capacity(4, gpus_free=0))
        assert choice.start == ["cpu"]

    def test_a_job_that_never_fits_holds_nobody_up(self) -> None:
        choice = choose([self.job("huge", 8), self.job("a", 4)], active=[], pending=[], capacity=self.capacity(4))
        assert choice.start == ["a"]
        assert "the largest node has 4 CPUs" in choice.wait["huge"]

    def test_what_ray_has_not_placed_yet_is_not_free(self) -> None:
        submitted = [self.job("before", 3)]
        choice = choose([self.job("a", 2)], active=submitted, pending=submitted, capacity=self.capacity(4))
        assert choice.start == []

    def test_what_others_use_is_not_free(self) -> None:
        assert choose([self.job("a", 2)], active=[], pending=[], capacity=self.capacity(1)).start == []


class TestProgress:
    PROGRESS = Progress(
        epoch=2, epochs=5, step=20, steps=50, images_per_s=9.0, eta_s=3.0, learning_rate=0.1, values={"loss": 0.5}
    )

    @staticmethod
    def evaluated(ap: float | None) -> Evaluated:
        none = dict.fromkeys(Scores.model_fields)
        return Evaluated(epoch=1, step=10, scores=Scores.model_validate(none | {"ap": ap, "per_class": {}}))

    def test_the_view_shows_the_newest(self) -> None:
        view = fold(ProgressView(step=10, ap=0.3), self.PROGRESS)
        assert (view.epoch, view.step, view.values, view.ap) == (2, 20, {"loss": 0.5}, 0.3)

    def test_the_best_score_is_kept(self) -> None:
        view = ProgressView()
        for ap in (0.3, 0.5, None, 0.4):
            view = fold(view, self.evaluated(ap))
        assert (view.ap, view.best_ap) == (0.4, 0.5)

    def test_values_become_points(self) -> None:
        found = {(point.name, point.step, point.value) for point in points(self.PROGRESS)}
        assert found == {("loss", 20, 0.5), ("learning_rate", 20, 0.1), ("images_per_s", 20, 9.0)}

    def test_what_no_curve_can_show_is_left_out(self) -> None:
        odd = self.PROGRESS.model_copy(update={"values": {"loss": float("nan")}, "step": 2**70})
        assert points(odd) == []
        assert fold(ProgressView(), odd).values == {}


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
