"""Predictions in words."""

from collections.abc import Iterator

from fgd_core.spec.prediction import (
    LEVEL,
    GainVerdict,
    Moment,
    PredictedValue,
    PredictionBasis,
    PredictionView,
    TrackRecord,
)
from service.jobs.forecast.model import Forecast

NOTHING_KNOWN = "No prediction yet: no run on the same data has finished, and this run has not been evaluated."
_VERDICTS: dict[GainVerdict, str] = {
    "will_help": "distillation will help",
    "open": "whether distillation helps is open",
    "will_not_help": "distillation will not help here",
}

_MOMENTS: dict[Moment, str] = {"submission": "At its submission", "first_tenth": "At its first tenth", "now": "Now"}


def in_words(made: Forecast, verdict: GainVerdict | None, basis: PredictionBasis) -> str:
    """Return a prediction as two sentences: the values, and what they are based on."""
    parts = [f"Predicted AP {_value(made.own)}"]
    if made.plain is not None and made.gain is not None and verdict is not None:
        gain = f"{made.gain.mean:+.3f} ({made.gain.low:+.3f} to {made.gain.high:+.3f})"
        parts += [f"without distillation {_value(made.plain)}", f"gain {gain}: {_VERDICTS[verdict]}"]
    return f"{', '.join(parts)}. Intervals of {LEVEL:.0%}, from {_list(list(_sources(basis)))}."


def in_report(name: str, view: PredictionView) -> str | None:
    """Return what a job was predicted to reach, what it reached, and how earlier predictions held.

    None if no earlier run says anything about it: from its own curve alone, the intervals are very wide.
    """
    known = [made for made in view.predictions if _num_runs(made.basis) > 0]
    if not known:
        return None
    newest = known[-1]
    text = f"{_MOMENTS[newest.moment]}, {name} was predicted to reach AP {_value(newest.own)}"
    if view.reached is not None:
        where = "inside" if newest.own.low <= view.reached <= newest.own.high else "outside"
        text += f"; it reached {view.reached:.3f}, {where} the interval of {LEVEL:.0%}"
    return f"{text}. {_record(view.track_record)}".rstrip()


def _record(record: TrackRecord) -> str:
    if record.predictions == 0:
        return ""
    return f"{record.held} of {record.predictions} such predictions of earlier runs on this data held."


def _num_runs(basis: PredictionBasis) -> int:
    return basis.same_configuration + basis.plain + basis.other_methods + basis.same_data


def _value(value: PredictedValue) -> str:
    return f"{value.mean:.3f} ({value.low:.3f} to {value.high:.3f})"


def _sources(basis: PredictionBasis) -> Iterator[str]:
    counts = (
        (basis.same_configuration, "with other seeds"),
        (basis.plain, "without distillation"),
        (basis.other_methods, "with other distillations"),
        (basis.same_data, "of other detectors or trainings on this data"),
    )
    for count, what in counts:
        if count:
            yield f"{count} {'run' if count == 1 else 'runs'} {what}"
    if basis.ap_so_far is not None:
        yield f"AP {basis.ap_so_far:.3f} after {basis.trained:.0%} of its own epochs"
    if basis.teacher_ap is not None:
        yield f"the teacher's AP {basis.teacher_ap:.3f}"


def _list(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
