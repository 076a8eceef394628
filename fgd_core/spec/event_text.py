"""Formats each event as a line of a log: on Ray's log page, on the library's console and in the command line."""

from collections.abc import Mapping

from pydantic import JsonValue

from fgd_core.spec.chains import CONTROL, StageFinished, StageStarted, TeachersOrdered
from fgd_core.spec.control_events import (
    AttemptStarted,
    CancelRequested,
    PauseRequested,
    PriorityChanged,
    ResumeRequested,
    RetryRequested,
    StateChanged,
    Submitted,
)
from fgd_core.spec.event_state import Event
from fgd_core.spec.events import (
    ApSample,
    ArtifactSaved,
    CheckpointSaved,
    DataChecked,
    DataSetChecked,
    DeviceReady,
    Diagnosed,
    EndedEarly,
    EpochFinished,
    Evaluated,
    EvaluationProgress,
    Exported,
    Finding,
    MeanEvaluated,
    MetricsLogged,
    PoolChecked,
    PoolLabelled,
    Progress,
    Resumed,
    RunFinished,
    RunStarted,
    ScaleChosen,
    TeacherChecked,
    Warned,
    WeightsLoaded,
    WorkersStarted,
)
from fgd_core.spec.exports import ExportedFile
from fgd_core.spec.plans import DistillationPlanned
from fgd_core.spec.provenance import ProvenanceRecorded
from fgd_core.spec.results import EndReason, Scores
from fgd_core.spec.study_report import StudyReported
from fgd_core.spec.trials import (
    BudgetRaised,
    SweepProgressed,
    TrialAsked,
    TrialEnded,
    TrialEvent,
    TrialReported,
    TrialStarted,
    TrialStopAsked,
)

FREQUENT = (Progress, MetricsLogged, EvaluationProgress, TrialEvent, SweepProgressed)
"""Events that come every second or so: a log shows few of them, or none."""


def describe(event: Event) -> str | None:
    """Return one line about an event, or a few lines where it lists findings; None for points of curves.

    Scores are fractions in [0, 1], times are `1:15` or `1:01:15`.
    """
    match event:
        case TrialStarted() | TrialReported() | TrialEnded() | TrialEvent() | SweepProgressed():
            return _describe_trial(event)
        case (
            Progress()
            | EpochFinished()
            | Evaluated()
            | EvaluationProgress()
            | MeanEvaluated()
            | MetricsLogged()
            | EndedEarly()
            | Diagnosed()
        ):
            return _describe_training(event)
        case RunStarted() | ProvenanceRecorded() | WorkersStarted() | DeviceReady() | Resumed() | RunFinished():
            return _describe_run(event)
        case (
            DataChecked()
            | DataSetChecked()
            | PoolChecked()
            | PoolLabelled()
            | WeightsLoaded()
            | TeacherChecked()
            | DistillationPlanned()
            | ScaleChosen()
        ):
            return _describe_preparation(event)
        case TeachersOrdered() | StageStarted() | StageFinished() | StudyReported():
            return _describe_stage(event)
        case CheckpointSaved():
            return f"checkpoint {event.name}: {event.uri}"
        case ArtifactSaved() | Exported():
            return _describe_file(event)
        case Warned():
            return f"warning: {event.message}"
        case Submitted():
            return "submitted"
        case StateChanged():
            error = event.error.message if event.error is not None else ""
            # The message of a retry begins with the error.
            parts = (event.to_state, event.message, "" if error in event.message else error)
            return "  ".join(part for part in parts if part)
        case AttemptStarted():
            return f"attempt {event.number}  {event.dashboard_url or ''}".rstrip()
        case _:
            return _describe_request(event)


def number(value: float | None, form: str = ".4g") -> str:
    """Return the number in the given format, or a dash for None."""
    return "–" if value is None else format(value, form)


def values_text(values: Mapping[str, JsonValue], between: str = " · ") -> str:
    """Return `alpha 0.0012 · temperature 0.5`: the last part of each path if it is unique, else the whole path."""
    last_parts = [path.rpartition(".")[2] for path in values]
    texts = []
    for path, value in values.items():
        last = path.rpartition(".")[2]
        shown = format(value, ".3g") if isinstance(value, float) else str(value)
        texts.append(f"{(last if last_parts.count(last) == 1 else path).rstrip('_')} {shown}")
    return between.join(texts)


def duration(seconds: float | None) -> str:
    """Return `1:15` for 75 and `1:01:15` for 3675; a dash for None."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _describe_file(event: ArtifactSaved | Exported) -> str:
    if isinstance(event, ArtifactSaved):
        return f"artifact {event.name}: {event.uri}"
    return describe_export(event.file)


def describe_export(file: ExportedFile) -> str:
    """Return one line about an exported file: its size, and how it compares with PyTorch."""
    change = "" if file.ap_change is None else f", AP {100 * file.ap_change:+.1f} points"
    checked = "" if file.max_difference is None else f", at most {file.max_difference:.1g} from PyTorch"
    return f"exported {file.name}, {file.size_bytes / 1e6:.1f} MB{checked}{change}"


def _describe_trial(
    event: TrialStarted | TrialReported | TrialEnded | TrialEvent | SweepProgressed,
) -> str | None:
    match event:
        case TrialStarted():
            values = ", ".join(f"{name} {value}" for name, value in event.values.items())
            return f"trial {event.trial} ({event.origin}) from epoch {event.from_epoch}: {values or 'as the base'}"
        case TrialReported():
            scores = ", ".join(number(value, ".3f") for value in event.objectives)
            verdict = f", {event.verdict}" if event.verdict != "continue" else ""
            return f"trial {event.trial}, epoch {event.epoch}: {scores}{verdict}"
        case TrialEnded():
            score = event.objectives[0] if event.objectives else None
            reached = f": {score:.3f}" if score is not None else ""
            error = f": {event.error.message}" if event.error is not None else ""
            return f"trial {event.trial} {event.cause} after {event.epoch} epochs{reached}{error}"
        case SweepProgressed():
            return f"{event.done}/{event.planned} trials, {duration(event.eta_s)} left"
    return None


def _describe_stage(event: TeachersOrdered | StageStarted | StageFinished | StudyReported) -> str:
    match event:
        case StudyReported():
            return "\n".join(event.report.sentences)
        case TeachersOrdered():
            return event.sentence()
        case StageStarted():
            return f"{event.label()}: {event.epochs} epochs of {event.method} from {event.teacher}"
    name = event.stage if event.stage == CONTROL else f"stage {event.stage}"
    return f"{name} done: {scores_in_words(event.result.scores)}"


_END_REASONS: Mapping[EndReason, str] = {
    "early_stop": "the last evaluations had no gain",
    "wall_time": "its budget has no time left for another epoch",
    "gpu_time": "its budget has no GPU hours left for another epoch",
}


def _describe_training(
    event: Progress
    | EpochFinished
    | Evaluated
    | EvaluationProgress
    | MeanEvaluated
    | MetricsLogged
    | EndedEarly
    | Diagnosed,
) -> str | None:
    match event:
        case Progress():
            step = f"epoch {event.epoch}/{event.epochs}, step {event.step}/{event.steps}"
            return f"{step}  {event.images_per_s:.0f} images/s  {duration(event.eta_s)} left"
        case EpochFinished():
            loss = number(event.values.get("loss"))
            rate = f"{event.images_per_s:.0f} images/s  {duration(event.eta_s)} left"
            return f"epoch {event.epoch}/{event.epochs}  loss {loss}  {rate}"
        case Evaluated():
            return scores_in_words(event.scores)
        case EvaluationProgress():
            return f"{event.what} {event.done}/{event.total}"
        case MeanEvaluated():
            kept = "the best so far" if event.is_best else "no better, and not kept"
            return f"mean of {event.num_epochs} epochs: {scores_in_words(event.scores)}, {kept}"
        case EndedEarly():
            return f"training ends after epoch {event.epoch}: {_END_REASONS[event.reason]}"
        case Diagnosed():
            return f"errors: {event.diagnosis.in_words()}"
    return None


def scores_in_words(scores: Scores) -> str:
    """Return the AP and AP50 of boxes, and the AP of masks and keypoints where there are any."""
    parts = "".join(f"  {part} {number(of_part.ap, '.3f')}" for part, of_part in scores.parts().items())
    return f"AP {number(scores.ap, '.3f')}  AP50 {number(scores.ap50, '.3f')}{parts}"


def _describe_run(
    event: RunStarted | ProvenanceRecorded | WorkersStarted | DeviceReady | Resumed | RunFinished,
) -> str:
    match event:
        case RunStarted():
            return f"run started on {event.host}, process {event.pid}; loading PyTorch"
        case ProvenanceRecorded():
            return f"{event.code.in_words()}, {len(event.packages)} packages, on {event.machine.system}"
        case WorkersStarted():
            where = ", ".join(f"{each.host} ({each.device}, process {each.pid})" for each in event.workers)
            return f"{len(event.workers)} workers started: {where}"
        case DeviceReady():
            threads = "1 thread" if event.threads == 1 else f"{event.threads} threads"
            return f"on {event.device}, {event.precision}, {threads}: reading the data"
        case Resumed():
            return f"resumed from {event.checkpoint}: epoch {event.epoch}, step {event.step}"
    if event.error is not None:
        details = f" {event.error.details}" if event.error.details else ""
        return f"run {event.outcome}: {event.error.message}{details}\n{event.error.traceback or ''}".rstrip()
    scores = f": {scores_in_words(event.result.scores)}" if event.result is not None else ""
    return f"run {event.outcome}{scores}"


def _describe_preparation(
    event: DataChecked
    | DataSetChecked
    | PoolChecked
    | PoolLabelled
    | WeightsLoaded
    | TeacherChecked
    | DistillationPlanned
    | ScaleChosen,
) -> str:
    match event:
        case ScaleChosen():
            of_teacher = f" of teacher {event.teacher}" if event.teacher > 1 else ""
            return (
                f"scale{of_teacher} found in {event.steps} steps: {event.scale:.3g}, because the distillation loss was "
                f"{event.ratio:.3g} times the task loss; now it is {event.target:g} times"
            )
        case DataChecked():
            lines = [*map(_finding, event.findings), f"{event.num_images} images, {event.num_boxes} boxes"]
            return "\n".join(f"{event.split}: {line}" for line in lines)
        case PoolChecked():
            lines = [*map(_finding, event.findings), f"{event.num_images} images without labels"]
            return "\n".join(f"pool: {line}" for line in lines)
        case PoolLabelled():
            return _pool_labels(event)
        case DataSetChecked():
            return "; ".join(f"{each.split} fingerprint {each.fingerprint[:12]}" for each in event.splits)
        case WeightsLoaded():
            return f"{event.role} weights: {event.account()}"
        case TeacherChecked():
            over = f" over {', '.join(event.classes_judged)}" if event.classes_judged else ""
            recorded = number(event.recorded_ap, ".3f")
            which = f"teacher {event.number}" if event.number > 1 else "teacher"
            sampled = f" ({_sample(event.sample)})" if event.sample is not None else ""
            return f"{which} checked: AP {number(event.ap, '.3f')}{sampled}{over}, its checkpoint records {recorded}"
    return event.sentence()


def _pool_labels(event: PoolLabelled) -> str:
    classes = [
        f"{name} above {score:.2f} ({event.boxes_per_image[name]:.3g} boxes per image, "
        f"{event.labelled_boxes_per_image[name]:.3g} in the labels)"
        for name, score in event.min_scores.items()
    ]
    return f"pool: the teacher's boxes stand for labels: {', '.join(classes)}; from {event.num_images} images"


def _sample(sample: ApSample) -> str:
    return f"{sample.low:.3f} to {sample.high:.3f}, from {sample.num_images} images"


def _finding(finding: Finding) -> str:
    more = ", …" if finding.count > len(finding.examples) else ""
    examples = f" ({', '.join(finding.examples)}{more})" if finding.examples else ""
    meaning = f": {finding.meaning}" if finding.meaning else ""
    return f"{finding.count} {finding.problem} {finding.action}{examples}{meaning}"


def _describe_request(
    event: CancelRequested
    | PauseRequested
    | ResumeRequested
    | RetryRequested
    | PriorityChanged
    | TrialAsked
    | TrialStopAsked
    | BudgetRaised,
) -> str:
    """Return what a user asked for, and who asked."""
    match event:
        case PauseRequested(for_job=str(job_id)):
            request = f"pause to make room for job {job_id}"
        case PriorityChanged():
            request = f"priority {event.to_priority}"
        case TrialAsked():
            request = "run a trial with given values"
        case TrialStopAsked():
            request = f"stop trial {event.trial}"
        case BudgetRaised():
            request = "raise the budget"
        case _:
            request = event.kind.removesuffix("_requested")
    return f"requested: {request}" + (f" by {event.by}" if event.by else "")
