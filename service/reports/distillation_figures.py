"""The charts of a report that show how a job distils: the terms of the loss, its places, its teachers."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from fgd_core.spec.detectors import AnyDetector
from fgd_core.spec.kinds.chain import ChainSpec
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.loss_names import LossName, Role, read_loss_name
from fgd_core.spec.methods import AnyMethod
from fgd_core.spec.methods.base import MethodPart
from fgd_core.spec.report import JobReport
from service.reports.drawing import Chart, Trace, chart_of, colour, line


class Phase(NamedTuple):
    """A part of a training with one method: the whole of it, or a stage of a chain."""

    method: AnyMethod
    student: AnyDetector
    begin: int
    """Number of epochs before it."""
    end: float
    """The last epoch."""


def distillation_charts(job: JobReport) -> list[Chart]:
    """Draw the charts of one job; none if it distils nothing."""
    phases = phases_of(job)
    found = (_terms(job, phases), _places(job, phases), _teachers(job)) if phases else ()
    return [each for each in found if each is not None]


def _terms(job: JobReport, phases: Sequence[Phase]) -> Chart | None:
    """The loss terms of the detector and of the distillation, on a logarithmic axis."""
    terms = [
        (term_label(phase, name), epoch_means(job, curve, phase))
        for phase in phases
        for curve, name in curves_of(job, "term")
    ]
    own = sorted({name for at in job.epochs for name in at.values if name.startswith("task/")})
    of_detector = [
        (f"detector: {name.removeprefix('task/').replace('_', ' ')}", epoch_means(job, name)) for name in own
    ]
    traces = [*lines(terms), *lines(of_detector, dash="dash", first_colour=len(terms))]
    caption = (
        "Means over each epoch, logarithmic. Solid: the terms of the method, summed over the places of the next chart "
        "and not yet multiplied by the weight that the legend shows. Dashed: the detector's own losses."
    )
    return chart_of(
        f"terms-{job.job_id}", f"Loss terms of {job.name}", caption, traces, x="epoch", y="loss", log_y=True
    )


def _places(job: JobReport, phases: Sequence[Phase]) -> Chart | None:
    """The part of each pyramid level, of the head or of regions in the weighted distillation loss."""
    places = [
        (place_label(phase, name), epoch_means(job, curve, phase))
        for phase in phases
        for curve, name in curves_of(job, "place")
    ]
    traces = [trace | {"stackgroup": "places"} for trace in lines(places)]
    caption = (
        "Weighted distillation loss, stacked by the place where student and teacher are compared. "
        "The parts of pyramid levels show which object sizes the distillation acts on."
    )
    title = f"Distillation by method and place, {job.name}"
    return chart_of(f"places-{job.job_id}", title, caption, traces, x="epoch", y="loss")


def _teachers(job: JobReport) -> Chart | None:
    """The weighted distillation loss of each of several teachers."""
    traces = lines([(name.in_words, epoch_means(job, curve)) for curve, name in curves_of(job, "teacher")])
    caption = "Weighted distillation loss of each teacher; the loss of the training has their weighted mean."
    title = f"Distillation per teacher, {job.name}"
    return chart_of(f"teachers-{job.job_id}", title, caption, traces, x="epoch", y="loss")


def phases_of(job: JobReport) -> list[Phase]:
    """Return the phases of a job, in the order of training; none if it distils nothing."""
    match job.spec:
        case DistillSpec():
            return [Phase(job.spec.method, job.spec.student, 0, math.inf)]
        case ChainSpec():
            return [*_stages(job, job.spec)]
    return []


def _stages(job: JobReport, spec: ChainSpec) -> Iterator[Phase]:
    order = job.order.order if job.order is not None else range(len(spec.stages))
    # The control, which comes last, has curves of its own.
    for index, stage in zip(order, job.stages, strict=False):
        method = spec.stages[index].method or spec.method
        yield Phase(method, spec.student, stage.first_epoch, stage.first_epoch + stage.epochs)


def curves_of(job: JobReport, role: Role) -> list[tuple[str, LossName]]:
    """Return the curves of a distillation with this role, sorted, with their names taken apart."""
    names = sorted({name for at in job.epochs for name in at.values})
    read = [(curve, read_loss_name(curve)) for curve in names]
    return [(curve, name) for curve, name in read if name is not None and name.role == role]


def term_label(phase: Phase, name: LossName) -> str:
    """Name a term with its method and its weight."""
    parts = parts_of(phase, name)
    for part in parts:
        for term in part.terms:
            if term.name == name.name:
                return f"{part.title}: {name.in_words} (weight {part.scale * term.weight:.3g})"
    return f"{_method_label(phase, parts)}: {name.in_words} (weight 0)"


def place_label(phase: Phase, name: LossName) -> str:
    """Name a place with its method."""
    return f"{_method_label(phase, parts_of(phase, name))}: {name.in_words}"


def _method_label(phase: Phase, parts: Sequence[MethodPart]) -> str:
    # Several parts without a name of their own, as of a method around another one, act at the same places.
    return parts[0].title if len(parts) == 1 else phase.method.name()


def parts_of(phase: Phase, name: LossName) -> list[MethodPart]:
    """Return the parts of the phase's method to which a curve may belong."""
    prefix = f"{name.part}/" if name.part else ""
    return [part for part in phase.method.parts_for(phase.student) if part.prefix == prefix]


def epoch_means(job: JobReport, curve: str, phase: Phase | None = None) -> list[tuple[float, float | None]]:
    """Return (epoch, mean) of a curve in the epochs of a phase, or in all."""
    begin, end = (phase.begin, phase.end) if phase is not None else (0, math.inf)
    return [(at.epoch, at.values.get(curve)) for at in job.epochs if begin < at.epoch <= end]


def lines(
    points: Sequence[tuple[str, Sequence[tuple[float, float | None]]]], *, dash: str = "solid", first_colour: int = 0
) -> list[Trace]:
    """Draw a line for each label with its points, in order; labels without a value get none."""
    joined: dict[str, list[tuple[float, float | None]]] = {}
    for label, values in points:
        if any(value is not None for _, value in values):
            joined.setdefault(label, []).extend(values)
    return [
        line(label, values, colour(index), dash=dash)
        for index, (label, values) in enumerate(joined.items(), start=first_colour)
    ]
