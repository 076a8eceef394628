"""What a job was predicted to reach at each moment, and how earlier predictions held."""

from collections.abc import Sequence

from fgd_core.spec.prediction import (
    SMALLEST_GAIN,
    GainVerdict,
    Moment,
    PredictedValue,
    Prediction,
    PredictionBasis,
    PredictionView,
    TrackRecord,
)
from service.jobs.forecast.model import forecast
from service.jobs.forecast.trainings import Training
from service.jobs.forecast.wording import NOTHING_KNOWN, in_words

FIRST = 0.1
"""The part of a training after which its first evaluation counts as its first tenth."""
_MAX_CHECKED = 50
"""The newest finished runs whose predictions are checked; each check costs about a millisecond."""


def view(run: Training, earlier: Sequence[Training], *, submitted_s: float) -> PredictionView:
    """Return the predictions of a job.

    Args:
        run: as it is now.
        earlier: finished runs, without this one, in any order.
        submitted_s: POSIX time; the prediction of that moment knows the runs that had ended before.
    """
    moments: list[tuple[Moment, Training, Sequence[Training]]] = [
        ("submission", run.until(0.0), ended_before(earlier, submitted_s))
    ]
    tenth = first_tenth(run)
    if tenth is not None:
        moments.append(("first_tenth", tenth, ended_before(earlier, run.started_s)))
    if run.final is None and run.curve:
        moments.append(("now", run, earlier))
    predictions = [made for moment, known, before in moments if (made := prediction(moment, known, before)) is not None]
    return PredictionView(
        predictions=predictions,
        reached=run.final,
        track_record=track_record([each for each in earlier if each.data == run.data]),
        sentence=predictions[-1].sentence if predictions else NOTHING_KNOWN,
    )


def prediction(moment: Moment, run: Training, earlier: Sequence[Training]) -> Prediction | None:
    """Return what a run is predicted to reach; None if nothing is known about it."""
    made = forecast(run, earlier)
    if made is None:
        return None
    basis, verdict = _basis(run, earlier), verdict_on(made.gain)
    return Prediction(
        moment=moment,
        own=made.own,
        plain=made.plain,
        gain=made.gain,
        verdict=verdict,
        basis=basis,
        sentence=in_words(made, verdict, basis),
    )


def verdict_on(gain: PredictedValue | None) -> GainVerdict | None:
    """Return whether a distillation with this predicted gain is worth its cost."""
    if gain is None:
        return None
    if gain.high < SMALLEST_GAIN:
        return "will_not_help"
    return "will_help" if gain.low > 0 else "open"


def first_tenth(run: Training) -> Training | None:
    """Return the run as it was at its first evaluation after a tenth of its epochs; None if it did not get there.

    A run that was evaluated only at its end has nothing to predict then.
    """
    at = next((part for part, _ in run.curve if part >= FIRST - 1e-9), None)
    return run.until(at) if at is not None and at < 1 else None


def ended_before(runs: Sequence[Training], moment_s: float) -> list[Training]:
    """Return the runs that had ended by a moment."""
    return [each for each in runs if each.ended_s <= moment_s]


def track_record(finished: Sequence[Training]) -> TrackRecord:
    """Predict each of the newest finished runs at its first tenth, as was possible then, and compare with its end.

    Args:
        finished: runs on the same data; one that started before any of them had ended is no check.
    """
    newest = sorted(finished, key=lambda each: each.ended_s)[-_MAX_CHECKED:]
    held = []
    for run in newest:
        known, before = first_tenth(run), ended_before(finished, run.started_s)
        if known is None or not before or run.final is None:
            continue
        made = forecast(known, before)
        if made is not None:
            held.append(made.own.low <= run.final <= made.own.high)
    return TrackRecord(predictions=len(held), held=sum(held))


def _basis(run: Training, earlier: Sequence[Training]) -> PredictionBasis:
    family = [each for each in earlier if each.family == run.family]
    same = sum(each.configuration == run.configuration for each in family)
    plain = 0 if run.is_plain else sum(each.is_plain for each in family)
    trained, ap = run.curve[-1] if run.curve else (0.0, None)
    return PredictionBasis(
        same_configuration=same,
        plain=plain,
        other_methods=len(family) - same - plain,
        same_data=sum(each.data == run.data and each.family != run.family for each in earlier),
        trained=trained,
        ap_so_far=ap,
        teacher_ap=run.teacher_ap,
    )
