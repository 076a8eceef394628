"""What a sweep cost, how its best value grew with the cost, and which trials failed."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from fgd_core.spec.study_state import Direction, better
from fgd_core.spec.sweep_report import CostPoint, Failure, Spent, TrialPoint, TrialView
from fgd_core.spec.views import AttemptView
from service.jobs.trial_values import is_judged


def spent(trials: Sequence[TrialView], attempts: Sequence[AttemptView], *, gpus: int, now: datetime) -> Spent:
    """Add up what a sweep has used.

    Args:
        gpus: GPUs of one trial.
        now: an attempt that has not ended counts up to here.
    """
    paid = [trial for trial in trials if trial.origin != "fork"]
    ran = [((each.ended_at or now) - each.started_at).total_seconds() for each in attempts if each.started_at]
    return Spent(
        trials=len(paid),
        epochs=sum(trial.epochs_trained for trial in paid),
        train_s=sum(trial.train_s for trial in paid),
        wall_s=sum(max(0.0, seconds) for seconds in ran),
        gpu_hours=gpus * sum(trial.busy_s for trial in paid) / 3600,
        attempts=len(attempts),
    )


def best_so_far(trials: Sequence[TrialView], direction: Direction) -> list[CostPoint]:
    """The best value of the search against the cost of all trials: a point at each improvement, and one at the end.

    Baselines and repeats add to the cost, but their values do not count.
    """
    steps = sorted(
        ((point.at, trial.trial, point.epoch, cost, trial, point) for trial in trials for point, cost in _costs(trial)),
        key=lambda step: step[:3],
    )
    found: list[CostPoint] = []
    epochs, train_s = 0, 0.0
    for _, number, _, (more_epochs, more_s), trial, point in steps:
        if trial.origin != "fork":
            epochs, train_s = epochs + more_epochs, train_s + more_s
        value = point.objectives[0]
        if value is not None and is_judged(trial) and (not found or better(value, found[-1].best, direction)):
            found.append(CostPoint(trial=number, epochs=epochs, train_s=train_s, best=value))
    if found and found[-1].epochs < epochs:
        found.append(found[-1].model_copy(update={"epochs": epochs, "train_s": train_s}))
    return found


def failures(trials: Sequence[TrialView]) -> list[Failure]:
    """Group failed and lost trials by cause, the most frequent cause first."""
    causes: dict[str, list[TrialView]] = {}
    for trial in trials:
        if trial.state in ("failed", "lost"):
            causes.setdefault(trial.error.code if trial.error is not None else trial.state, []).append(trial)
    return [
        Failure(code=code, message=_message(failed[0]), trials=[trial.trial for trial in failed])
        for code, failed in sorted(causes.items(), key=lambda cause: -len(cause[1]))
    ]


def _message(trial: TrialView) -> str:
    if trial.error is not None:
        return trial.error.message
    return "the sweep ended before the trial reported its end" if trial.state == "lost" else "the trial gave no reason"


def _costs(trial: TrialView) -> Iterator[tuple[TrialPoint, tuple[int, float]]]:
    """Each report with the epochs and seconds since the report before it."""
    begins = {part.segment: part.from_epoch for part in trial.segments}
    segment, done, train_s = -1, 0, 0.0
    for point in trial.reports:
        since = done if point.segment == segment else begins.get(point.segment, done)
        yield point, (max(0, point.epoch - since), max(0.0, point.train_s - train_s))
        segment, done, train_s = point.segment, point.epoch, max(train_s, point.train_s)
