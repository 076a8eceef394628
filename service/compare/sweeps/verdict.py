"""Writes the findings of a sweep as sentences."""

from collections.abc import Sequence
from typing import Literal

from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.search import Asha, HyperBand, Median, Objective
from fgd_core.spec.sweep_report import EarlyOrder, Failure, Margin, Standing, Stopping, SweepReport
from service.compare.sweeps.configurations import BASELINES
from service.compare.sweeps.constraint_wording import constraint_sentences
from service.compare.sweeps.effect_wording import effect_sentence
from service.compare.sweeps.margins import MOST_SEEDS
from service.jobs.metric_text import metric_name, metric_value, signed_value, standing_text, values_text
from service.jobs.trial_values import reached_the_end

ENOUGH_SEEDS = 3
"""One seed chooses a configuration, and two fresh ones are the fewest that show noise."""
_BASELINE_NAMES = {"plain": "the student without distillation", "published": "the default weights"}
_BASELINE_ADVICE = {"plain": "Do not distil with any of these values", "published": "Keep the default weights"}


def verdict(report: SweepReport, speed_warning: str | None = None) -> list[str]:
    """Say what the sweep found, the most important sentence first.

    Args:
        report: whole but for its verdict.
        speed_warning: why trials cannot be ranked by an objective that is a speed.
    """
    said = [_what_to_use(report), *constraint_sentences(report)]
    if report.standings:
        said += [_over_baseline(name, gain, report) for name, gain in report.gains.items()]
        if report.runner_up is not None:
            said.append(_runner_up(report.runner_up, report))
        if len(report.spec.objectives) > 1 and speed_warning is None:
            said.append(_front(report.standings, report.spec.objectives))
    if report.stopping is not None and (report.stopping.num_stopped or (report.is_over and report.standings)):
        said.append(_stopped(report.stopping, report))
    if report.effects is not None:
        said.append(effect_sentence(report.effects))
    said += [_early(order, report) for order in report.early_orders[:1] if report.is_over]
    if speed_warning is not None:
        said.append(speed_warning)
    said += [_failed(failure) for failure in report.failures]
    return said


def _what_to_use(report: SweepReport) -> str:
    if not report.standings:
        return _nothing(report)
    winner, objective = report.standings[0], report.spec.objectives[0]
    if winner.is_passed_over:
        return f"No configuration is recommended: none could be tested for a lost class, {_more_seeds(report)}."
    reached = standing_text(winner, objective)
    if winner.at_epoch is not None:
        of = next(trial.epochs for trial in report.trials if trial.trial == winner.trial)
        reached += f", all compared at epoch {winner.at_epoch} of {of}"
    if winner.origin in BASELINES:
        text = _baseline_first(winner, reached, report)
    else:
        text = f"Use the values of trial {winner.trial} ({values_text(winner.values)}): {reached}."
    text = text if report.is_over else f"So far: {text}"
    if report.is_over and not reached_the_end(winner, report.trials):
        text += " It was not trained to the end and may end otherwise: run it before you rely on it."
    if winner.interval is None:
        text += f" One seed says nothing about noise: {_more_seeds(report)}."
    return text


def _baseline_first(winner: Standing, reached: str, report: SweepReport) -> str:
    name = _BASELINE_NAMES.get(winner.origin, winner.origin)
    if not any(each.is_comparable for each in report.standings if each.origin not in BASELINES):
        return f"{name} reached {reached}; no trial of the search can be compared with it yet.".capitalize()
    if not report.is_over:
        return f"nothing is ahead of {name}, {reached}; more trials will follow."
    beat = "nothing beat"
    if any(each.is_passed_over for each in report.standings):
        beat = "nothing that is shown to fulfil the constraint beat"
    text = f"{_BASELINE_ADVICE[winner.origin]}: {beat} {name}, {reached}."
    if report.runner_up is not None and report.runner_up.verdict != "clear":
        text += " It is not shown that the others are worse, so use what is simplest."
    return text


def _more_seeds(report: SweepReport) -> str:
    """What the reader has to do, or to wait for."""
    if report.spec.seeds < ENOUGH_SEEDS:
        return f"run the sweep with seeds: {ENOUGH_SEEDS} or more"
    if not report.is_over:
        return f"with seeds: {report.spec.seeds}, runs with other seeds will follow"
    return "the sweep ended before the runs with other seeds had values"


def _nothing(report: SweepReport) -> str:
    running = sum(trial.state == "running" for trial in report.trials)
    if running and not report.is_over:
        return f"No result yet: {_count(running, 'trial')} running, none evaluated."
    if not report.trials:
        return "No result: no trial has started."
    return f"No result: none of {_count(len(report.trials), 'trial')} reached a value."


def _over_baseline(name: Literal["plain", "published"], gain: Margin, report: SweepReport) -> str:
    base = report.spec.base
    what = _BASELINE_NAMES[name]
    if name == "plain" and isinstance(base, DistillSpec) and base.inherit != "nothing":
        what += " but with the same inheritance"
    metric = report.spec.objectives[0].metric
    over = f"over {what} (trial {gain.trial})"
    if gain.verdict == "unknown" or gain.interval is None or gain.p_value is None:
        return f"{signed_value(metric, gain.measured)} {over}; {_unknown(gain, report)}."
    interval = f"95 % interval {signed_value(metric, gain.interval.low)} to {signed_value(metric, gain.interval.high)}"
    text = f"{signed_value(metric, gain.measured)} {over} on the seeds that count, {interval}"
    if gain.comparisons > 1:
        text += f", corrected for {gain.comparisons} comparisons"
    if gain.verdict == "clear":
        text += f": more than noise ({_p(gain)})."
    else:
        text += f": inside the noise ({_p(gain)}), so it is not known whether this is a gain; {_to_know(gain)}."
    expected = signed_value(metric, gain.difference)
    if expected != signed_value(metric, gain.measured):
        text += f" Expect about {expected} from a new seed, because the best of several was also lucky."
    return text


def _runner_up(second: Margin, report: SweepReport) -> str:
    metric = report.spec.objectives[0].metric
    text = f"The runner-up, trial {second.trial}, is {metric_value(metric, abs(second.measured))} away"
    match second.verdict:
        case "inside_noise":
            return f"{text}, inside the noise ({_p(second)}): use either."
        case "clear":
            return f"{text}, outside the noise ({_p(second)})."
        case _:
            return f"{text}; {_unknown(second, report)}."


def _unknown(of: Margin, report: SweepReport) -> str:
    """Why nothing can be decided, and the cure."""
    unknown = "it is not known whether that is more than noise"
    match of.why_unknown:
        case "pending" if report.spec.seeds >= ENOUGH_SEEDS:
            return f"{unknown} until all runs with other seeds (seeds: {report.spec.seeds}) are done"
        case "no_spread":
            return f"{unknown}: on both sides all seeds agree to the last digit; check that the seed changes anything"
        case "chosen_by_it":
            return f"{unknown}, because the best of many runs was also lucky: {_more_seeds(report)}"
        case _:
            return f"{unknown}: {_more_seeds(report)}"


def _to_know(of: Margin) -> str:
    if of.seeds_to_tell is None:
        return f"even seeds: {MOST_SEEDS} would hardly show such a small difference"
    return f"seeds: {of.seeds_to_tell} would show a gain of this size four times in five"


def _front(ranked: Sequence[Standing], objectives: Sequence[Objective]) -> str:
    front = [f"trial {each.trial}" for each in ranked if each.is_on_front]
    names = " and ".join(metric_name(objective.metric) for objective in objectives)
    if not front:
        return f"No trial has all objectives ({names}) yet."
    return (
        f"The best trade-offs between {names}, noise aside: {', '.join(front)}. No other trial is better in one "
        "objective without being worse in another; choose by what matters to you."
    )


def _stopped(stopping: Stopping, report: SweepReport) -> str:
    if not stopping.num_stopped:
        return _stopped_none(stopping, report)
    ranked = report.standings
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


def _stopped_none(stopping: Stopping, report: SweepReport) -> str:
    scheduler = report.spec.scheduler
    text = f"The scheduler ({scheduler.type}) stopped no trial and saved nothing"
    grace = getattr(report.spec.scheduler_with_rung(), "grace_epochs", 1)
    epochs = report.spec.base.training.epochs
    if grace >= epochs:
        return f"{text}: it never stops within the first {_count(grace, 'epoch')}, and a trial has {epochs}."
    if isinstance(scheduler, Median):
        return f"{text}: no trial fell below the median of {scheduler.min_trials} or more others at the same epoch."
    judged = [f"{rung.reached} at epoch {rung.epoch}" for rung in stopping.rungs if rung.epoch < epochs]
    if not judged:
        return f"{text}: no trial reached a rung before its last epoch."
    reduction = scheduler.reduction if isinstance(scheduler, Asha | HyperBand) else 0
    best = f"among the best 1 in {reduction} of those that had reached the rung before"
    return f"{text}: of the trials at its rungs ({', '.join(judged)}) each was {best}."


def _early(order: EarlyOrder, report: SweepReport) -> str:
    """Whether the earliest judgement agrees with the end."""
    when = f"after {_count(order.epoch, 'epoch')}"
    if order.tau is None or order.low is None or order.high is None:
        few = f"{_count(order.num_trials, 'trial')} trained to the end, too few"
        return f"{few} to know whether the order {when} is the final order."
    text = (
        f"The order of the trials {when} agrees with the final order by Kendall's τ = {order.tau:.2f} (95 % interval "
        f"{order.low:.2f} to {order.high:.2f}, {order.num_trials} trials that trained to the end)"
    )
    stops = report.stopping is not None
    if order.low > 0:
        return f"{text}: {'judging so early' if stops else 'a scheduler that judges there'} is better than chance."
    cure = "use a later grace_epochs, or scheduler none" if stops else "a scheduler that judges there may stop the best"
    return f"{text}: it is not shown that this early order says anything about the end; {cure}."


def _failed(failure: Failure) -> str:
    numbers = ", ".join(str(trial) for trial in failure.trials[:10]) + (" …" if len(failure.trials) > 10 else "")
    message = failure.message.rstrip(".")
    return f"{_count(len(failure.trials), 'trial')} did not finish ({failure.code}: {numbers}): {message}."


def _p(margin: Margin) -> str:
    p_value = margin.p_value or 0.0
    return f"p = {p_value:.2f}" if p_value >= 0.1 else f"p = {p_value:.3f}" if p_value >= 0.001 else "p < 0.001"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"
