"""Refuses references to checkpoints that no job writes, and teachers that the method of a job cannot use."""

from collections.abc import Iterator, Mapping

from fgd_core.spec.checkpoint_references import (
    CheckpointReference,
    checkpoint_artifact,
    checkpoint_sources,
    parse_reference,
)
from fgd_core.spec.detectors import AnyDetector
from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.kinds.teacher import Teacher, teacher_detector, with_teacher
from fgd_core.spec.views import ProblemReason
from service.jobs.admission_facts import NeededJob

_CHECKPOINTS_BY_KIND = {"best": ("train", "distill", "chain", "sweep"), "last": ("train", "distill")}
"""Checkpoint -> the kinds of job that write it."""


def references(spec: JobSpec) -> list[tuple[str, CheckpointReference]]:
    """List (path of the field, reference) for each reference that can be parsed."""
    found = []
    for loc, source in checkpoint_sources(spec):
        try:
            reference = parse_reference(source)
        except ValueError:
            continue
        if reference is not None:
            found.append((loc, reference))
    return found


def waits_for(spec: JobSpec, jobs: Mapping[str, NeededJob]) -> list[str]:
    """List the jobs that must succeed before an accepted job can start."""
    needed = dict.fromkeys(reference.job_id for _, reference in references(spec))
    return [job_id for job_id in needed if jobs[job_id].state != "succeeded"]


def checkpoint_reasons(spec: JobSpec, jobs: Mapping[str, NeededJob]) -> Iterator[ProblemReason]:
    """Yield which references name no job that has, or will have, the checkpoint."""
    for loc, source in checkpoint_sources(spec):
        try:
            reference = parse_reference(source)
        except ValueError as error:
            yield ProblemReason(loc=loc, code="bad_reference", message=str(error))
            continue
        if reference is None:
            continue
        job = jobs.get(reference.job_id)
        if job is None:
            message = f"there is no job {reference.job_id!r}; `fgd jobs` lists all jobs"
            yield ProblemReason(loc=loc, code="unknown_job", message=message)
        elif job.kind not in _CHECKPOINTS_BY_KIND.get(reference.name, ()):
            message = (
                f"job {reference.job_id} is of kind {job.kind!r} and writes no checkpoint {reference.name!r}; "
                "refer to the `best` of a sweep or a chain, or to a training"
            )
            yield ProblemReason(loc=loc, code="no_checkpoint", message=message)
        elif job.state in ("failed", "cancelled"):
            message = f"job {reference.job_id} is {job.state}; submit it again and refer to the new job"
            yield ProblemReason(loc=loc, code="dependency_failed", message=message)
        elif job.state == "succeeded" and checkpoint_artifact(reference.name) not in job.artifacts:
            message = f"job {reference.job_id} wrote no checkpoint {reference.name!r}; submit it again"
            yield ProblemReason(loc=loc, code="no_checkpoint", message=message)


def method_reasons(spec: JobSpec, jobs: Mapping[str, NeededJob]) -> Iterator[ProblemReason]:
    """Yield what the method of the spec needs and its pair lacks."""
    prefix, distilled = ("base.", spec.base) if isinstance(spec, SweepSpec) else ("", spec)
    if isinstance(distilled, DistillSpec):
        for of_teacher, teacher in distilled.teachers.items():
            for unmet in distilled.method.unmet(distilled.student, _teacher(teacher, jobs)):
                loc = with_teacher(unmet.loc, of_teacher)
                if loc == unmet.loc and teacher is not distilled.teacher:
                    continue  # The student is the same for all teachers.
                yield ProblemReason(loc=f"{prefix}{loc}", code="method_unsuited", message=unmet.message)


def _teacher(teacher: Teacher, jobs: Mapping[str, NeededJob]) -> AnyDetector | None:
    """Return the teacher's detector; None if only a file knows it."""
    known = {f"job:{job_id}/{name}": job.detector for job_id, job in jobs.items() for name in _CHECKPOINTS_BY_KIND}
    return teacher_detector(teacher) or known.get(teacher.checkpoint)
