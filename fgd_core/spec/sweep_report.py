"""The report on a sweep: its trials, and the findings about which values to use."""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal, TypeAlias

from pydantic import Field, JsonValue

from fgd_core.spec import notebook
from fgd_core.spec.base import Fact
from fgd_core.spec.costs import JobCost
from fgd_core.spec.dimensions import Dimension, FieldPath
from fgd_core.spec.events import JobState
from fgd_core.spec.kinds.sweep import SweepSpec, TrialBase
from fgd_core.spec.results import ErrorReport, RunResult
from fgd_core.spec.sweep_effects import Effects
from fgd_core.spec.trials import TrialOrigin, Verdict

TrialState: TypeAlias = Literal["running", "completed", "stopped", "paused", "failed", "lost"]
"""`stopped`: by the scheduler or by a user. `lost`: the sweep is over, and the trial never reported its end."""


class TrialPoint(Fact):
    """One evaluation of a trial."""

    epoch: int
    segment: int
    objectives: list[float | None]
    """One value for each objective of the sweep, in its order."""
    train_s: float
    """Seconds in training steps so far, over all segments."""
    rung: int | None
    verdict: Verdict
    at: datetime
    """When it was first reported."""


class TrialSegment(Fact):
    """A part of a trial that runs without interruption and with one set of values."""

    segment: int
    values: dict[str, JsonValue]
    goes_on_from: tuple[int, int] | None
    """(trial, segment) with whose checkpoint it started."""
    from_epoch: int
    epoch: int
    """The last epoch that it reached."""


class TrialView(Fact):
    """A trial, folded from its events."""

    trial: int
    origin: TrialOrigin
    values: dict[str, JsonValue]
    """By field path: the values that differ from the base, in the segment that reached the best score."""
    seed: int
    repeats: int | None
    """The trial that it repeats with another seed; None if it is not a repeat."""
    segments: list[TrialSegment]
    """A trial has several segments after a pause and in population-based training."""
    state: TrialState
    by_user: bool
    """Whether a user stopped it."""
    epoch: int
    """Number of epochs that are done."""
    epochs: int
    """Number of epochs of the whole training."""
    epochs_trained: int
    """Epochs that the trial trained itself, each counted once; epochs from another trial's checkpoint do not count."""
    reports: list[TrialPoint]
    """Its evaluations by epoch, one for each epoch."""
    objectives: list[float | None]
    """The objectives of the evaluation with the best first objective."""
    best_epoch: int | None
    train_s: float
    busy_s: float
    """Seconds that it held its resources, as far as its events show."""
    error: ErrorReport | None
    result: RunResult | None
    checkpoint: str | None
    """URI of the trial's best checkpoint."""
    attempt: int | None
    """The sweep's attempt in which it ran last."""
    dashboard_url: str | None
    """That attempt on Ray's dashboard; the trial is one of the actors of the job there. None in reports."""


# -- findings ------------------------------------------------------------------------------------------------------


class Interval(Fact):
    """A 95 % confidence interval, from Student's t-distribution."""

    low: float
    high: float


class Loss(Fact):
    """A class or a size of objects whose AP is significantly lower than without distillation."""

    name: str
    """The class, or `small`, `medium` or `large` objects."""
    of: Literal["class", "size"]
    plain: float
    """AP without distillation, in [0, 1]; the mean over the seeds that count."""
    mean: float
    """AP of the configuration, likewise."""
    interval: Interval
    """Of `mean` minus `plain`, for this class alone."""
    p_adjusted: float
    """One-sided p-value of Welch's t-test, adjusted after Benjamini and Hochberg for all tests of the configuration."""


class ConstraintCheck(Fact):
    """Whether a configuration fulfils the sweep's constraint."""

    verdict: Literal["kept", "lost", "pending", "untested"]
    """`kept`: no loss was shown. `lost`: see `losses`. `pending`: the sweep still runs. `untested`: the configuration
    or the student without distillation has fewer than two seeds that count, or no class can be tested."""
    losses: list[Loss] = Field(default=[])
    """The most certain loss first."""
    num_tested: int = 0
    """Classes and sizes that were tested."""
    num_untested: int = 0
    """Classes with true boxes, but too few to be tested, or without any spread over the seeds."""
    power_from: float | None = None
    """The smallest true loss of AP that the test finds four times in five, for the class that varies most. Smaller
    losses may be present even if the verdict is `kept`."""


class Standing(Fact):
    """A configuration in the ranking: a trial and its repeats with other seeds."""

    rank: int
    """From 1. A configuration with one run ranks behind all searched configurations with several seeds, because the
    best of many single runs was also lucky. Configurations that the sweep's constraint excludes are last."""
    trial: int
    """The configuration's first trial."""
    origin: TrialOrigin
    values: dict[str, JsonValue]
    trials: list[int]
    """The configuration's trials that have a value, the first trial first."""
    seed_values: list[float]
    """Values of the first objective on the seeds that count. If a searched configuration was repeated, only its repeats
    count, because the run that chose it was lucky as well as good."""
    chosen_at: float | None
    """Value of the run that chose this configuration, if that run does not count in `seed_values`."""
    at_epoch: int | None
    """The best value until this epoch is compared; None: the best value of all epochs."""
    is_comparable: bool
    """False: it trained for fewer epochs than the configurations before it, and ranks behind them until it reaches the
    same epoch."""
    objectives: list[float | None]
    """Means over the seeds that count, in the order of the spec's objectives."""
    interval: Interval | None
    """Confidence interval of the first objective over the seeds that count; None with one seed, which cannot show
    noise."""
    is_finished: bool
    """Whether at least one of its trials completed or was stopped finally."""
    is_on_front: bool | None
    """Whether it is on the Pareto front: no other configuration is better in every objective. None if the sweep has one
    objective, or if an objective is a speed that is not comparable."""
    constraint: ConstraintCheck | None = None
    """None if the sweep has no constraint, and for the student without distillation, with which it compares."""

    @property
    def is_passed_over(self) -> bool:
        """Whether it ranks behind all others because it does not fulfil the constraint, or was not tested."""
        return self.constraint is not None and self.constraint.verdict in ("lost", "untested")


class Margin(Fact):
    """The winner compared with another configuration, in the first objective, on the seeds that count."""

    trial: int
    """First trial of the other configuration."""
    difference: float
    """Winner minus other, as expected for a new seed. It is smaller than `measured` if the winner is the best of
    several repeated configurations."""
    measured: float
    """Winner minus other, as measured. The best of several is usually lucky as well as good."""
    interval: Interval | None
    """Confidence interval around `measured`, for all comparisons together; None if either side has fewer than two
    seeds."""
    p_value: float | None
    """Two-sided p-value of Welch's t-test, with Bonferroni correction for `comparisons`."""
    comparisons: int
    """Number of configurations from which the winner was chosen."""
    is_better: bool
    """Whether the winner is better, even if the difference is small."""
    verdict: Literal["clear", "inside_noise", "unknown"]
    """`clear`: the p-value is below 0.05. `inside_noise`: it is not. `unknown`: see `why_unknown`."""
    why_unknown: Literal["pending", "chosen_by_it", "few_seeds", "no_spread"] | None
    """`pending`: the sweep still runs. `chosen_by_it`: the winner has only the run that chose it. `few_seeds`: either
    side has fewer than two seeds that count. `no_spread`: all seeds gave exactly the same value, so noise is
    unknown."""
    seeds_to_tell: int | None
    """The value of `seeds` with which a difference of this size would be clear in four of five cases. None if the
    difference is clear, unknown or zero, or if more than 20 seeds would be needed."""


class Importance(Fact):
    """How much each dimension contributes to the difference between the best trials and the others (PED-ANOVA,
    arXiv:2304.10255)."""

    shares: dict[str, float]
    """By field path, largest first; the sum is 1."""
    epoch: int
    """Trials are compared by their best value until this epoch."""
    num_trials: int
    """Trials that reached this epoch."""
    num_left_out: int
    """Trials that did not reach it, or whose values are outside the space."""
    warning: str | None
    """Why the shares are not reliable; None if they are. `Effects` tests which dimensions mattered."""


class Rung(Fact):
    """An epoch at which the scheduler decided which trials continue."""

    rung: int
    epoch: int
    reached: int
    """Trials that reached the rung."""
    went_on: int
    """Trials that continued after it."""
    cutoff: float | None
    """The worst value of a trial that continued."""
    best_stopped: float | None
    """The best value of a trial that was stopped."""


class EarlyOrder(Fact):
    """Whether the order of the trials at an early epoch is their final order."""

    epoch: int
    tau: float | None
    """Kendall's tau-b between the best values until this epoch and the final best values, over all trials that trained
    to the end, baselines included: 1 if both orders are equal, 0 if they are unrelated. None for fewer than 3 trials
    and if all values are equal."""
    low: float | None
    """Lower end of the 95 % interval of `tau`. `low` and `high` are None for fewer than 5 trials."""
    high: float | None
    num_trials: int
    """Trials that trained to the end."""


class DoubtfulStop(Fact):
    """A stopped trial that was better than the later winner at the same epoch."""

    trial: int
    epoch: int
    value: float
    winner_value: float


class Stopping(Fact):
    """What the scheduler stopped, and whether that was right."""

    num_stopped: int
    epochs_saved: int
    """Epochs saved, compared with training every stopped trial to its end."""
    epochs_full: int
    """Epochs that all trials would have trained without a scheduler."""
    rungs: list[Rung]
    doubtful: list[DoubtfulStop]


class Alternative(Fact):
    """One value of a searched choice, for example one `method.type`, with its best configuration."""

    value: str
    num_trials: int
    """Trials with this value. The baseline with default weights counts; repeats and the plain student do not."""
    epochs: int
    """Epochs that all trials with this value trained, repeats included."""
    best: int | None
    """First trial of the configuration that ranks best in `standings`; None if no trial has a value."""
    gain: Margin | None
    """That configuration compared with no distillation; None if one of them has no value or they cannot be compared.
    The correction for several comparisons covers all rows together."""
    class_ap: dict[str, float | None]
    """AP of each class, in [0, 1]: the mean over the seeds that count. Empty until such a run is complete."""


class Alternatives(Fact):
    """The values of a searched choice side by side: which is best, how certain that is, and for which classes."""

    path: str
    """The searched field."""
    rows: list[Alternative]
    """Best first, in the order of `standings`; values without a result are last."""
    plain_class_ap: dict[str, float | None]
    """As `class_ap`, of the student without distillation."""


class Failure(Fact):
    """Trials that failed with the same error code."""

    code: str
    message: str
    """Message of the first of these trials."""
    trials: list[int]


class Spent(Fact):
    """What the sweep has used so far."""

    trials: int
    epochs: int
    """Each epoch of each trial, counted once. Epochs of forked trials do not count: another sweep trained them."""
    train_s: float
    """Seconds in training steps, over all trials."""
    wall_s: float
    """Seconds that the sweep ran, over its attempts."""
    gpu_hours: float
    """Hours that trials held GPUs."""
    attempts: int
    """Attempts of the sweep; more than one if its driver was lost or the sweep was paused."""


class CostPoint(Fact):
    """The best value of the search after a certain cost."""

    trial: int
    """The trial that reached it."""
    epochs: int
    """Epochs of all trials until then."""
    train_s: float
    best: float


class Recommendation(Fact):
    """The configuration to use."""

    trial: int
    spec: TrialBase
    """The job with these values, ready to submit."""
    caution: str | None
    """Why this spec may not reproduce the result; None if it should."""


class SweepReport(Fact):
    """GET /v1/jobs/{job_id}/report of a sweep, also while it runs; folded from its events."""

    kind: Literal["sweep"] = "sweep"
    generated_at: datetime
    job_id: str
    name: str
    state: JobState
    spec: SweepSpec
    dimensions: dict[FieldPath, Dimension] = Field(default={})
    """The searched dimensions by field of the base, also if the space of `spec` is a preset."""
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    dashboard_url: str | None
    """The newest attempt on Ray's dashboard."""
    error: ErrorReport | None
    is_over: bool
    """False: more trials may follow, and all figures are preliminary."""
    verdict: list[str]
    """The conclusions in words."""
    recommendation: Recommendation | None
    standings: list[Standing]
    """By rank; as many as the request asked for."""
    ranking: list[list[int]] = Field(default=[])
    """The trials of all configurations by rank, each configuration's first trial first."""
    runner_up: Margin | None
    gains: dict[Literal["plain", "published"], Margin]
    """The winner compared with each baseline that has a value, unless that baseline is the winner. `plain` is no
    distillation, `published` the default weights."""
    alternatives: list[Alternatives] = Field(default=[])
    """For each searched choice among names, such as `method.type`."""
    importance: Importance | None
    """None if fewer than 4 trials are comparable."""
    effects: Effects | None = Field(default=None)
    """Which dimensions mattered. None while the sweep runs, because each look would be another chance to be wrong, and
    in reports of older versions."""
    stopping: Stopping | None
    """None if the sweep has no scheduler that stops trials."""
    early_orders: list[EarlyOrder] = Field(default=[])
    """At each rung of the scheduler before the last epoch; without rungs, after a third of the epochs."""
    failures: list[Failure]
    spent: Spent
    cost: JobCost | None = Field(default=None)
    """What the sweep was expected to cost, and what it cost; None in reports of older versions."""
    best_so_far: list[CostPoint]
    trials: list[TrialView] = Field(default=[])
    """Empty if the request left them out."""

    def _repr_html_(self) -> str:
        return notebook.sentences(self.verdict) + trials_as_html(self.trials)


def trials_as_html(trials: Iterable[TrialView]) -> str:
    """Return an HTML table with one row for each trial."""
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


class TrialList(Fact):
    """GET /v1/jobs/{job_id}/trials"""

    items: list[TrialView]
    """The trials by number."""
    last_sequence: int
    """Sequence of the job's newest event in this answer. For later events use GET /v1/jobs/{job_id}/events after it."""

    def _repr_html_(self) -> str:
        return trials_as_html(self.items)
