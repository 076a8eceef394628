"""Charts of the progress of a sweep: learning curves, cost, stopped trials, Pareto front."""

from collections.abc import Mapping
from typing import Any

from fgd_core.spec.sweep_report import SweepReport, TrialView
from service.jobs.metric_text import metric_name, origin_text
from service.jobs.trial_values import continued_after, judged_at
from service.reports.drawing import Chart, Trace, layout, markers, x_title
from service.reports.sweep_charts import (
    BLUE,
    GREY,
    MAX_DRAWN,
    MAX_MARKS,
    ORANGE,
    ORIGIN_COLOURS,
    RED,
    SKY,
    baseline_lines,
    baseline_words,
    group,
    labelled,
    metric,
    sample,
    searched,
    shown,
)


def curves(report: SweepReport) -> Chart | None:
    """One line per trial over its epochs; the winner and the baselines are in front."""
    with_values = [trial for trial in report.trials if any(point.objectives[0] is not None for point in trial.reports)]
    if not with_values:
        return None
    winner = report.standings[0].trial if report.standings else None
    drawn = sorted(with_values, key=lambda trial: _importance(trial, winner))[-MAX_DRAWN:]
    traces: list[Trace] = []
    for trial in drawn:
        name, line = _curve_look(trial, winner)
        traces.append(
            markers(
                name,
                [point.epoch for point in trial.reports],
                [point.objectives[0] for point in trial.reports],
                mode="lines+markers",
                legendgroup=name,
                showlegend=not any(trace["name"] == name for trace in traces),
                line=line,
                marker={"color": line["color"], "size": 4},
                customdata=[trial.trial] * len(trial.reports),
                hovertemplate=f"trial {trial.trial}, epoch %{{x}}: %{{y:.3f}}<extra></extra>",
            )
        )
    more = f" Only {MAX_DRAWN} of {len(with_values)} are drawn." if len(with_values) > MAX_DRAWN else ""
    alt = f"Learning curves of {len(drawn)} trials"
    if report.standings:
        alt += f"; the winner, trial {winner}, reaches {shown(report, report.standings[0].objectives[0])}"
    return Chart(
        name="curves",
        title="Learning curves",
        caption=(
            f"{metric(report)} on the validation split at each evaluation. The line of a stopped trial (grey) ends "
            "where the scheduler stopped it. If grey lines end above the winner's line, or curves cross late, early "
            f"stopping is risky here.{more}"
        ),
        traces=traces,
        layout=layout(400, xaxis=x_title("epoch"), yaxis={"title": {"text": metric(report)}}),
        alt=alt,
    )


def cost(report: SweepReport) -> Chart | None:
    """The best value so far, over epochs and over time."""
    points = report.best_so_far
    if not points:
        return None
    costs = {"": [float(point.epochs) for point in points], "2": [point.train_s / 60 for point in points]}
    traces = [
        markers(
            "best so far",
            xs,
            [point.best for point in points],
            mode="lines+markers",
            xaxis=f"x{panel}",
            yaxis=f"y{panel}",
            line={"color": BLUE, "width": 2, "shape": "hv"},
            marker={"size": 6},
            customdata=[point.trial for point in points],
            hovertemplate="trial %{customdata}: %{y:.3f} after %{x:.4~g}<extra></extra>",
            showlegend=False,
        )
        for panel, xs in costs.items()
    ]
    last = points[-1]
    panels = layout(
        360,
        xaxis=x_title("epochs, over all trials") | {"domain": [0, 0.46], "anchor": "y", "rangemode": "tozero"},
        xaxis2=x_title("minutes of training") | {"domain": [0.54, 1], "anchor": "y2", "rangemode": "tozero"},
        yaxis={"title": {"text": metric(report)}, "anchor": "x"},
        yaxis2={"anchor": "x2", "matches": "y", "showticklabels": False},
        shapes=[line for panel in costs for line in baseline_lines(report, panel)],
    )
    return Chart(
        name="cost",
        title="Best so far over cost",
        caption=(
            "The best trial of the search against the training so far, including that of baselines and repeats. If the "
            "line still climbs at its end, more budget may help; if it has long been flat, the budget was enough. The "
            f"best of many single runs also climbs by luck.{baseline_words(report)}"
        ),
        traces=traces,
        layout=panels,
        alt=f"Best so far: {shown(report, last.best)} by trial {last.trial} after {last.epochs} epochs",
    )


def front(report: SweepReport) -> Chart | None:
    """The first objective against each other one."""
    objectives = report.spec.objectives
    on_front = [str(standing.trial) for standing in report.standings if standing.is_on_front]
    whole = [each for each in report.standings if each.is_on_front is not None]
    # Best first, so that the others are an even part of the order.
    dominated = [each for each in whole if not each.is_on_front]
    step = max(1, -(-len(dominated) // MAX_MARKS))
    drawn = [*(each for each in whole if each.is_on_front), *dominated[::step]]
    if len(objectives) < 2 or not whole:
        return None
    count = len(objectives) - 1
    traces: list[Trace] = []
    axes: dict[str, Any] = {}
    for index, objective in enumerate(objectives[1:], start=1):
        number = "" if index == 1 else str(index)
        axes[f"xaxis{number}"] = {
            "title": {"text": f"{metric_name(objective.metric)} ({_way(objective.direction)})"},
            "domain": [(index - 1) / count + 0.02, index / count - 0.02],
            "anchor": f"y{number}",
        }
        axes[f"yaxis{number}"] = {
            "title": {"text": f"{metric(report)} ({_way(objectives[0].direction)})" if index == 1 else ""},
            "anchor": f"x{number}",
        }
        for name, is_on, color in (("dominated", False, GREY), ("on the front", True, ORANGE)):
            here = [each for each in drawn if each.is_on_front is is_on and each.objectives[index] is not None]
            here.sort(key=lambda each, at=index: each.objectives[at] or 0.0)  # type: ignore[misc]
            if here:
                traces.append(
                    markers(
                        name,
                        [standing.objectives[index] for standing in here],
                        [standing.objectives[0] for standing in here],
                        marker={"color": color, "size": 11 if is_on else 8},
                        customdata=[standing.trial for standing in here],
                        hovertemplate="trial %{customdata}: %{y:.3f} at %{x:.4~g}<extra></extra>",
                        xaxis=f"x{number}",
                        yaxis=f"y{number}",
                        showlegend=index == 1,
                    )
                )
    more = f" One in {step} dominated configurations is drawn." if step > 1 else ""
    return Chart(
        name="front",
        title="Pareto front",
        caption=(
            "One mark per configuration, at its means over seeds. No configuration is better than one on the front in "
            "every objective; choose by what matters to you. With one seed, neighbours on the front may be swapped."
            f"{more}"
        ),
        traces=traces,
        layout=layout(400, **axes),
        alt=f"On the Pareto front: trials {', '.join(on_front) or 'none'} of {len(whole)}",
        is_wide=count > 1,
    )


def rungs(report: SweepReport) -> Chart | None:
    """The trials at each rung with their values, and which of them continued."""
    if report.stopping is None or not report.stopping.rungs:
        return None
    direction = report.spec.objectives[0].direction
    at: dict[str, list[tuple[float, float, TrialView]]] = {name: [] for name in _RUNG_LOOKS}
    chosen = sample(report, searched(report))
    for index, rung in enumerate(report.stopping.rungs):
        for trial, value in judged_at(chosen.trials, rung.rung, rung.epoch, direction):
            stopped = trial.state == "stopped" and trial.epoch == rung.epoch
            on = continued_after(trial, rung.epoch)
            name = "continued, or completed" if on else "stopped here" if stopped else "ended otherwise"
            at[name].append((index + _RUNG_LOOKS[name][0], value, trial))
    traces = [
        markers(
            name,
            [x for x, _, _ in points],
            [y for _, y, _ in points],
            marker=_RUNG_LOOKS[name][1],
            **labelled([trial for _, _, trial in points], first="%{y:.3f} here<br>"),
        )
        for name, points in at.items()
        if points
    ]
    names = [f"epoch {rung.epoch}" for rung in report.stopping.rungs]
    said = "; ".join(
        f"epoch {each.epoch}: {each.went_on} of {each.reached} continued" for each in report.stopping.rungs
    )
    return Chart(
        name="rungs",
        title="What the scheduler stopped",
        caption=(
            f"The best {metric(report)} of each trial when it reached a rung. The scheduler decides when a trial "
            "arrives and knows only the trials before it. A late trial is judged more strictly, so a cross may be "
            f"above a circle.{chosen.words}"
        ),
        traces=traces,
        layout=layout(
            360,
            xaxis={"tickvals": list(range(len(names))), "ticktext": names, "range": [-0.5, len(names) - 0.5]},
            yaxis={"title": {"text": metric(report)}},
        ),
        alt=f"Rungs. {said}",
    )


_RUNG_LOOKS: Mapping[str, tuple[float, dict[str, Any]]] = {
    "continued, or completed": (-0.13, {"color": BLUE, "symbol": "circle", "size": 9}),
    "stopped here": (0.0, {"color": GREY, "symbol": "x", "size": 8}),
    "ended otherwise": (0.13, {"color": RED, "symbol": "triangle-down", "size": 8}),
}
"""Each group's offset from the middle of a rung, and its marks."""


def _importance(trial: TrialView, winner: int | None) -> int:
    """Trials with a larger value are drawn later, on top, and are omitted last."""
    if trial.trial == winner:
        return 3
    if trial.origin in ORIGIN_COLOURS:
        return 2
    return int(group(trial) != "stopped")


def _curve_look(trial: TrialView, winner: int | None) -> tuple[str, dict[str, Any]]:
    if trial.trial == winner:
        return f"winner, trial {winner}", {"color": ORANGE, "width": 3.5}
    if trial.origin in ORIGIN_COLOURS:
        return origin_text(trial.origin), {"color": ORIGIN_COLOURS[trial.origin], "width": 2, "dash": "dash"}
    if trial.repeats is not None:
        return "other seeds", {"color": SKY, "width": 1, "dash": "dot"}
    match group(trial):
        case "stopped":
            return "stopped", {"color": GREY, "width": 1}
        case "completed":
            return "others", {"color": BLUE, "width": 1.4}
        case name:
            return name, {"color": RED if name == "failed or lost" else SKY, "width": 1.4}


def _way(direction: str) -> str:
    return "more is better" if direction == "maximize" else "less is better"
