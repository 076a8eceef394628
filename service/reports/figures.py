"""The charts of a report that show results."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from fgd_core.spec.report import JobReport, Report
from fgd_core.spec.results import Part
from service.reports.comparison import best_scores, role, speeds_compare
from service.reports.distillation_figures import distillation_charts
from service.reports.distillation_ratios import ratio_chart
from service.reports.drawing import Chart, chart_of, colour, line, markers


def charts(report: Report) -> list[Chart]:
    """Draw all charts that have data."""
    found = [_ap_over_epochs(report), _loss_over_epochs(report), _per_class(report), _ap_against_speed(report)]
    for job in report.jobs:
        found += [*distillation_charts(job), ratio_chart(job)]
    return [chart for chart in found if chart is not None]


def _ap_over_epochs(report: Report) -> Chart | None:
    traces = []
    dotted: dict[str, None] = {}
    for index, job in enumerate(report.jobs):
        points = [(at.epoch, at.scores.ap) for at in job.evaluations if at.epoch is not None]
        if points:
            if role(job, report.jobs) == "teacher":
                traces.append(line(job.name, points, colour(index), dash="dash"))
            else:
                traces.append(line(job.name, points, colour(index), mode="lines+markers"))
        control = [(at.epoch, at.scores.ap) for at in job.control_evaluations if at.epoch is not None]
        if control:
            traces.append(line(f"{job.name}, control", control, colour(index), dash="dashdot"))
        for part, points in _of_parts(job).items():
            traces.append(line(f"{job.name}, {part}", points, colour(index), dash="dot"))
            dotted[part] = None
    caption = "On the validation split, after each epoch. A teacher's line is dashed"
    caption += f"; AP of {' and '.join(dotted)} is dotted." if dotted else "."
    if any(job.stages for job in report.jobs):
        caption += " Dotted vertical lines are the beginnings of a chain's stages; its control is dash-dotted."
    chart = chart_of("ap-over-epochs", "AP over epochs", caption, traces, x="epoch", y="AP", y_from_zero=True)
    return _with_borders(chart, report.jobs)


def _of_parts(job: JobReport) -> dict[Part, list[tuple[int, float | None]]]:
    """Return the AP of masks and of keypoints at each evaluated epoch; empty for a detector of boxes."""
    found: dict[Part, list[tuple[int, float | None]]] = {}
    for at in job.evaluations:
        if at.epoch is not None:
            for part, scores in at.scores.parts().items():
                found.setdefault(part, []).append((at.epoch, scores.ap))
    return found


def _loss_over_epochs(report: Report) -> Chart | None:
    traces = []
    for index, job in enumerate(report.jobs):
        raw = list(_in_epochs(job, "loss"))
        if raw:
            trace = line(f"{job.name}, as reported", raw, colour(index), mode="lines")
            traces.append(trace | {"opacity": 0.3, "line": {**trace["line"], "width": 1}, "showlegend": False})
        means = [(at.epoch, at.values["loss"]) for at in job.epochs if "loss" in at.values]
        if means:
            traces.append(line(job.name, means, colour(index), mode="lines+markers"))
    caption = (
        "Thick lines are means over each epoch, thin lines are steps. A distilled job's loss includes its distillation."
    )
    chart = chart_of("loss-over-epochs", "Training loss", caption, traces, x="epoch", y="loss", log_y=True)
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
    chart = chart_of("per-class", "AP per class", caption, traces, x="AP", y="", height_px=height)
    if chart is not None:
        # Reversed, so that the first class and the first job are on top.
        order = {"autorange": "reversed", "categoryorder": "array", "categoryarray": list(classes)}
        chart.layout["yaxis"] |= order
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
                    marker={"color": colour(index), "size": 10 + 6 * millions**0.5},
                    customdata=[millions],
                    hovertemplate="AP %{y:.3f}, %{x:.1f} images/s, %{customdata:.2f} M parameters<extra></extra>",
                    showlegend=False,
                )
            )
    if len(traces) < 2 or not speeds_compare(report.jobs):
        return None
    caption = "Up and to the right is better; a larger mark means more parameters."
    chart = chart_of("ap-against-speed", "AP against speed", caption, traces, x="images/s", y="AP", y_from_zero=True)
    if chart is not None:
        chart.layout["xaxis"]["rangemode"] = "tozero"
    return chart


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
