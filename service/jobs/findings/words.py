"""Findings in sentences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from fgd_core.spec.jobs import DistillSpec, SweepSpec
from fgd_core.spec.results import MASK_METRICS
from fgd_core.spec.search import Objective
from fgd_core.spec.sweep_report import Failure, Margin, Standing, Stopping, TrialView

MORE_SEEDS = "run the sweep with `seeds: 3` to learn it"

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


def verdict(found: Found) -> list[str]:
    """What a sweep comes to, the most important first."""
    said = [_what_to_use(found)]
    if found.standings:
        said += [_over_baseline(name, gain, found) for name, gain in found.gains.items()]
        if found.runner_up is not None:
            said.append(_runner_up(found.runner_up, found))
        if len(found.spec.objectives) > 1:
            said.append(_front(found.standings, found.spec.objectives))
    if found.stopping is not None and found.stopping.num_stopped:
        said.append(_stopped(found.stopping, found.standings))
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
    """`AP 0.143 ± 0.012 over 3 seeds`"""
    mean = standing.objectives[0]
    assert mean is not None
    text = f"{metric_name(objective.metric)} {metric_value(objective.metric, mean)}"
    if standing.interval is None:
        return f"{text} with one seed"
    half = (standing.interval.high - standing.interval.low) / 2
    return f"{text} ± {metric_value(objective.metric, half)} over {len(standing.seed_values)} seeds"


def _what_to_use(found: Found) -> str:
    if not found.standings:
        return _nothing(found)
    winner, objective = found.standings[0], found.spec.objectives[0]
    so_far = "" if found.is_over else "So far: "
    reached = standing_text(winner, objective)
    match winner.origin:
        case "plain":
            text = f"{so_far}Do not distil with any of these values: nothing beat the plain student, {reached}."
        case "published":
            text = f"{so_far}Keep the published values: nothing beat them, {reached}."
        case _:
            text = f"{so_far}Use the values of trial {winner.trial} ({values_text(winner.values)}): {reached}."
    if winner.interval is None:
        text += f" One seed tells nothing about noise: {MORE_SEEDS}."
    return text


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
    return f"{_signed(metric, gain.difference)} over {what} (trial {gain.trial}){_noise(metric, gain)}"


def _runner_up(second: Margin, found: Found) -> str:
    metric = found.spec.objectives[0].metric
    text = f"The runner-up, trial {second.trial}, is {metric_value(metric, abs(second.difference))} away"
    match second.verdict:
        case "inside_noise":
            return f"{text}, inside the noise ({_p(second)}): either will do."
        case "clear":
            return f"{text}, outside the noise ({_p(second)})."
        case _:
            return f"{text}; whether that is more than noise is unknown: {MORE_SEEDS}."


def _noise(metric: str, gain: Margin) -> str:
    if gain.interval is None:
        return f"; whether that is more than noise is unknown: {MORE_SEEDS}."
    lies = f"95 % interval {_signed(metric, gain.interval.low)} to {_signed(metric, gain.interval.high)}"
    if gain.verdict == "clear":
        return f", {lies}: more than noise ({_p(gain)})."
    return f", {lies}: inside the noise ({_p(gain)})."


def _front(ranked: Sequence[Standing], objectives: Sequence[Objective]) -> str:
    front = [f"trial {each.trial}" for each in ranked if each.is_on_front]
    names = " against ".join(metric_name(objective.metric) for objective in objectives)
    if not front:
        return f"No trial has all objectives ({names}) yet."
    return f"Of {names}, nothing beats {', '.join(front)} in all; the rest is a matter of what it is worth to you."


def _stopped(stopping: Stopping, ranked: Sequence[Standing]) -> str:
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
