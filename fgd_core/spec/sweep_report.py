"""What a sweep comes to: its trials, and what they say about which values to use."""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal, TypeAlias

from pydantic import Field, JsonValue

from fgd_core.spec import notebook
from fgd_core.spec.base import Fact
from fgd_core.spec.events import JobState
from fgd_core.spec.jobs import SweepSpec, TrialBase
from fgd_core.spec.results import ErrorReport, RunResult
from fgd_core.spec.trials import TrialOrigin, Verdict

TrialState: TypeAlias = Literal["running", "completed", "stopped", "paused", "failed", "lost"]
"""`stopped`: by the scheduler or a user. `lost`: it never told its end, and its sweep is over."""


class TrialPoint(Fact):
    """One evaluation of a trial."""

    epoch: int
    segment: int
    objectives: list[float | None]
    """As many as the sweep has, in its order."""
    train_s: float
    """In training steps so far, over all segments."""
    rung: int | None
    verdict: Verdict
    at: datetime
    """When it was first told."""


class TrialSegment(Fact):
    """A stretch of a trial with one set of values."""

    segment: int
    values: dict[str, JsonValue]
    goes_on_from: tuple[int, int] | None
    """(trial, segment) whose checkpoint it began with."""
    from_epoch: int
    epoch: int
    """Reached."""


class TrialView(Fact):
    """A trial as its events tell it; the newest word counts."""

    trial: int
    origin: TrialOrigin
    values: dict[str, JsonValue]
    """By field path, of the segment in which the best was reached; what differs from the base."""
    seed: int
    repeats: int | None
    """The trial whose values it has, with another seed."""
    segments: list[TrialSegment]
    """More than one after a pause, and in population-based training."""
    state: TrialState
    by_user: bool
    """A user ended it."""
    epoch: int
    """Epochs done."""
    epochs: int
    """Of a whole training."""
    epochs_trained: int
    """By itself: each epoch once, without those it took over from another trial's checkpoint."""
    reports: list[TrialPoint]
    """By epoch; each epoch once."""
    objectives: list[float | None]
    """At its best: where the first objective was best, of all its evaluations."""
    best_epoch: int | None
    train_s: float
    busy_s: float
    """That it held its resources, as far as its events tell."""
    error: ErrorReport | None
    result: RunResult | None
    checkpoint: str | None
    """URI of its best checkpoint."""
    attempt: int | None
    """The sweep's, in which it ran last."""
    dashboard_url: str | None
    """Of that attempt, on Ray's dashboard: the trial's actor is among those of the job there. None in reports."""


# -- findings ------------------------------------------------------------------------------------------------------


class Interval(Fact):
    """95 %, by Student's t."""

    low: float
    high: float


class Standing(Fact):
    """A configuration: a trial and its repetitions with other seeds."""

    rank: int
    """From 1. A single run stands behind all searched ones with several seeds: the best of many was lucky too."""
    trial: int
    """The first of them."""
    origin: TrialOrigin
    values: dict[str, JsonValue]
    trials: list[int]
    """Its trials that have a value to compare, the first one ahead."""
    seed_values: list[float]
    """Of the first objective, on the seeds that count. The run that chose a searched configuration was lucky as well as
    good: where repetitions have values, they alone count."""
    chosen_at: float | None
    """What the run reached that chose this configuration, where it does not count among `seed_values`."""
    at_epoch: int | None
    """Its best until this epoch is compared; None: its best of all."""
    is_comparable: bool
    """False: it has trained for fewer epochs than those before it, and stands behind them until it has caught up."""
    objectives: list[float | None]
    """Means over the seeds that count, in the order of the spec."""
    interval: Interval | None
    """Of the first objective over the seeds that count; None with one seed, which says nothing about noise."""
    is_finished: bool
    """At least one of its trials ran to its end, or was stopped for good."""
    is_on_front: bool | None
    """No other configuration is better in every objective; None where the sweep has one objective, and
    where one is a speed that cannot be compared."""


class Margin(Fact):
    """The winner against another configuration, in the first objective, on the seeds that count."""

    trial: int
    """The other one."""
    difference: float
    """Winner minus other, as to be expected of a new seed: shrunk where the winner is the best of several finalists."""
    measured: float
    """Winner minus other, as measured: the best of several was lucky as well as good."""
    interval: Interval | None
    """Around `measured`, for all comparisons at once. None with fewer than two seeds on either side."""
    p_value: float | None
    """Welch's test, two-sided, after Bonferroni for `comparisons`."""
    comparisons: int
    """Configurations that the winner was the best of."""
    is_better: bool
    """The winner lies on the better side, by however little."""
    verdict: Literal["clear", "inside_noise", "unknown"]
    """`clear`: p below 0.05. `unknown`: see `why_unknown`."""
    why_unknown: Literal["pending", "chosen_by_it", "few_seeds", "no_spread"] | None
    """`pending`: the sweep still runs. `chosen_by_it`: the only run of the winner is the one that chose it.
    `few_seeds`: fewer than two that count on either side. `no_spread`: the seeds of both sides agree to the last
    digit, so nothing is known of chance."""
    seeds_to_tell: int | None
    """`seeds` with which a difference of this size would be clear four times in five; None where the difference is
    clear, unknown or none, and where 20 seeds would not do."""


class Importance(Fact):
    """How much of what sets the best trials apart lies in each dimension (PED-ANOVA, arXiv:2304.10255)."""

    shares: dict[str, float]
    """By field path, greatest first; they sum to 1."""
    epoch: int
    """Trials are compared by their best until this epoch."""
    num_trials: int
    """That reached it."""
    num_left_out: int
    """That did not, or whose values lie outside the space."""
    p_value: float
    """How often objectives that are shuffled among the trials set the best apart as much, over all dimensions."""
    warning: str | None
    """Why not to trust it."""


class Rung(Fact):
    """An epoch at which the scheduler chose among trials."""

    rung: int
    epoch: int
    reached: int
    went_on: int
    cutoff: float | None
    """The worst value that went on."""
    best_stopped: float | None
    correlation: float | None
    """Kendall's tau-b between the values here and the final best, over those that went on; None for fewer than 3,
    and at the last epoch."""


class DoubtfulStop(Fact):
    """A stopped trial that was ahead of the later winner at the same epoch."""

    trial: int
    epoch: int
    value: float
    winner_value: float


class Stopping(Fact):
    """What the scheduler stopped, and whether that was wise."""

    num_stopped: int
    epochs_saved: int
    """Against training every stopped trial to its end."""
    epochs_full: int
    """That all trials would have taken."""
    rungs: list[Rung]
    doubtful: list[DoubtfulStop]


class Failure(Fact):
    code: str
    message: str
    """Of the first of them."""
    trials: list[int]


class Spent(Fact):
    trials: int
    epochs: int
    """Each epoch of each trial once; those of forked trials were spent elsewhere."""
    train_s: float
    """In training steps, over all trials."""
    wall_s: float
    """Running time of the sweep, over its attempts."""
    gpu_hours: float
    """That trials held GPUs."""
    attempts: int
    """Of the sweep; more than one where its driver was lost or it was paused."""


class CostPoint(Fact):
    """The best of the search after so much."""

    trial: int
    """That reached it."""
    epochs: int
    """Over all trials so far."""
    train_s: float
    best: float


class Recommendation(Fact):
    """What to use."""

    trial: int
    spec: TrialBase
    """Ready to submit."""
    caution: str | None
    """Why the spec alone may not give the same."""


class SweepReport(Fact):
    """GET /v1/jobs/{job_id}/report of a sweep: a fold over its events, also while it runs."""

    kind: Literal["sweep"] = "sweep"
    generated_at: datetime
    job_id: str
    name: str
    state: JobState
    spec: SweepSpec
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    dashboard_url: str | None
    """Of the newest attempt, on Ray's dashboard."""
    error: ErrorReport | None
    is_over: bool
    """False: trials may still come, and every figure is of now."""
    verdict: list[str]
    """What it comes to, in words."""
    recommendation: Recommendation | None
    standings: list[Standing]
    runner_up: Margin | None
    gains: dict[Literal["plain", "published"], Margin]
    """Over the baselines that have a value; none over the winner itself."""
    importance: Importance | None
    """None for fewer than 4 trials that can be compared."""
    stopping: Stopping | None
    """None where nothing was ever to be stopped."""
    failures: list[Failure]
    spent: Spent
    best_so_far: list[CostPoint]
    trials: list[TrialView] = Field(default=[])

    def _repr_html_(self) -> str:
        return notebook.sentences(self.verdict) + trials_as_html(self.trials)


def trials_as_html(trials: Iterable[TrialView]) -> str:
    """A row a trial, for a notebook."""
    headings = ("trial", "origin", "state", "epoch", "objectives", "values")
    return notebook.table(
        headings,
        (
            (
                trial.trial,
                trial.origin,
                trial.state,
                f"{trial.epoch}/{trial.epochs}",
                ", ".join(notebook.number(value, ".4g") for value in trial.objectives),
                ", ".join(f"{path}={value}" for path, value in trial.values.items()),
            )
            for trial in trials
        ),
    )
