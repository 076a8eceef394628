"""Costs in words."""

from collections import Counter
from collections.abc import Iterator, Sequence

from fgd_core.spec.costs import CostEstimate, JobCost, Span
from fgd_core.spec.event_text import duration
from fgd_core.spec.events import JobState
from service.jobs.costs.plan import Plan, PlannedRuns
from service.jobs.lifecycle import is_over

_DIFFERENCES = {
    "teacher": "had another teacher",
    "method": "had another method",
    "epochs": "had another number of epochs, by which their time is scaled",
    "altered": "evaluated other copies of the images",
}
_FORMS = {"job": "were trials or chains", "trial": "were jobs of their own", "chain": "were single trainings or trials"}
"""What runs of another form were, by the form of the planned ones."""
_RUNS = {"job": "training", "trial": "training"}


def expected(found: CostEstimate, planned: Plan) -> str:
    """Return an estimate as a few sentences: the amounts, and what they are based on; without its `sentence`."""
    return " ".join(_expected(found, planned))


def whole(cost: JobCost, state: JobState) -> str:
    """Return what a job in this state was expected to cost, and what it has cost; without its `sentence`."""
    spent = cost.spent
    if spent.wall_s is None:
        return cost.expected.sentence
    took = f"{duration(spent.runs_s)} of running time{_gpus(Span(least=spent.gpu_hours, most=spent.gpu_hours))}"
    took = f"{took} in {duration(spent.wall_s)}"
    if is_over(state) and not any(each.earlier for each in cost.expected.runs):
        return f"Nothing like it had run before; it took {took}."
    if is_over(state):
        came = f"It took {took}{_verdict(cost) if state == 'succeeded' else ''}."
    else:
        came = f"So far {took}; about {duration(cost.left_s)} left." if cost.left_s is not None else f"So far {took}."
    return f"{cost.expected.sentence} {came}"


def _expected(found: CostEstimate, planned: Plan) -> Iterator[str]:
    num = sum(each.count for each in found.runs)
    runs = _counted(planned.runs)
    earlier = sum(each.earlier for each in found.runs)
    unknown = [each for each in found.runs if each.earlier == 0]
    if earlier == 0:
        budget_s = found.runs_s.most
        known = f"at most {duration(budget_s)} of running time, by the budget" if budget_s is not None else "unknown"
        yield (
            f"Cost of {runs}: {known}. No run with the same detector, data, input, training and resources has ended in "
            f"the project. The cost is known once the first one has ended; {_cure(planned)} shows it before."
        )
        return
    wall = f"{_span(found.wall_s)} with {found.at_once} at a time, " if found.wall_s is not None and num > 1 else ""
    amounts = f"{wall}{_span(found.runs_s)} of running time{_gpus(found.gpu_hours)}"
    where = f" on {_list(found.machines)}" if found.machines else ""
    yield f"Expected cost of {runs}: {amounts}, from {earlier} earlier {'run' if earlier == 1 else 'runs'}{where}."
    differences = {name: None for each in found.runs for name in each.differs_in}
    if differences:
        form = _FORMS[planned.runs[0].type.form]
        yield f"Some of these {_list([_DIFFERENCES.get(name, form) for name in differences])}."
    yield from _unknown([each.name for each in unknown if each.each_s.most is None], planned)
    yield from _assumed([each.name for each in unknown if each.each_s.most is not None])
    for each in planned.runs:
        if each.least_epochs < each.most_epochs:
            yield (
                "The smaller figures hold if the scheduler stops all trials but one at its first decision, the larger "
                "ones if it stops none."
            )


def _unknown(names: Sequence[str], planned: Plan) -> Iterator[str]:
    if names:
        yield (
            f"Nothing like {_list(names)} has run yet; that part is known once the first of them has ended, and "
            f"{_cure(planned)} shows it before."
        )


def _assumed(names: Sequence[str]) -> Iterator[str]:
    if names:
        yield (
            f"Nothing like {_list(names)} has run yet; the larger figures assume that such a run takes as long as a "
            "distillation, which does more."
        )


def _cure(planned: Plan) -> str:
    """Return what shows the cost of a job before it starts."""
    return "one training of 1 epoch" if len(planned.runs) == 1 else "the base, as a job of 1 epoch,"


def _counted(runs: Sequence[PlannedRuns]) -> str:
    """Return `20 trainings and 1 evaluation`."""
    counts: Counter[str] = Counter()
    for each in runs:
        counts[_RUNS.get(each.type.form, each.type.form)] += each.num
    return _list([f"{num} {what}{'' if num == 1 else 's'}" for what, num in counts.items()])


def _verdict(cost: JobCost) -> str:
    took, span = cost.spent.runs_s, cost.expected.runs_s
    if span.most is None or not span.least:
        return ""
    if took < span.least:
        return f", {1 - took / span.least:.0%} less than expected"
    return f", {took / span.most - 1:.0%} more than expected" if took > span.most else ", as expected"


def _gpus(hours: Span) -> str:
    if not hours.least and not hours.most:
        return ""
    return f", {_between(f'{hours.least:.3g}', f'{hours.most:.3g}' if hours.most is not None else None)} GPU-hours"


def _span(span: Span) -> str:
    return _between(duration(span.least), duration(span.most) if span.most is not None else None)


def _between(least: str, most: str | None) -> str:
    if most is None:
        return f"at least {least}"
    return least if least == most else f"{least} to {most}"


def _list(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
