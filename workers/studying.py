"""Runs a study: its runs have ended as jobs of their own, and this computes the answer from what they left."""

from collections.abc import Mapping, Sequence

from fgd_core.errors import FgdError, SpecError
from fgd_core.spec.comparison import EVIDENCE
from fgd_core.spec.event_text import values_text
from fgd_core.spec.events import RunFinished, Warned
from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.kinds.study import StudySpec
from fgd_core.spec.study_report import LeftOutRun, StudiedRun, StudyReport, StudyReported
from fgd_core.spec.study_runs import EndedStudyRun
from fgd_core.statistics import evidence
from fgd_core.studies.answers import STUDIES
from fgd_core.studies.runs import StudyRun
from workers.run_context import HttpContext


def run(spec: JobSpec, context: HttpContext) -> RunFinished:
    """Report the answer of a study.

    Raises:
        SpecError: no run of an arm that the answer needs has succeeded.
    """
    assert isinstance(spec, StudySpec)
    ended = context.assignment.study_runs
    arms: dict[str, list[StudyRun]] = {}
    for each in ended:
        arms.setdefault(each.arm, [])
        if each.result is not None:
            arms[each.arm].append(_studied(each, context))
    _check(spec, arms, ended)
    findings = STUDIES[type(spec.study)](spec, arms)
    left_out = [_left_out(each) for each in ended if each.result is None]
    context.emit(
        StudyReported(
            report=StudyReport(
                type=spec.study.type,
                sentences=[*findings.sentences, *_changed(ended), *_sentences(left_out)],
                findings=findings,
                runs=[
                    StudiedRun(job_id=each.job_id, arm=each.arm, seed=each.seed, ap=each.result.scores.ap)
                    for each in ended
                    if each.result is not None
                ],
                left_out=left_out,
            )
        )
    )
    return RunFinished(outcome="succeeded")


def _studied(run: EndedStudyRun, context: HttpContext) -> StudyRun:
    assert run.result is not None
    found = None
    try:
        path = context.resolve_checkpoint(f"job:{run.job_id}/{EVIDENCE}")
        found = evidence.read(path, whose=f"{run.arm}, seed {run.seed}")
    except FgdError as error:
        message = f"the detections of {run.arm}, seed {run.seed}, cannot be read; its scores still count: {error}"
        context.emit(Warned(code="no_evidence", message=message, details={"job_id": run.job_id}))
    return StudyRun(seed=run.seed, scores=run.result.scores, evidence=found, altered=run.result.altered)


def _check(spec: StudySpec, arms: Mapping[str, Sequence[StudyRun]], ended: Sequence[EndedStudyRun]) -> None:
    empty = sorted(arm for arm in spec.study.needed_arms if not arms.get(arm))
    if empty:
        why = "; ".join(f"job {each.job_id}: {_left_out(each).why}" for each in ended if each.arm == empty[0])
        raise SpecError(
            f"no run of {', '.join(empty)} succeeded, so nothing can be compared ({why}); repair the cause, then retry "
            "the study, which retries its failed runs",
            arms=[*empty],
        )


def _left_out(run: EndedStudyRun) -> LeftOutRun:
    why = run.error.message if run.error is not None else run.state
    return LeftOutRun(job_id=run.job_id, arm=run.arm, seed=run.seed, why=why)


def _changed(ended: Sequence[EndedStudyRun]) -> list[str]:
    """Name the runs that count and did not train as their arm says: a teacher needs memory, so this favours an arm."""
    changed = [each for each in ended if each.result is not None and each.changes]
    if not changed:
        return []
    named = ", ".join(f"{each.arm} seed {each.seed} ({values_text(each.changes)})" for each in changed)
    return [f"Trained with a smaller batch, because memory ran out: {named}. A difference may come from that."]


def _sentences(left_out: Sequence[LeftOutRun]) -> list[str]:
    if not left_out:
        return []
    named = ", ".join(f"{each.arm} seed {each.seed} ({each.job_id}: {each.why})" for each in left_out)
    return [f"Left out, because they did not succeed: {named}."]
