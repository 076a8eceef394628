"""The charts of a report, as plotly figures: {data, layout} in JSON.

They are plain values, which plotly.js draws in the reader's browser. So the control plane imports no plotting library,
and the reader can zoom and read each point.
"""

import math
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from fgd_core.spec.report import JobReport, Report
from service.reports.comparison import best_scores, role, speeds_compare

# The colours of Okabe and Ito, which colour-blind people can distinguish; each is legible on white and near-black.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8C8C8C")
_LEVEL = re.compile(r"^[PC]\d+$")
_TEACHER = re.compile(r"distill/teacher_\d+$")

Trace: TypeAlias = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart of a page."""

    name: str
    """Id of the HTML element."""
    title: str
    caption: str
    traces: Sequence[Trace]
    layout: dict[str, Any]
    """As `layout` makes it."""

    @property
    def figure(self) -> dict[str, Any]:
        """The figure that plotly.js draws."""
        return {"data": list(self.traces), "layout": self.layout}

    @property
    def height_px(self) -> int:
        """The height of the figure."""
        return int(self.layout["height"])


def layout(height_px: int, **changes: Any) -> dict[str, Any]:
    """The layout that all charts share."""
    return {
        "height": height_px,
        "margin": {"l": 60, "r": 20, "t": 40, "b": 50},
        "hovermode": "closest",
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02, "xanchor": "left", "x": 0},
    } | changes


def x_title(text: str) -> dict[str, Any]:
    """The title of an x axis."""
    return {"title": {"text": text, "standoff": 8}}


def markers(name: str, x: Sequence[Any], y: Sequence[Any], **more: Any) -> Trace:
    """A trace of separate points."""
    return {"type": "scatter", "mode": "markers", "name": name, "x": x, "y": y} | more


def colour(index: int) -> str:
    """The colour of the job at this index."""
    return COLOURS[index % len(COLOURS)]


def charts(report: Report) -> list[Chart]:
    """Draw all charts that have data."""
    found = [_ap_over_epochs(report), _loss_over_epochs(report), _per_class(report), _ap_against_speed(report)]
    for job in report.jobs:
        found += [_terms(job), _levels(job), _teachers(job)]
    return [chart for chart in found if chart is not None]


def _ap_over_epochs(report: Report) -> Chart | None:
    traces = []
    has_masks = False
    for index, job in enumerate(report.jobs):
        points = [(at.epoch, at.scores.ap) for at in job.evaluations if at.epoch is not None]
        if points:
            if role(job, report.jobs) == "teacher":
                traces.append(_line(job.name, points, colour(index), dash="dash"))
            else:
                traces.append(_line(job.name, points, colour(index), mode="lines+markers"))
        of_masks = [
            (at.epoch, at.scores.masks.ap) for at in job.evaluations if at.epoch is not None and at.scores.masks
        ]
        control = [(at.epoch, at.scores.ap) for at in job.control_evaluations if at.epoch is not None]
        if control:
            traces.append(_line(f"{job.name}, control", control, colour(index), dash="dashdot"))
        if of_masks:
            traces.append(_line(f"{job.name}, masks", of_masks, colour(index), dash="dot"))
            has_masks = True
    caption = "On the validation split, after each epoch. A teacher's line is dashed"
    caption += "; AP of masks is dotted." if has_masks else "."
    if any(job.stages for job in report.jobs):
        caption += " Dotted vertical lines are the beginnings of a chain's stages; its control is dash-dotted."
    chart = _chart("ap-over-epochs", "AP over epochs", caption, traces, x="epoch", y="AP", y_from_zero=True)
    return _with_borders(chart, report.jobs)


def _loss_over_epochs(report: Report) -> Chart | None:
    traces = []
    for index, job in enumerate(report.jobs):
        raw = list(_in_epochs(job, "loss"))
        if raw:
            trace = _line(f"{job.name}, as reported", raw, colour(index), mode="lines")
            traces.append(trace | {"opacity": 0.3, "line": {**trace["line"], "width": 1}, "showlegend": False})
        means = [(at.epoch, at.values["loss"]) for at in job.epochs if "loss" in at.values]
        if means:
            traces.append(_line(job.name, means, colour(index), mode="lines+markers"))
    caption = (
        "Thick lines are means over each epoch, thin lines are steps. A distilled job's loss includes its distillation."
    )
    chart = _chart("loss-over-epochs", "Training loss", caption, traces, x="epoch", y="loss", log_y=True)
    return _with_borders(chart, report.jobs)


def _per_class(report: Report) -> Chart | None:
    traces = []
    classes: dict[str, int] = {}
    for index, job in enumerate(report.jobs):
        scores = best_scores(job)
        if scores is None or not scores.per_class:
            continue
        for name, score in scores.per_class.items():
            classes.setdefault(name, score.num_boxes)
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": job.name,
                "y": list(scores.per_class),
                "x": [score.ap for score in scores.per_class.values()],
                "marker": {"color": colour(index)},
                "customdata": [score.num_boxes for score in scores.per_class.values()],
                "hovertemplate": "%{y}: AP %{x:.3f} on %{customdata} boxes<extra>%{fullData.name}</extra>",
            }
        )
    height = 130 + len(classes) * (14 * len(traces) + 14)
    caption = "The AP of a class with few boxes is noisy; the table and the pointer show the number of boxes."
    chart = _chart("per-class", "AP per class", caption, traces, x="AP", y="", height_px=height)
    if chart is not None:
        # Reversed, so that the first class and the first job are on top.
        order = {"autorange": "reversed", "categoryorder": "array", "categoryarray": list(classes)}
        chart.layout["yaxis"] |= {**order, "automargin": True}
        chart.layout["xaxis"]["rangemode"] = "tozero"
        chart.layout["barmode"] = "group"
    return chart


def _ap_against_speed(report: Report) -> Chart | None:
    traces = []
    for index, job in enumerate(report.jobs):
        if job.result is not None and job.result.scores.ap is not None:
            millions = job.result.num_parameters / 1e6
            traces.append(
                markers(
                    job.name,
                    [job.result.images_per_s],
                    [job.result.scores.ap],
                    mode="markers+text",
                    text=[job.name],
                    textposition="top center",
                    cliponaxis=False,
                    marker={"color": colour(index), "size": 10 + 6 * millions**0.5},
                    customdata=[millions],
                    hovertemplate="AP %{y:.3f}, %{x:.1f} images/s, %{customdata:.2f} M parameters<extra></extra>",
                    showlegend=False,
                )
            )
    if len(traces) < 2 or not speeds_compare(report.jobs):
        return None
    caption = "Up and to the right is better; a larger mark means more parameters."
    chart = _chart("ap-against-speed", "AP against speed", caption, traces, x="images/s", y="AP", y_from_zero=True)
    if chart is not None:
        chart.layout["xaxis"]["rangemode"] = "tozero"
    return chart


def _terms(job: JobReport) -> Chart | None:
    """The loss terms of the detector and of the distillation, on a logarithmic axis."""
    if job.kind not in ("distill", "chain"):
        return None
    names = [name for name in _names(job, "distill/", "task/") if _is_term(name)]
    traces = [
        _line(name, _epoch_means(job, name), colour(index), dash="dash" if name.startswith("task/") else "solid")
        for index, name in enumerate(names)
    ]
    caption = (
        "Means over each epoch, logarithmic. distill/… are the method's terms, unweighted and summed over levels; "
        "task/… (dashed) are the detector's own losses."
    )
    return _chart(f"terms-{job.job_id}", f"Loss terms of {job.name}", caption, traces, x="epoch", y="loss", log_y=True)


def _levels(job: JobReport) -> Chart | None:
    """The part of each pyramid level in the weighted distillation loss."""
    names = [name for name in _names(job, "distill/") if _is_level(name)]
    traces = [
        _line(name.removeprefix("distill/"), _epoch_means(job, name), colour(index)) | {"stackgroup": "levels"}
        for index, name in enumerate(names)
    ]
    caption = (
        "Weighted distillation loss, stacked by pyramid level: it shows which object sizes the distillation acts on."
    )
    return _chart(f"levels-{job.job_id}", f"Distillation per level, {job.name}", caption, traces, x="epoch", y="loss")


def _teachers(job: JobReport) -> Chart | None:
    """The weighted distillation loss of each of several teachers."""
    traces = [
        _line(name.rpartition("/")[2].replace("_", " "), _epoch_means(job, name), colour(index))
        for index, name in enumerate(_names(job, "distill/"))
        if _TEACHER.match(name)
    ]
    caption = "Weighted distillation loss of each teacher; the loss of the training has their weighted mean."
    return _chart(
        f"teachers-{job.job_id}", f"Distillation per teacher, {job.name}", caption, traces, x="epoch", y="loss"
    )


def _names(job: JobReport, *prefixes: str) -> list[str]:
    return sorted({name for at in job.epochs for name in at.values if name.startswith(prefixes)})


def _is_term(name: str) -> bool:
    return not (_is_level(name) or _TEACHER.match(name) or name == "distill/total")


def _is_level(name: str) -> bool:
    return _LEVEL.match(name.rpartition("/")[2]) is not None


def _epoch_means(job: JobReport, name: str) -> list[tuple[float, float | None]]:
    return [(at.epoch, at.values.get(name)) for at in job.epochs]


def _in_epochs(job: JobReport, name: str) -> Iterator[tuple[float, float | None]]:
    """The points of a metric with steps in epochs, so that jobs with different batch sizes share an axis."""
    # The stages of a chain may have different batch sizes, so each epoch has its own number of steps.
    steps, epochs = [0], [0]
    for at in job.epochs:
        # After a retry with half the batch, epochs that are still to come may have been counted in larger batches.
        if at.step > steps[-1]:
            steps.append(at.step)
            epochs.append(at.epoch)
    for point in job.curves.get(name, []) if len(steps) > 1 else []:
        end = min(max(1, bisect_left(steps, point.step)), len(steps) - 1)
        width = (epochs[end] - epochs[end - 1]) / (steps[end] - steps[end - 1])
        yield epochs[end] - (steps[end] - point.step) * width, point.value


def _with_borders(chart: Chart | None, jobs: Sequence[JobReport]) -> Chart | None:
    """Draw a vertical line where a stage of a chain begins."""
    if chart is not None:
        chart.figure["layout"]["shapes"] = [
            {
                "type": "line",
                "x0": stage.first_epoch,
                "x1": stage.first_epoch,
                "yref": "paper",
                "y0": 0,
                "y1": 1,
                "line": {"color": colour(index), "dash": "dot", "width": 1},
            }
            for index, job in enumerate(jobs)
            for stage in job.stages
            if stage.first_epoch > 0
        ]
    return chart


def _line(
    name: str, points: Sequence[tuple[float, float | None]], color: str, *, dash: str = "solid", mode: str = "lines"
) -> dict[str, Any]:
    return markers(
        name,
        [x for x, _ in points],
        [y for _, y in points],
        mode=mode if len(points) > 1 else "markers",
        line={"color": color, "dash": dash, "width": 2},
        hovertemplate="%{y:.4g} at %{x:.3~g}<extra>%{fullData.name}</extra>",
    )


def _log_ticks(values: Sequence[float]) -> dict[str, Any]:
    """Ticks as plain numbers. By default plotly writes 0.02, 0.2 and 2 all as "2"."""
    if not values or min(values) <= 0:
        return {}
    first, last = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    digits = (1, 2, 5) if last - first <= 3 else (1,)
    ticks = [digit * 10.0**exponent for exponent in range(first, last + 1) for digit in digits]
    return {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def _chart(
    name: str,
    title: str,
    caption: str,
    traces: Sequence[dict[str, Any]],
    *,
    x: str,
    y: str,
    log_y: bool = False,
    y_from_zero: bool = False,
    height_px: int = 360,
) -> Chart | None:
    if not traces:
        return None
    y_axis: dict[str, Any] = {"title": {"text": y}}
    if log_y:
        y_axis |= {"type": "log", **_log_ticks([value for trace in traces for value in trace["y"] if value])}
    if y_from_zero:
        y_axis |= {"rangemode": "tozero"}
    axes = layout(height_px, xaxis=x_title(x), yaxis=y_axis)
    return Chart(name=name, title=title, caption=caption, traces=traces, layout=axes)
