"""Charts of the space of a sweep: which values gave which results."""

import math
from collections.abc import Sequence
from typing import Any

from fgd_core.spec.dimensions import Choice, Dimension
from fgd_core.spec.sweep_report import SweepReport, TrialView
from service.jobs.trial_values import best_until, common_epoch
from service.reports.drawing import Chart, Trace, layout, markers
from service.reports.smoothing import Point, gathered, smoothed
from service.reports.sweep_charts import (
    BLUE,
    GROUP_MARKS,
    MAX_DRAWN,
    SCALE,
    axis,
    baseline_lines,
    baseline_words,
    best_first,
    group,
    is_log,
    labelled,
    metric,
    on_axis,
    place,
    sample,
    searched,
    shade,
    short,
    shown,
    ticks,
    value_of,
)

MAX_SLICES = 12
MIN_FOR_CONTOUR = 10
_GRID = 32


def parallel(report: SweepReport) -> Chart | None:
    """Parallel coordinates, drawn as lines."""
    dimensions = report.spec.dimensions()
    trials = best_first(report, searched(report))
    drawn = trials[:MAX_DRAWN]
    if not drawn or not dimensions:
        return None
    values = [value_of(trial) for trial in drawn]
    low, high = min(values), max(values)
    # The best trial is drawn last, on top.
    traces = [_parallel_line(report, trial, low, high) for trial in reversed(drawn)]
    traces.append(_colour_scale(report, low, high))
    marks = [(index, at, text) for index, each in enumerate(dimensions.values()) for at, text in ticks(each)]
    end = len(dimensions)
    marks += [(end, at, shown(report, low + at * (high - low))) for at in (0.0, 0.5, 1.0) if high > low or at == 0.5]
    figure_layout = layout(
        420,
        xaxis={
            "tickvals": list(range(end + 1)),
            "ticktext": [*(short(path) for path in dimensions), metric(report)],
            "range": [-0.25, end + 0.25],
            "showgrid": True,
        },
        yaxis={"visible": False, "range": [-0.06, 1.06]},
        annotations=[
            {"x": x, "y": y, "text": text, "xshift": 5, "showarrow": False, "xanchor": "left"} for x, y, text in marks
        ],
    )
    more = f" Only the best {MAX_DRAWN} of {len(trials)} are drawn." if len(trials) > MAX_DRAWN else ""
    return Chart(
        name="parallel",
        title="Trials across the space",
        caption=(
            f"One line per trial, from its values on the left to its best {metric(report)} on the right; stopped "
            "trials are thin and dotted. If lines of one colour run close together on an axis, that value matters; if "
            f"they spread over the axis, it does not matter alone. Stopped trials had fewer epochs.{more}"
        ),
        traces=traces,
        layout=figure_layout,
        alt=f"Parallel coordinates of {len(drawn)} trials over {', '.join(dimensions)}. {_best_in_words(report)}",
        is_wide=True,
    )


def importance(report: SweepReport) -> Chart | None:
    """Bars with the importance of each dimension."""
    found = report.importance
    if found is None:
        return None
    names, shares = list(found.shares), list(found.shares.values())
    effects = report.effects.dimensions if report.effects is not None else []
    mattered = {each.path for each in effects if each.verdict == "mattered"}
    trace = {
        "type": "bar",
        "orientation": "h",
        "x": shares,
        "y": names,
        "marker": {"color": BLUE},
        "text": [f"{share:.0%}{', mattered' if name in mattered else ''}" for name, share in found.shares.items()],
        "textposition": "outside",
        "hovertemplate": "%{y}: %{x:.1%}<extra></extra>",
    }
    left_out = f" {found.num_left_out} trials did not reach that epoch and are left out." if found.num_left_out else ""
    return Chart(
        name="importance",
        title="Importance",
        caption=(
            f"PED-ANOVA: how much each dimension separates the best trials from the others, over {found.num_trials} "
            f"trials by their best value up to epoch {found.epoch}.{left_out} "
            + (found.warning or "It says nothing about values outside the space.")
            + " A share is no test: the table of settings says which ones mattered."
        ),
        traces=[trace],
        layout=layout(
            110 + 34 * len(names),
            xaxis={"tickformat": ".0%", "range": [0, 1.12], "tickvals": [0, 0.25, 0.5, 0.75, 1]},
            yaxis={"autorange": "reversed"},
        ),
        alt="Importance: " + ", ".join(f"{name} {share:.0%}" for name, share in found.shares.items()),
    )


def slices(report: SweepReport) -> Chart | None:
    """One panel per dimension: its values against the objective."""
    dimensions = _most_important(report)[:MAX_SLICES]
    chosen = sample(report, searched(report))
    trials = chosen.trials
    if not trials or not dimensions:
        return None
    columns = min(3, len(dimensions))
    rows = math.ceil(len(dimensions) / columns)
    gap = 0.26 / rows
    row_height = (1 + gap) / rows
    traces: list[Trace] = []
    axes: dict[str, Any] = {}
    shapes: list[dict[str, Any]] = []
    for index, (path, dimension) in enumerate(dimensions):
        number = "" if index == 0 else str(index + 1)
        row, column = divmod(index, columns)
        drawn = [trial.values[path] for trial in trials if path in trial.values]
        axes[f"xaxis{number}"] = axis(dimension, short(path), drawn) | {
            "domain": [column / columns + 0.03, (column + 1) / columns - 0.03],
            "anchor": f"y{number}",
        }
        axes[f"yaxis{number}"] = {
            "domain": [1 - (row + 1) * row_height + gap, 1 - row * row_height],
            "anchor": f"x{number}",
            "title": {"text": metric(report) if column == 0 else ""},
        } | ({"matches": "y"} if index else {})
        shapes += baseline_lines(report, number)
        for name, mark in GROUP_MARKS.items():
            here = [trial for trial in trials if group(trial) == name and path in trial.values]
            if here:
                traces.append(
                    markers(
                        name,
                        [on_axis(dimension, trial.values[path]) for trial in here],
                        [value_of(trial) for trial in here],
                        legendgroup=name,
                        showlegend=not any(trace["name"] == name for trace in traces),
                        xaxis=f"x{number}",
                        yaxis=f"y{number}",
                        marker=mark,
                        **labelled(here),
                    )
                )
    return Chart(
        name="slices",
        title="One dimension at a time",
        caption=(
            f"The best {metric(report)} of each trial against one of its values. The other values differ, too, so "
            f"another dimension can cause a trend.{baseline_words(report)}{chosen.words}"
        ),
        traces=traces,
        layout=layout(70 + 270 * rows, **axes, shapes=shapes),
        alt=f"Scatter plots of {metric(report)} against {', '.join(path for path, _ in dimensions)}",
        is_wide=True,
    )


def contour(report: SweepReport) -> Chart | None:
    """A map over the two most important numeric dimensions."""
    pair = [each for each in _most_important(report) if not isinstance(each[1], Choice)][:2]
    compared = _compared(report, [path for path, _ in pair])
    if len(pair) < 2 or len(compared) < MIN_FOR_CONTOUR:
        return None
    (x_path, x_dimension), (y_path, y_dimension) = pair
    points = gathered(
        [
            Point(x, y, value)
            for trial, value in compared
            if (x := place(x_dimension, trial.values[x_path])) is not None
            and (y := place(y_dimension, trial.values[y_path])) is not None
        ]
    )
    chosen = sample(report, [trial for trial, _ in compared])
    sides = [index / (_GRID - 1) for index in range(_GRID)]
    trace = {
        "type": "contour",
        "x": [_value_at(x_dimension, at) for at in sides],
        "y": [_value_at(y_dimension, at) for at in sides],
        "z": smoothed(sides, points),
        "colorscale": _scale(report),
        "colorbar": {"title": {"text": metric(report)}},
        "ncontours": 12,
        "opacity": 0.85,
        "hovertemplate": f"about %{{z:.3f}}<extra>{metric(report)}</extra>",
    }
    marks = markers(
        "trials",
        [trial.values[x_path] for trial in chosen.trials],
        [trial.values[y_path] for trial in chosen.trials],
        marker={"color": "#1a1c1f", "size": 7, "line": {"color": "#ffffff", "width": 1.5}},
        showlegend=False,
        **labelled(chosen.trials),
    )
    return Chart(
        name="contour",
        title=f"{short(x_path)} with {short(y_path)}",
        caption=(
            f"The two most important dimensions: the best value up to epoch {common_epoch(searched(report))}, smoothed "
            "between trials (dots) and blank far from all trials. The other values differ between dots, so a hill "
            f"around a single dot means nothing.{chosen.words}"
        ),
        traces=[trace, marks],
        layout=layout(
            400,
            xaxis=axis(x_dimension, x_path, marks["x"]),
            yaxis=axis(y_dimension, y_path, marks["y"]),
        ),
        alt=f"Map of {metric(report)} over {x_path} and {y_path} from {len(compared)} trials",
    )


def _parallel_line(report: SweepReport, trial: TrialView, low: float, high: float) -> Trace:
    """A trial as a line through all dimensions to its value between `low` and `high`."""
    dimensions = report.spec.dimensions()
    share = (value_of(trial) - low) / (high - low) if high > low else 0.5
    look = {"width": 2.5, "dash": "solid"} if trial.state == "completed" else {"width": 1.2, "dash": "dot"}
    return markers(
        f"trial {trial.trial}",
        list(range(len(dimensions) + 1)),
        [*(place(dimension, trial.values.get(path)) for path, dimension in dimensions.items()), share],
        mode="lines+markers",
        line={"color": shade(share if _is_maximized(report) else 1 - share)} | look,
        marker={"size": 5},
        opacity=0.95 if trial.state == "completed" else 0.6,
        showlegend=False,
        **labelled([trial] * (len(dimensions) + 1)),
    )


def _colour_scale(report: SweepReport, low: float, high: float) -> Trace:
    """An invisible mark that brings the colour bar."""
    bar = {"title": {"text": metric(report)}}
    mark = {"color": [low], "cmin": low, "cmax": high, "colorscale": _scale(report), "colorbar": bar, "size": 0.1}
    return markers("scale", [None], [None], marker=mark, hoverinfo="skip", showlegend=False)


def _is_maximized(report: SweepReport) -> bool:
    return report.spec.objectives[0].direction == "maximize"


def _scale(report: SweepReport) -> list[list[float | str]]:
    return [[at, shade(at if _is_maximized(report) else 1 - at)] for at, _ in SCALE]


def _most_important(report: SweepReport) -> list[tuple[str, Dimension]]:
    shares = report.importance.shares if report.importance is not None else {}
    return sorted(report.spec.dimensions().items(), key=lambda each: -shares.get(each[0], 0.0))


def _compared(report: SweepReport, paths: Sequence[str]) -> list[tuple[TrialView, float]]:
    """Trials that have all of these values, with their best value up to `common_epoch`."""
    trials = searched(report)
    epoch = common_epoch(trials)
    direction = report.spec.objectives[0].direction
    return [
        (trial, value)
        for trial in trials
        if all(path in trial.values for path in paths) and (value := best_until(trial, epoch, direction)) is not None
    ]


def _value_at(dimension: Dimension, at: float) -> float:
    assert not isinstance(dimension, Choice)
    low, high = float(dimension.low), float(dimension.high)
    if is_log(dimension):
        return math.exp(math.log(low) + at * (math.log(high) - math.log(low)))
    return low + at * (high - low)


def _best_in_words(report: SweepReport) -> str:
    best = best_first(report, searched(report))[0]
    return f"The best is trial {best.trial} with {metric(report)} {shown(report, best.objectives[0])}."
