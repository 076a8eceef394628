"""Findings in sentences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from fgd_core.spec.jobs import DistillSpec, SweepSpec
from fgd_core.spec.results import MASK_METRICS
from fgd_core.spec.search import Asha, HyperBand, Median, Objective
from fgd_core.spec.sweep_report import Failure, Margin, Standing, Stopping, TrialView
from service.jobs.findings.configurations import BASELINES
from service.jobs.findings.margins import MOST_SEEDS

ENOUGH_SEEDS = 3
"""One chooses a finalist, and two fresh ones are the fewest that show noise."""
_METRICS = {"images_per_s": "images/s", "num_parameters": "parameters"}
_SIZES = ("small", "medium", "large")


@dataclass(frozen=True, kw_only=True)
class Found:
    """What there is to be said."""

    spec: SweepSpec
    is_over: bool
    trials: Sequence[TrialView]
    standings: Sequence[Standing]
    runner_up: Margin | None
    gains: Mapping[Literal["plain", "published"], Margin]
    stopping: Stopping | None
    failures: Sequence[Failure]
    on_speeds: str | None = None
    """Why trials cannot be ranked by an objective that is a speed."""


def verdict(found: Found) -> list[str]:
    """What a sweep comes to, the most important first."""
    said = [_what_to_use(found)]
    if found.standings:
        said += [_over_baseline(name, gain, found) for name, gain in found.gains.items()]
        if found.runner_up is not None:
            said.append(_runner_up(found.runner_up, found))
        if len(found.spec.objectives) > 1 and found.on_speeds is None:
            said.append(_front(found.standings, found.spec.objectives))
    if found.stopping is not None and (found.stopping.num_stopped or (found.is_over and found.standings)):
        said.append(_stopped(found.stopping, found))
    if found.on_speeds is not None:
        said.append(found.on_speeds)
    said += [_failed(failure) for failure in found.failures]
    return said


def metric_name(metric: str) -> str:
    """As people write it: AP50, AP small, AP of cat, mask AP."""
    if metric in MASK_METRICS:
        return f"mask {metric_name(MASK_METRICS[metric])}"
    kind, _, of_class = metric.partition(":")
    if of_class:
        return f"{'AP50' if kind == 'class50' else 'AP'} of {of_class}"
    if metric in _METRICS:
        return _METRICS[metric]
    name, _, size = metric.partition("_")
    return f"{name.upper()} {size}" if size in _SIZES else name.upper()


def metric_value(metric: str, value: float) -> str:
    if metric == "num_parameters":
        return f"{value / 1e6:.2f} M"
    return f"{value:.1f}" if metric == "images_per_s" else f"{value:.3f}"


def values_text(values: Mapping[str, JsonValue]) -> str:
    """`method.alpha = 0.002, method.beta = 0.0005`"""
    return ", ".join(f"{path} = {value_text(value)}" for path, value in values.items()) or "the base as it is"


def value_text(value: JsonValue) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def standing_text(standing: Standing, objective: Objective) -> str:
    """`AP 0.143 ± 0.012 over 2 fresh seeds`"""
    mean = standing.objectives[0]
    assert mean is not None
    text = f"{metric_name(objective.metric)} {metric_value(objective.metric, mean)}"
    fresh = "fresh " if standing.chosen_at is not None else ""
    if standing.interval is None:
        return f"{text} with one {fresh}seed"
    half = (standing.interval.high - standing.interval.low) / 2
    return f"{text} ± {metric_value(objective.metric, half)} over {len(standing.seed_values)} {fresh}seeds"


def _what_to_use(found: Found) -> str:
    if not found.standings:
        return _nothing(found)
    winner, objective = found.standings[0], found.spec.objectives[0]
    reached = standing_text(winner, objective)
    if winner.at_epoch is not None:
        of = next(trial.epochs for trial in found.trials if trial.trial == winner.trial)
        reached += f", all compared at epoch {winner.at_epoch} of {of}"
    if winner.origin in BASELINES:
        text = _baseline_first(winner, reached, found)
    else:
        text = f"Use the values of trial {winner.trial} ({values_text(winner.values)}): {reached}."
    text = text if found.is_over else f"So far: {text}"
    if winner.interval is None:
        text += f" One seed tells nothing about noise: {_more_seeds(found)}."
    return text


def _baseline_first(winner: Standing, reached: str, found: Found) -> str:
    name = {"plain": "the plain student", "published": "the published values"}.get(winner.origin, winner.origin)
    if not any(each.is_comparable for each in found.standings if each.origin not in BASELINES):
        return f"{name} reached {reached}; no trial of the search can be compared with that yet.".capitalize()
    if not found.is_over:
        return f"nothing is ahead of {name}, {reached}; trials are still to come."
    text = f"nothing beat {name}, {reached}."
    if winner.origin == "published":
        text = f"Keep the published values: nothing beat them, {reached}."
    else:
        text = f"Do not distil with any of these values: {text}"
    if found.runner_up is not None and found.runner_up.verdict != "clear":
        text += " That others are worse is not shown: what is simplest is the thing to use."
    return text


def _more_seeds(found: Found) -> str:
    """What the reader has to do, or to wait for."""
    if found.spec.seeds < ENOUGH_SEEDS:
        return f"run the sweep with seeds: {ENOUGH_SEEDS} or more to learn it"
    if not found.is_over:
        return f"with seeds: {found.spec.seeds}, the runs with other seeds are still to come"
    return "the sweep was over before the runs with other seeds had values"


def _nothing(found: Found) -> str:
    running = sum(trial.state == "running" for trial in found.trials)
    if running and not found.is_over:
        return f"Nothing can be said yet: {_count(running, 'trial')} running, none evaluated."
    if not found.trials:
        return "Nothing can be said: no trial has begun."
    return f"There is nothing to use: none of {_count(len(found.trials), 'trial')} came to a value."


def _over_baseline(name: Literal["plain", "published"], gain: Margin, found: Found) -> str:
    base = found.spec.base
    inherits = isinstance(base, DistillSpec) and base.inherit != "nothing"
    what = {
        "plain": "the plain student with the same inheritance" if inherits else "the plain student",
        "published": "the published values",
    }[name]
    metric = found.spec.objectives[0].metric
    over = f"over {what} (trial {gain.trial})"
    if gain.verdict == "unknown" or gain.interval is None or gain.p_value is None:
        return f"{_signed(metric, gain.measured)} {over}; {_unknown(gain, found)}."
    lies = f"95 % interval {_signed(metric, gain.interval.low)} to {_signed(metric, gain.interval.high)}"
    text = f"{_signed(metric, gain.measured)} {over} on the seeds that count, {lies}"
    if gain.comparisons > 1:
        text += f", corrected for {gain.comparisons} comparisons"
    if gain.verdict == "clear":
        text += f": more than noise ({_p(gain)})."
    else:
        text += f": inside the noise ({_p(gain)}), so whether it is a gain cannot be told; {_to_tell(gain)}."
    expected = _signed(metric, gain.difference)
    if expected != _signed(metric, gain.measured):
        text += f" Expect about {expected} of a new seed: the best of several was lucky as well."
    return text


def _runner_up(second: Margin, found: Found) -> str:
    metric = found.spec.objectives[0].metric
    text = f"The runner-up, trial {second.trial}, is {metric_value(metric, abs(second.measured))} away"
    match second.verdict:
        case "inside_noise":
            return f"{text}, inside the noise ({_p(second)}): either will do."
        case "clear":
            return f"{text}, outside the noise ({_p(second)})."
        case _:
            return f"{text}; {_unknown(second, found)}."


def _unknown(of: Margin, found: Found) -> str:
    """Why nothing can be decided, and what would let it."""
    unknown = "whether that is more than noise cannot be told"
    match of.why_unknown:
        case "pending" if found.spec.seeds >= ENOUGH_SEEDS:
            return f"{unknown} before all runs with other seeds (seeds: {found.spec.seeds}) are done"
        case "no_spread":
            return f"{unknown}: on both sides all seeds agree to the last digit; see whether they change anything"
        case "chosen_by_it":
            return f"{unknown}, and the best of many runs was lucky as well: {_more_seeds(found)}"
        case _:
            return f"{unknown}: {_more_seeds(found)}"


def _to_tell(of: Margin) -> str:
    if of.seeds_to_tell is None:
        return f"even seeds: {MOST_SEEDS} would hardly show a difference as small as this"
    return f"seeds: {of.seeds_to_tell} would show a gain of this size four times in five"


def _front(ranked: Sequence[Standing], objectives: Sequence[Objective]) -> str:
    front = [f"trial {each.trial}" for each in ranked if each.is_on_front]
    names = " against ".join(metric_name(objective.metric) for objective in objectives)
    if not front:
        return f"No trial has all objectives ({names}) yet."
    best = f"Of {names}, nothing beats {', '.join(front)} in all, noise aside"
    return f"{best}; the rest is a matter of what it is worth to you."


def _stopped(stopping: Stopping, found: Found) -> str:
    if not stopping.num_stopped:
        return _stopped_nobody(stopping, found)
    ranked = found.standings
    share = stopping.epochs_saved / stopping.epochs_full if stopping.epochs_full else 0.0
    text = (
        f"The scheduler stopped {_count(stopping.num_stopped, 'trial')} early and saved {stopping.epochs_saved} of "
        f"{stopping.epochs_full} epochs ({share:.0%})."
    )
    if stopping.doubtful and ranked:
        ahead = ", ".join(f"trial {stop.trial} (epoch {stop.epoch})" for stop in stopping.doubtful[:5])
        more = f" and {len(stopping.doubtful) - 5} more" if len(stopping.doubtful) > 5 else ""
        return f"{text} Perhaps too early: {ahead}{more} had been ahead of trial {ranked[0].trial} at the same epoch."
    return f"{text} None of them had been ahead of the winner at the same epoch." if ranked else text


def _stopped_nobody(stopping: Stopping, found: Found) -> str:
    scheduler = found.spec.scheduler
    text = f"The scheduler ({scheduler.type}) stopped no trial and saved nothing"
    grace = getattr(scheduler, "grace_epochs", 1)
    epochs = found.spec.base.training.epochs
    if grace >= epochs:
        return f"{text}: it spares the first {_count(grace, 'epoch')}, and a trial has {epochs}."
    if isinstance(scheduler, Median):
        return f"{text}: no trial fell below the median of {scheduler.min_trials} others or more at the same epoch."
    judged = [f"{rung.reached} at epoch {rung.epoch}" for rung in stopping.rungs if rung.epoch < epochs]
    if not judged:
        return f"{text}: no trial came to a rung before its last epoch."
    reduction = scheduler.reduction if isinstance(scheduler, Asha | HyperBand) else 0
    best = f"among the best 1 in {reduction} of those that had come there before"
    return f"{text}: of the trials at its rungs ({', '.join(judged)}) each was {best}."


def _failed(failure: Failure) -> str:
    numbers = ", ".join(str(trial) for trial in failure.trials[:10]) + (" …" if len(failure.trials) > 10 else "")
    message = failure.message.rstrip(".")
    return f"{_count(len(failure.trials), 'trial')} did not finish ({failure.code}: {numbers}): {message}."


def _signed(metric: str, value: float) -> str:
    return ("−" if value < 0 else "+") + metric_value(metric, abs(value))


def _p(margin: Margin) -> str:
    p_value = margin.p_value or 0.0
    return f"p = {p_value:.2f}" if p_value >= 0.1 else f"p = {p_value:.3f}" if p_value >= 0.001 else "p < 0.001"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"
