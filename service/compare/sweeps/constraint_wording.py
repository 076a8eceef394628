"""Writes what the constraint of a sweep excluded, and what it could not see, as sentences."""

from collections.abc import Iterator

from fgd_core.spec.sweep_report import ConstraintCheck, Loss, Standing, SweepReport
from service.jobs.metric_text import standing_text

_MOST = 5


def constraint_sentences(report: SweepReport) -> Iterator[str]:
    """Yield what the constraint found; nothing without a constraint."""
    if report.spec.constraint is None or not report.standings:
        return
    if not report.is_over:
        yield "Whether a class or size loses is tested once the sweep is over; until then the order ignores it."
        return
    lost = [(each, each.constraint) for each in report.standings if each.constraint and each.constraint.losses]
    for each, check in lost[:_MOST]:
        yield _passed_over(each, check, report)
    if len(lost) > _MOST:
        yield f"{len(lost) - _MOST} more configurations were passed over because a class or size lost."
    winner = report.standings[0]
    if winner.constraint is not None and winner.constraint.verdict == "kept":
        yield _kept(winner, winner.constraint)


def _passed_over(each: Standing, check: ConstraintCheck, report: SweepReport) -> str:
    losses = "; ".join(_loss(loss) for loss in check.losses[:_MOST])
    more = f"; and {len(check.losses) - _MOST} more" if len(check.losses) > _MOST else ""
    return (
        f"Trial {each.trial} ({standing_text(each, report.spec.objectives[0])}) was passed over, because against no "
        f"distillation it lost: {losses}{more}. {check.num_tested} classes and sizes were tested."
    )


def _loss(loss: Loss) -> str:
    interval = f"95 % interval {_signed(loss.interval.low)} to {_signed(loss.interval.high)}"
    p = f"p = {loss.p_adjusted:.3f}" if loss.p_adjusted >= 0.001 else "p < 0.001"
    return f"{_name(loss)} {_signed(loss.mean - loss.plain)} AP ({interval}, adjusted {p})"


def _kept(winner: Standing, check: ConstraintCheck) -> str:
    text = f"Of {check.num_tested} tested classes and sizes, trial {winner.trial} lost none significantly."
    if check.power_from:
        text += (
            f" A true loss below {check.power_from:.3f} AP in one of them may be missed in more than one case of five; "
            "more seeds find smaller losses."
        )
    if check.num_untested:
        text += f" {check.num_untested} could not be tested: too few true boxes, or no spread over the seeds."
    return text


def _name(loss: Loss) -> str:
    return loss.name if loss.of == "class" else f"{loss.name} objects"


def _signed(value: float) -> str:
    return f"{'−' if value < 0 else '+'}{abs(value):.3f}"
