"""Decides whether a submitted job is accepted, from facts that the caller has looked up; gives all reasons at once."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

from pydantic import JsonValue

from fgd_core.errors import AdmissionError
from fgd_core.spec.checkpoint_references import checkpoint_sources
from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.kinds.chain import ChainSpec
from fgd_core.spec.kinds.study import StudySpec
from fgd_core.spec.kinds.sweep import SweepSpec, TrialBase
from fgd_core.spec.refusals import bounded
from fgd_core.spec.resources import Resources
from fgd_core.spec.views import ProblemReason
from service.jobs import study_admission, sweep_admission, sweep_space
from service.jobs.admission_facts import Facts
from service.jobs.checkpoint_admission import checkpoint_reasons, method_reasons
from service.jobs.data_admission import batch_reasons, data_reasons, picture_reasons, pool_reasons
from service.jobs.images_admission import images_reasons
from service.jobs.keypoint_admission import keypoint_reasons
from service.jobs.named_paths import paths
from service.jobs.resource_admission import resource_reasons
from service.jobs.training_admission import training_reasons
from service.jobs.weights_admission import weight_reasons


def reasons(spec: JobSpec, facts: Facts) -> list[ProblemReason]:
    """List why this job is refused; it is accepted if the list is empty."""
    return [*own_reasons(spec, facts), *job_reasons(spec, facts)]


def own_reasons(spec: JobSpec, facts: Facts) -> list[ProblemReason]:
    """List the reasons that do not depend on other jobs. For a wide sweep this takes a second."""
    has_keypoints = facts.named_data.has_keypoints if facts.named_data is not None else None
    found = [
        *resource_reasons(spec, facts.capacity),
        *data_reasons(spec, facts),
        *_of_each(spec, weight_reasons),
        *_of_each(spec, batch_reasons),
        *_of_each(spec, training_reasons),
        *_of_each(spec, images_reasons),
        *_of_each(spec, picture_reasons),
        *_of_each(spec, pool_reasons),
        *_of_each(spec, partial(keypoint_reasons, found=has_keypoints)),
    ]
    if isinstance(spec, SweepSpec):
        found += sweep_admission.reasons(spec, _rules(spec), tune_searchers=facts.tune_searchers)
    if isinstance(spec, StudySpec):
        found += [*study_admission.reasons(spec), *study_admission.group_reasons(spec, facts.classes)]
    return found


def job_reasons(spec: JobSpec, facts: Facts) -> list[ProblemReason]:
    """List the reasons that depend on the jobs that the spec refers to."""
    found = [*checkpoint_reasons(spec, facts.jobs), *_of_each(spec, partial(method_reasons, jobs=facts.jobs))]
    if isinstance(spec, SweepSpec):
        found += sweep_admission.earlier_reasons(spec, facts.earlier)
    return found


def check(reasons: Sequence[ProblemReason]) -> None:
    """Refuse a job that has reasons against it.

    Raises:
        AdmissionError: there are reasons; it holds as many as a person can read.
    """
    if reasons:
        shown = bounded(reasons)
        raise AdmissionError(
            "; ".join(f"{reason.loc}: {reason.message}" for reason in shown),
            reasons=[reason.model_dump() for reason in shown],
        )


def trial_reasons(spec: SweepSpec, values: Mapping[str, JsonValue]) -> list[ProblemReason]:
    """List why this sweep cannot have a trial with these values."""
    return sweep_space.trial_reasons(spec.base, values, _rules(spec))


def _rules(spec: SweepSpec) -> sweep_space.TrialRules:
    """The rules that a trial can break while its base does not."""
    accepted, reported = _named(spec.base), [*_of_trial(spec.base, spec.resources)]

    def rules(trial: TrialBase) -> Iterator[ProblemReason]:
        # Without this a search over file names would read unchecked files, and wait for no job.
        for loc, name in _named(trial).items():
            if accepted.get(loc) != name:
                message = (
                    f"some trials would read {name!r}, but all trials read what the base names; name it in the base"
                )
                yield ProblemReason(loc=loc, code="other_file", message=message)
        yield from (reason for reason in _of_trial(trial, spec.resources) if reason not in reported)

    return rules


def _of_trial(trial: TrialBase, resources: Resources) -> Iterator[ProblemReason]:
    trial = trial.model_copy(update={"resources": resources})
    yield from (*weight_reasons(trial), *batch_reasons(trial), *training_reasons(trial), *images_reasons(trial))
    yield from (*method_reasons(trial, {}), *picture_reasons(trial), *pool_reasons(trial))


def _named(spec: TrialBase) -> dict[str, str]:
    """Everything that a training reads, by field."""
    return {item.loc: item.path for item in paths(spec)} | dict(checkpoint_sources(spec))


def _of_each(spec: JobSpec, rule: Callable[[JobSpec], Iterable[ProblemReason]]) -> list[ProblemReason]:
    """List the reasons of a rule; those against a chain or a study are those against its stages or arms, each once."""
    if isinstance(spec, StudySpec):
        return study_admission.of_arms(spec, rule)
    if not isinstance(spec, ChainSpec):
        return [*rule(spec)]
    found: list[ProblemReason] = []
    for index in range(len(spec.stages)):
        for reason in rule(spec.stage(index, position=0, weights=None)):
            placed = reason.model_copy(update={"loc": spec.place(index, reason.loc)})
            if placed not in found:
                found.append(placed)
    return found
