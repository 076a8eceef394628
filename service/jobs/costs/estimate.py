"""What a job is expected to cost, and what it has cost so far."""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from fgd_core.spec.costs import CostEstimate, CostSpent, JobCost, PricedRuns, Span
from fgd_core.spec.events import JobState
from service.jobs.costs import wording
from service.jobs.costs.earlier import Took, price
from service.jobs.costs.plan import Plan, PlannedRuns
from service.jobs.lifecycle import is_over


@dataclass(frozen=True, kw_only=True)
class OwnRun:
    """A run of a study, or a job that is one run."""

    name: str
    """As in `PlannedRuns`."""
    ran_s: float
    """Until now."""
    began_s: float | None
    """POSIX time; None if it waits for its first start."""
    ended_s: float | None
    """POSIX time; None if it is not over."""
    left_s: float | None = None
    """As it reports it; None if it does not."""


def estimate(planned: Plan, earlier: Sequence[Took], *, slots: int | None) -> CostEstimate:
    """Return what the runs of a job should cost.

    Args:
        slots: the number of runs for which the cluster has room at a time; None if this is unknown.
    """
    priced = [_priced(each, earlier) for each in planned.runs]
    runs = [each.runs for each in priced]
    at_once = max(1, min(planned.at_once, slots)) if slots is not None else None
    runs_s = Span(least=sum(each.count * each.each_s.least for each in runs), most=_most(runs))
    found = CostEstimate(
        runs=runs,
        runs_s=runs_s,
        gpu_hours=_times(runs_s, planned.gpus / 3600),
        at_once=at_once,
        wall_s=_wall_s(planned, runs, at_once) if at_once is not None else None,
        machines=sorted({machine for each in priced for machine in each.machines}),
        sentence="",
    )
    return found.model_copy(update={"sentence": wording.expected(found, planned)})


def spent(own: Sequence[OwnRun], *, gpus: int, now_s: float) -> CostSpent:
    """Return what the runs of a job have cost.

    Args:
        gpus: of each run.
        now_s: POSIX time.
    """
    began = [each.began_s for each in own if each.began_s is not None]
    ended = [each.ended_s for each in own if each.ended_s is not None]
    runs_s = sum(each.ran_s for each in own)
    return CostSpent(
        runs=len(ended),
        runs_s=runs_s,
        gpu_hours=runs_s * gpus / 3600,
        wall_s=(max(ended) if len(ended) == len(own) else now_s) - min(began) if began else None,
    )


def cost(expected: CostEstimate, spent_: CostSpent, left_s: float | None, *, state: JobState) -> JobCost:
    """Return the whole cost of a job in this state."""
    found = JobCost(expected=expected, spent=spent_, left_s=None if is_over(state) else left_s, sentence="")
    return found.model_copy(update={"sentence": wording.whole(found, state)})


def left(own: Iterable[OwnRun], now: CostEstimate) -> float | None:
    """Return the seconds until the last run ends; None if this is unknown."""
    each_s = {each.name: each.each_s for each in now.runs}
    times = []
    for run in own:
        if run.ended_s is not None:
            continue
        span = each_s.get(run.name, now.wall_s)
        if run.left_s is not None:
            times.append(run.left_s)
        elif span is not None and span.most is not None:
            times.append(max(0.0, (span.least + span.most) / 2 - run.ran_s))
        else:
            return None
    if now.at_once is None and len(times) > 1:
        return None
    return makespan(times, now.at_once or 1)


def makespan(times_s: Iterable[float], at_once: int) -> float:
    """Return how long runs take that start in order as soon as one of `at_once` places is free."""
    ends = [0.0] * at_once
    for each in times_s:
        heapq.heapreplace(ends, ends[0] + each)
    return max(ends)


class _Priced(NamedTuple):
    runs: PricedRuns
    machines: frozenset[str]


def _priced(planned: PlannedRuns, earlier: Sequence[Took]) -> _Priced:
    found = price(planned.type, earlier)
    each_s = found.each_s(planned.least_epochs, planned.most_epochs)
    least, most = each_s.least, each_s.most
    if most is None and (more := planned.does_less_than) is not None:
        most = price(more, earlier).each_s(more.epochs, more.epochs).most
    if planned.most_s is not None:
        by_budget = planned.most_s / planned.num
        most = by_budget if most is None else min(most, by_budget)
        least = min(least, most)
    runs = PricedRuns(
        name=planned.name,
        count=planned.num,
        each_s=Span(least=least, most=most),
        earlier=found.earlier,
        differs_in=[*found.differs_in],
    )
    return _Priced(runs, found.machines)


def _most(runs: Sequence[PricedRuns]) -> float | None:
    known = [each.count * each.each_s.most for each in runs if each.each_s.most is not None]
    return sum(known) if len(known) == len(runs) else None


def _times(span: Span, factor: float) -> Span:
    return Span(least=span.least * factor, most=span.most * factor if span.most is not None else None)


def _wall_s(planned: Plan, runs: Sequence[PricedRuns], at_once: int) -> Span:
    rounds = [
        [each for _, each in members]
        for _, members in groupby(zip(planned.runs, runs, strict=True), key=lambda pair: pair[0].round)
    ]
    least = sum(makespan((run.each_s.least for run in each for _ in range(run.count)), at_once) for each in rounds)
    if _most(runs) is None:
        return Span(least=least, most=None)
    most = sum(makespan((run.each_s.most or 0.0 for run in each for _ in range(run.count)), at_once) for each in rounds)
    return Span(least=least, most=most)
