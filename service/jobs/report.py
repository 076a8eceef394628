"""The report on a job: a fold over its stored events. Nothing is recomputed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from fgd_core.errors import SpecError
from fgd_core.spec.base import Fact
from fgd_core.spec.chains import TeachersOrdered
from fgd_core.spec.event_state import Event, read_event
from fgd_core.spec.events import (
    ArtifactSaved,
    DataChecked,
    Diagnosed,
    EpochFinished,
    Evaluated,
    Exported,
    RunFinished,
    StoredEvent,
    TeacherChecked,
    Warned,
    WeightsLoaded,
)
from fgd_core.spec.plans import DistillationPlanned
from fgd_core.spec.record_state import RECORD_KINDS, fold_record
from fgd_core.spec.report import CurvePoint, JobReport
from fgd_core.spec.results import RunResult
from fgd_core.spec.study_report import StudyReported
from fgd_core.spec.views import AttemptView, JobView
from service.jobs.chain_report import split, stages

KINDS = (
    *("epoch_finished", "evaluated", "data_checked", "weights_loaded", "teacher_checked", "distillation_planned"),
    *("warned", "artifact_saved", "diagnosed", "run_finished"),
    *("teachers_ordered", "stage_started", "stage_finished", "exported", "study_reported"),
    *RECORD_KINDS,
)
"""The kinds of event that a report uses; a query may leave out the rest."""

E = TypeVar("E", bound=Fact)


def fold(job: JobView, events: Iterable[StoredEvent], curves: Mapping[str, Sequence[CurvePoint]]) -> JobReport:
    """Fold the events of a job into its report.

    If attempts repeat each other (an epoch that was trained again after a crash), the newest event counts.

    Args:
        events: the job's events, at least those of `KINDS`, oldest first. An event that cannot be read is skipped: it
            costs a line, not the report.
        curves: thinned metric points by name.
    Raises:
        SpecError: an older version stored the spec, and it cannot be read.
    """
    stored = list(events)
    found = [event for event in map(read_event, stored) if event is not None]
    epochs = {epoch.epoch: epoch for epoch in _of(EpochFinished, found)}
    evaluations = {(score.epoch, score.step): score for score in _of(Evaluated, found)}
    data = {check.split: check for check in _of(DataChecked, found)}
    weights = {(load.role, load.source): load for load in _of(WeightsLoaded, found)}
    warnings = {(warning.code, warning.message): warning for warning in _of(Warned, found)}
    artifacts = {artifact.name: artifact for artifact in _of(ArtifactSaved, found)}
    exports = {export.file.name: export.file for export in _of(Exported, found)}
    teachers = {checked.number: checked for checked in _of(TeacherChecked, found)}
    plans = _of(DistillationPlanned, found)
    orders = _of(TeachersOrdered, found)
    diagnoses = _of(Diagnosed, found)
    answers = _of(StudyReported, found)
    parts = split(found, [epochs[number] for number in sorted(epochs)], [*evaluations.values()], curves)
    if isinstance(job.spec, dict):
        raise SpecError(
            f"an older version stored the spec of job {job.job_id}, and no report can be made of it; submit it again",
            job_id=job.job_id,
        )
    folded = {
        "attempts": len(job.attempts),
        "ran_s": _ran_s(job.attempts),
        "result": job.result or _newest_result(found),
        "epochs": parts.epochs,
        "evaluations": parts.evaluations,
        "curves": parts.curves,
        "data": list(data.values()),
        "weights": list(weights.values()),
        "teacher": teachers.pop(1, None),
        "more_teachers": [teachers[number] for number in sorted(teachers)],
        "plan": plans[-1] if plans else None,
        "warnings": list(warnings.values()),
        "stages": stages(found),
        "order": orders[-1] if orders else None,
        "diagnosis": diagnoses[-1].diagnosis if diagnoses else None,
        "study": answers[-1].report if answers else None,
        "control_evaluations": parts.control_evaluations,
        "exports": [exports[name] for name in sorted(exports)],
        "artifacts": [artifacts[name] for name in sorted(artifacts)],
        "record": fold_record(stored),
    }
    # The report has some fields of the job, and ignores the others.
    return JobReport.model_validate(dict(job) | folded)


def _ran_s(attempts: Sequence[AttemptView]) -> float | None:
    ended = [(each.started_at, each.ended_at) for each in attempts if each.ended_at is not None]
    if not ended:
        return None
    return sum((end - begin).total_seconds() for begin, end in ended if begin is not None and end is not None)


def _newest_result(events: Iterable[Event]) -> RunResult | None:
    results = [end.result for end in _of(RunFinished, events) if end.result is not None]
    return results[-1] if results else None


def _of(model: type[E], events: Iterable[Event]) -> list[E]:
    return [event for event in events if isinstance(event, model)]
