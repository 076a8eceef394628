"""The report on a job: a fold over its stored events. Nothing is computed anew."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from pydantic import ValidationError

from fgd_core.errors import SpecError
from fgd_core.spec.base import Fact
from fgd_core.spec.events import (
    ArtifactSaved,
    DataChecked,
    EpochFinished,
    Evaluated,
    RunFinished,
    StoredEvent,
    TeacherChecked,
    Warned,
    WeightsLoaded,
)
from fgd_core.spec.plans import DistillationPlanned
from fgd_core.spec.report import CurvePoint, JobReport
from fgd_core.spec.results import RunResult
from fgd_core.spec.views import AttemptView, JobView

KINDS = (
    *("epoch_finished", "evaluated", "data_checked", "weights_loaded", "teacher_checked", "distillation_planned"),
    *("warned", "artifact_saved", "run_finished"),
)
"""The kinds of event that a report is made of; a reader of the store may leave out the rest."""

E = TypeVar("E", bound=Fact)


def fold(job: JobView, events: Iterable[StoredEvent], curves: Mapping[str, Sequence[CurvePoint]]) -> JobReport:
    """What a job has to show.

    Args:
        events: the job's, of `KINDS` at least, oldest first. One that cannot be read is
            passed over: it costs a line, not the report.
        curves: metric points by name, thinned already.
    Returns:
        Where attempts repeat each other (an epoch done again after a crash), the newest word counts.
    """
    told = list(events)
    epochs = {epoch.epoch: epoch for epoch in _read(told, "epoch_finished", EpochFinished)}
    evaluations = {(score.epoch, score.step): score for score in _read(told, "evaluated", Evaluated)}
    data = {check.split: check for check in _read(told, "data_checked", DataChecked)}
    weights = {(load.role, load.source): load for load in _read(told, "weights_loaded", WeightsLoaded)}
    warnings = {(warning.code, warning.message): warning for warning in _read(told, "warned", Warned)}
    artifacts = {artifact.name: artifact for artifact in _read(told, "artifact_saved", ArtifactSaved)}
    teachers = _read(told, "teacher_checked", TeacherChecked)
    plans = _read(told, "distillation_planned", DistillationPlanned)
    if isinstance(job.spec, dict):
        raise SpecError(
            f"the spec of job {job.job_id} was stored by an older version and cannot be reported on; submit it again",
            job_id=job.job_id,
        )
    return JobReport(
        job_id=job.job_id,
        name=job.name,
        kind=job.kind,
        state=job.state,
        spec=job.spec,
        created_at=job.created_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        attempts=len(job.attempts),
        ran_s=_ran_s(job.attempts),
        dashboard_url=job.dashboard_url,
        error=job.error,
        result=job.result or _newest_result(told),
        epochs=[epochs[number] for number in sorted(epochs)],
        evaluations=list(evaluations.values()),
        curves={name: list(points) for name, points in curves.items()},
        data=list(data.values()),
        weights=list(weights.values()),
        teacher=teachers[-1] if teachers else None,
        plan=plans[-1] if plans else None,
        warnings=list(warnings.values()),
        artifacts=[artifacts[name] for name in sorted(artifacts)],
    )


def _ran_s(attempts: Sequence[AttemptView]) -> float | None:
    ended = [(each.started_at, each.ended_at) for each in attempts if each.ended_at is not None]
    if not ended:
        return None
    return sum((end - begin).total_seconds() for begin, end in ended if begin is not None and end is not None)


def _newest_result(events: Sequence[StoredEvent]) -> RunResult | None:
    results = [end.result for end in _read(events, "run_finished", RunFinished) if end.result is not None]
    return results[-1] if results else None


def _read(events: Sequence[StoredEvent], kind: str, model: type[E]) -> list[E]:
    found = []
    for event in events:
        if event.kind == kind:
            try:
                found.append(model.model_validate(event.data))
            except ValidationError:
                continue
    return found
