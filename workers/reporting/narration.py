"""A run's events as plain lines: what a person reads on the log page of the Ray dashboard."""

import sys

from fgd_core.spec.events import (
    ArtifactSaved,
    CheckpointSaved,
    DataChecked,
    DataSetChecked,
    DeviceReady,
    EpochFinished,
    Evaluated,
    EvaluationProgress,
    MetricsLogged,
    Progress,
    Resumed,
    RunEvent,
    RunFinished,
    RunStarted,
    TeacherChecked,
    Warned,
    WeightsLoaded,
)
from fgd_core.spec.plans import DistillationPlanned
from fgd_core.spec.trials import SweepProgressed, TrialEnded, TrialEvent, TrialReported, TrialStarted


def tell(event: RunEvent) -> None:
    """Write the event's line to the run's own output, if it has one. Never raises."""
    text = line(event)
    if text is not None:
        say(text)


def say(text: str) -> None:
    """Never raises."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except (OSError, ValueError):
        # A full disk or a closed pipe below Ray's log must not end the run.
        return


def line(event: RunEvent) -> str | None:  # noqa: PLR0912 - one branch for each kind of event
    """None for events that come every second."""
    match event:
        case Progress() | MetricsLogged() | EvaluationProgress() | TrialEvent() | SweepProgressed():
            return None
        case TrialStarted():
            values = ", ".join(f"{name} {value}" for name, value in event.values.items())
            return f"trial {event.trial} ({event.origin}) from epoch {event.from_epoch}: {values or 'as the base'}"
        case TrialReported():
            values = ", ".join(_score(value) for value in event.objectives)
            return f"trial {event.trial}, epoch {event.epoch}: {values}; {event.verdict}"
        case TrialEnded():
            why = f": {event.error.message}" if event.error is not None else ""
            return f"trial {event.trial} {event.cause} after {event.epoch} epochs{why}"
        case RunStarted():
            return f"run started on {event.host}, process {event.pid}"
        case DeviceReady():
            return f"device {event.device}, {event.precision}, {event.threads} threads"
        case Resumed():
            return f"resumed from epoch {event.epoch}, step {event.step}: {event.checkpoint}"
        case DataChecked():
            found = "".join(f"; {each.count} {each.problem} {each.action}" for each in event.findings)
            return f"{event.split} data: {event.num_images} images, {event.num_boxes} boxes{found}"
        case DataSetChecked():
            return "; ".join(f"{each.split} fingerprint {each.fingerprint[:12]}" for each in event.splits)
        case WeightsLoaded():
            return f"{event.role} weights: {event.account()}"
        case TeacherChecked():
            return f"teacher: AP {_score(event.ap)}, recorded {_score(event.recorded_ap)}"
        case DistillationPlanned():
            return event.sentence()
        case EpochFinished():
            return (
                f"epoch {event.epoch}/{event.epochs}: loss {event.values.get('loss', float('nan')):.4f}, "
                f"{event.images_per_s:.1f} images/s{_eta(event.eta_s)}"
            )
        case Evaluated():
            masks = f", of masks {_score(event.scores.masks.ap)}" if event.scores.masks is not None else ""
            return f"evaluated: AP {_score(event.scores.ap)}, AP50 {_score(event.scores.ap50)}{masks}"
        case CheckpointSaved():
            return f"checkpoint {event.name}: {event.uri}"
        case ArtifactSaved():
            return f"artifact {event.name}: {event.uri}"
        case Warned():
            return f"warning: {event.message}"
        case RunFinished():
            return _last_word(event)


def _last_word(event: RunFinished) -> str:
    if event.error is not None:
        details = f" {event.error.details}" if event.error.details else ""
        return f"run {event.outcome}: {event.error.message}{details}\n{event.error.traceback or ''}".rstrip()
    score = f": AP {_score(event.result.scores.ap)}" if event.result is not None else ""
    return f"run {event.outcome}{score}"


def _score(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def _eta(seconds: float | None) -> str:
    return "" if seconds is None else f", {seconds:.0f} s to go"
