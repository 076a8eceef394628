"""Charts of the progress of a sweep: learning curves, cost, stopped trials, Pareto front."""

from typing import Any

from fgd_core.spec.sweep_report import Standing, SweepReport, TrialView
from service.jobs.metric_text import metric_name, origin_text
from service.jobs.trial_values import continued_after, judged_at
from service.reports.sweep_charts import (
    BLUE,
    GREY,
    MAX_DRAWN,
    ORANGE,
    ORIGIN_COLOURS,
    RED,
    SKY,
    SweepChart,
    baseline_lines,
    baseline_words,
    group,
    label,
    layout,
    metric,
    shown,
)


def curves(report: SweepReport) -> SweepChart | None:
    """One line per trial over its epochs; the winner and the baselines are in front."""
    with_values = [trial for trial in report.trials if any(point.objectives[0] is not None for point in trial.reports)]
    if not with_values:
        return None
    winner = report.standings[0].trial if report.standings else None
    drawn = sorted(with_values, key=lambda trial: _importance(trial, winner))[-MAX_DRAWN:]
    traces: list[dict[str, Any]] = []
    for trial in drawn:
        name, line = _curve_look(trial, winner)
        points = [(point.epoch, point.objectives[0]) for point in trial.reports]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "legendgroup": name,
                "showlegend": not any(trace["name"] == name for trace in traces),
                "x": [epoch for epoch, _ in points],
                "y": [value for _, value in points],
                "line": line,
                "marker": {"color": line["color"], "size": 4},
                "customdata": [trial.trial] * len(points),
                "hovertemplate": f"trial {trial.trial}, epoch %{{x}}: %{{y:.3f}}<extra></extra>",
            }
        )
    more = f" Only {MAX_DRAWN} of {len(with_values)} are drawn." if len(with_values) > MAX_DRAWN else ""
    return SweepChart(
        name="curves",
        title="Learning curves",
        caption=(
            f"{metric(report)} on the validation split at each evaluation. The line of a stopped trial (grey) ends "
            "where the scheduler stopped it. If grey lines end above the winner's line, or curves cross late, early "
            f"stopping is risky here.{more}"
        ),
        figure={
            "data": traces,
            "layout": layout(
                400, xaxis={"title": {"text": "epoch", "standoff": 8}}, yaxis={"title": {"text": metric(report)}}
            ),
        },
        height_px=400,
        alt=f"Learning curves of {len(drawn)} trials"
        + (
            f"; the winner, trial {winner}, reaches {shown(report, report.standings[0].objectives[0])}"
            if with_values
            else ""
        ),
    )


def cost(report: SweepReport) -> SweepChart | None:
    """The best value so far, over epochs and over time."""
    points = report.best_so_far
    if not points:
        return None
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": "best so far",
            "x": xs,
            "y": [point.best for point in points],
            "xaxis": x,
            "yaxis": y,
            "line": {"color": BLUE, "width": 2, "shape": "hv"},
            "marker": {"size": 6},
            "customdata": [point.trial for point in points],
            "hovertemplate": "trial %{customdata}: %{y:.3f} after %{x:.4~g}<extra></extra>",
            "showlegend": False,
        }
        for xs, x, y in (
            ([point.epochs for point in points], "x", "y"),
            ([point.train_s / 60 for point in points], "x2", "y2"),
        )
    ]
    last = points[-1]
    panels = layout(
        360,
        xaxis={
            "title": {"text": "epochs, over all trials", "standoff": 8},
            "domain": [0, 0.46],
            "anchor": "y",
            "rangemode": "tozero",
        },
        xaxis2={
            "title": {"text": "minutes of training", "standoff": 8},
            "domain": [0.54, 1],
            "anchor": "y2",
            "rangemode": "tozero",
        },
        yaxis={"title": {"text": metric(report)}, "anchor": "x"},
        yaxis2={"anchor": "x2", "matches": "y", "showticklabels": False},
        margin={"l": 60, "r": 20, "t": 15, "b": 55},
        shapes=[*baseline_lines(report, x="x", y="y"), *baseline_lines(report, x="x2", y="y2")],
    )
    return SweepChart(
        name="cost",
        title="Best so far over cost",
        caption=(
            "The best trial of the search against the training so far, including that of baselines and repeats. If the "
            "line still climbs at its end, more budget may help; if it has long been flat, the budget was enough. The "
            f"best of many single runs also climbs by luck.{baseline_words(report)}"
        ),
        figure={"data": traces, "layout": panels},
        height_px=360,
        alt=f"Best so far: {shown(report, last.best)} by trial {last.trial} after {last.epochs} epochs",
    )


def front(report: SweepReport) -> SweepChart | None:
    """The first objective against each other one."""
    objectives = report.spec.objectives
    whole = [standing for standing in report.standings if standing.is_on_front is not None]
    if len(objectives) < 2 or not whole:
        return None
    count = len(objectives) - 1
    traces: list[dict[str, Any]] = []
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
            here = [each for each in whole if each.is_on_front is is_on and each.objectives[index] is not None]
            here.sort(key=lambda each, at=index: each.objectives[at] or 0.0)  # type: ignore[misc]
            if here:
                traces.append(
                    _front_trace(here, index, name, color)
                    | {"xaxis": f"x{number}", "yaxis": f"y{number}", "showlegend": index == 1}
                )
    on_front = [str(standing.trial) for standing in whole if standing.is_on_front]
    return SweepChart(
        name="front",
        title="Pareto front",
        caption=(
            "One mark per configuration, at its means over seeds. No configuration is better than one on the front in "
            "every objective; choose by what matters to you. With one seed, neighbours on the front may be swapped."
        ),
        figure={"data": traces, "layout": layout(400, **axes)},
        height_px=400,
        alt=f"On the Pareto front: trials {', '.join(on_front) or 'none'} of {len(whole)}",
        is_wide=count > 1,
    )


def rungs(report: SweepReport) -> SweepChart | None:
    """The trials at each rung with their values, and which of them continued."""
    if report.stopping is None or not report.stopping.rungs:
        return None
    direction = report.spec.objectives[0].direction
    looks: dict[str, tuple[float, dict[str, Any]]] = {
        "continued, or completed": (-0.13, {"color": BLUE, "symbol": "circle", "size": 9}),
        "stopped here": (0.0, {"color": GREY, "symbol": "x", "size": 8}),
        "ended otherwise": (0.13, {"color": RED, "symbol": "triangle-down", "size": 8}),
    }
    at: dict[str, list[tuple[float, float, TrialView]]] = {name: [] for name in looks}
    for index, rung in enumerate(report.stopping.rungs):
        for trial, value in judged_at(report.trials, rung.rung, rung.epoch, direction):
            stopped = trial.state == "stopped" and trial.epoch == rung.epoch
            on = continued_after(trial, rung.epoch)
            name = "continued, or completed" if on else "stopped here" if stopped else "ended otherwise"
            at[name].append((index + looks[name][0], value, trial))
    traces = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": [x for x, _, _ in points],
            "y": [y for _, y, _ in points],
            "marker": looks[name][1],
            "text": [label(report, trial) for _, _, trial in points],
            "hovertemplate": "%{y:.3f} here<br>%{text}<extra></extra>",
        }
        for name, points in at.items()
        if points
    ]
    names = [f"epoch {rung.epoch}" for rung in report.stopping.rungs]
    said = "; ".join(
        f"epoch {each.epoch}: {each.went_on} of {each.reached} continued" for each in report.stopping.rungs
    )
    return SweepChart(
        name="rungs",
        title="What the scheduler stopped",
        caption=(
            f"The best {metric(report)} of each trial when it reached a rung. The scheduler decides when a trial "
            "arrives and knows only the trials before it. A late trial is judged more strictly, so a cross may be "
            "above a circle."
        ),
        figure={
            "data": traces,
            "layout": layout(
                360,
                xaxis={"tickvals": list(range(len(names))), "ticktext": names, "range": [-0.5, len(names) - 0.5]},
                yaxis={"title": {"text": metric(report)}},
            ),
        },
        height_px=360,
        alt=f"Rungs. {said}",
    )


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


def _front_trace(standings: list[Standing], index: int, name: str, color: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [standing.objectives[index] for standing in standings],
        "y": [standing.objectives[0] for standing in standings],
        "marker": {"color": color, "size": 11 if name == "on the front" else 8},
        "customdata": [standing.trial for standing in standings],
        "hovertemplate": "trial %{customdata}: %{y:.3f} at %{x:.4~g}<extra></extra>",
    }


def _way(direction: str) -> str:
    return "more is better" if direction == "maximize" else "less is better"
