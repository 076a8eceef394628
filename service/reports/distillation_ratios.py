"""Compares each part of a distillation's loss with the task loss: a chart over epochs, and a table."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias

from fgd_core.spec.events import EpochFinished
from fgd_core.spec.loss_names import SCALE, TOTAL, LossName
from fgd_core.spec.report import JobReport
from service.reports.distillation_figures import Phase, curves_of, lines, parts_of, phases_of, place_label, term_label
from service.reports.drawing import Chart, chart_of

USUAL_RATIO = (0.1, 2.0)
"""Outside of this range the distillation has little effect, or drowns the task."""
What: TypeAlias = Literal["total", "place", "term"]


class RatioRow(NamedTuple):
    """A part of a distillation's loss, weighted, in the first and in the last epoch."""

    what: What
    label: str
    first_loss: float
    last_loss: float
    first_ratio: float | None
    """Loss divided by the task loss; None if the task loss is 0."""
    last_ratio: float | None

    @property
    def is_unusual(self) -> bool:
        """Whether the whole distillation has an unusual size in the first epoch."""
        low, high = USUAL_RATIO
        return self.what == "total" and self.first_ratio is not None and not low <= self.first_ratio <= high


class _Part(NamedTuple):
    """A weighted part of the loss, by epoch."""

    what: What
    label: str
    losses: Sequence[tuple[EpochFinished, float]]


def ratio_rows(job: JobReport) -> list[RatioRow]:
    """Return the parts of one job's distillation: the whole, then each place, then each term; none without one."""
    return [_row(part) for part in _parts(job) if part.losses]


def ratio_chart(job: JobReport) -> Chart | None:
    """Draw the ratio of the distillation's parts to the task loss; None if the job distils nothing."""
    found = [
        (part.label, [(float(at.epoch), _ratio(at, loss)) for at, loss in part.losses])
        for part in _parts(job)
        if part.what != "term"
    ]
    caption = (
        "Weighted loss of the distillation, as a whole and by place, divided by the task loss of the same epoch; "
        "logarithmic. A whole below 0.1 has little effect, and above 2 it drowns the task."
    )
    title = f"Distillation relative to the task, {job.name}"
    return chart_of(f"ratios-{job.job_id}", title, caption, lines(found), x="epoch", y="ratio", log_y=True)


def task_loss(at: EpochFinished) -> float:
    """Sum up the detector's own losses of an epoch."""
    return sum(value for name, value in at.values.items() if name.startswith("task/"))


def _parts(job: JobReport) -> Iterator[_Part]:
    phases = phases_of(job)
    if not phases:
        return
    yield _Part("total", "all of the distillation", _losses(job, TOTAL, 1.0))
    for phase in phases:
        for curve, name in curves_of(job, "place"):
            yield _Part("place", place_label(phase, name), _losses(job, curve, 1.0, phase))
    for phase in phases:
        for curve, name in curves_of(job, "term"):
            weight = _weight(phase, name)
            if weight is not None:
                yield _Part("term", term_label(phase, name), _losses(job, curve, weight, phase, is_unweighted=True))


def _losses(
    job: JobReport, curve: str, weight: float, phase: Phase | None = None, *, is_unweighted: bool = False
) -> list[tuple[EpochFinished, float]]:
    begin, end = (phase.begin, phase.end) if phase is not None else (0, float("inf"))
    return [
        (at, at.values[curve] * weight * (_change_of_scale(at, phase) if is_unweighted else 1.0))
        for at in job.epochs
        if curve in at.values and begin < at.epoch <= end
    ]


def _change_of_scale(at: EpochFinished, phase: Phase | None) -> float:
    """Return by which factor the scale of an epoch differs from the method's own, which the weights contain."""
    own = phase.method.fixed_scale if phase is not None else 1.0
    return at.values[SCALE] / own if own and SCALE in at.values else 1.0


def _weight(phase: Phase, name: LossName) -> float | None:
    """Return the weight of a term; None if it has none, so that it adds nothing to the loss."""
    for part in parts_of(phase, name):
        for term in part.terms:
            if term.name == name.name:
                return part.scale * term.weight
    return None


def _row(part: _Part) -> RatioRow:
    (first, first_loss), (last, last_loss) = part.losses[0], part.losses[-1]
    return RatioRow(part.what, part.label, first_loss, last_loss, _ratio(first, first_loss), _ratio(last, last_loss))


def _ratio(at: EpochFinished, loss: float) -> float | None:
    task = task_loss(at)
    return loss / task if task else None
