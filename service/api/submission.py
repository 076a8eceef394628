"""Submission: a well-formed spec becomes a stored job, or the client gets every reason against it."""

import hashlib
from dataclasses import dataclass, replace
from typing import NamedTuple

from sqlalchemy.exc import IntegrityError

from fgd_core.spec.data import Fingerprints, Registered, Resolved
from fgd_core.spec.jobs import JOB_SPEC, JobSpec, data_by_path, data_of, with_data, written_detector
from fgd_core.spec.kinds.check_data import CheckDataSpec
from fgd_core.spec.kinds.derive_data import DeriveDataSpec
from fgd_core.spec.kinds.study import StudySpec
from fgd_core.spec.kinds.study_types import LeftOverStudy
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.results import ErrorReport
from fgd_core.spec.views import JobView, ProblemReason
from service.api import audit_notes, data_classes, spec_paths
from service.api.access import Principal
from service.api.admitted_jobs import Admitted, Asked, dataset_ids
from service.api.compute_thread import run_in_compute_thread
from service.api.deps import Services
from service.errors import IdempotencyKeyReusedError
from service.jobs import admission, checkpoint_admission, named_paths
from service.jobs.admission_facts import Facts, NamedData, NeededJob
from service.jobs.keypoint_admission import keypoints_found
from service.jobs.study_admission import classes_found
from service.jobs.sweep_admission import EarlierSweep
from service.store import artifacts, datasets, jobs, views
from service.store.tables import Job
from service.store.write_session import WriteSession


async def submit(
    services: Services,
    principal: Principal,
    spec: JobSpec,
    *,
    idempotency_key: str | None,
    parent_id: str | None = None,
) -> JobView:
    """Check a spec and store it as a job.

    Args:
        idempotency_key: the same spec with the same key is the same job.
        parent_id: the job that the spec was made from; for the fork of a sweep, that sweep is it.
    Raises:
        AdmissionError: the job cannot run; the error holds all reasons.
        ForbiddenError: the spec names a project that the principal does not work in.
        IdempotencyKeyReusedError: the key belongs to another spec.
    """
    request, facts = await _requested(services, principal, spec, idempotency_key)
    request = replace(request, parent_id=parent_id)
    with services.tracing.span("admit and store"):
        try:
            view = await _store(services, principal, request, facts)
        except IntegrityError:
            # Another request with this key was stored after we looked for it; the second look finds it.
            view = await _store(services, principal, request, facts)
    services.tracing.current().note({"fgd.job_id": view.job_id, "fgd.kind": spec.kind})
    services.wake_dispatcher.set()
    return view


class Checked(NamedTuple):
    """What `submit` would do with a spec."""

    spec: JobSpec
    """As it would be stored: in its project, with its data sets looked up."""
    reasons: list[ProblemReason]
    """Why it would be refused; empty if it would be accepted."""


async def check(services: Services, principal: Principal, spec: JobSpec) -> Checked:
    """Return what `submit` would do with a spec now, without storing anything.

    Raises:
        ForbiddenError: the spec names a project that the principal does not work in.
    """
    request, facts = await _requested(services, principal, spec, None)
    async with services.database.reading() as session:
        facts = await _with_jobs(session, principal, request.spec, facts)
        return Checked(request.spec, await _reasons(session, request, facts))


async def _requested(
    services: Services, principal: Principal, spec: JobSpec, idempotency_key: str | None
) -> tuple["_Request", Facts]:
    """Look up everything about a spec that does not depend on other jobs."""
    spec = _in_project(spec, principal)
    audit_notes.about(project=spec.project, name=spec.name, kind=spec.kind)
    # Before the data set is resolved: a check of the data set that ends in between must not change the request's hash.
    spec_sha256 = hashlib.sha256(JOB_SPEC.dump_json(spec)).hexdigest()
    spec, named = await _resolve_data(services, spec)
    capacity = await services.capacity.recent()
    facts = replace(
        await spec_paths.facts(named_paths.paths(spec), services.settings, capacity),
        named_data=named.pop(data_of(spec)[0], None),
        more_named=named,
        tune_searchers=services.settings.tune_searchers,
    )
    if isinstance(spec, StudySpec) and isinstance(spec.study, LeftOverStudy) and spec.study.groups:
        checked = facts.named_data.classes if facts.named_data is not None else ()
        facts = replace(facts, classes=checked or await data_classes.classes_in_files(spec.base.data, facts))
    # The rules for a sweep or a study take too long for the event loop and for a transaction.
    if isinstance(spec, SweepSpec | StudySpec):
        reasons = await run_in_compute_thread(admission.own_reasons, spec, facts)
    else:
        reasons = admission.own_reasons(spec, facts)
    traceparent = services.tracing.current().traceparent
    return _Request(spec, spec_sha256, idempotency_key, traceparent, reasons), facts


def _in_project(spec: JobSpec, principal: Principal) -> JobSpec:
    """Return the spec in the project that the principal works in.

    Raises:
        ForbiddenError: the spec names another project.
    """
    named = spec.project if "project" in spec.model_fields_set else None
    return spec.model_copy(update={"project": principal.project_for(named) or spec.project})


async def _resolve_data(services: Services, spec: JobSpec) -> tuple[JobSpec, dict[str, NamedData]]:
    """Look up the data sets that a spec names: (spec with the data that a run needs, facts about the names by path).

    It replaces what the spec holds there: a client may have sent it, or it may be out of date.
    """
    found, facts = data_by_path(spec), {}
    for loc, data in found.items():
        if isinstance(data, Registered):
            found[loc], facts[loc] = await _resolved(services, spec.project, data)
    return (with_data(spec, found) if facts else spec), facts


async def _resolved(services: Services, project: str, data: Registered) -> tuple[Registered, NamedData]:
    async with services.database.reading() as session:
        row = await datasets.named(session, project, data.name)
        known = [] if row is not None else await datasets.names(session, project)
        made_by = await datasets.deriving_job(session, row) if row is not None else None
    if row is None:
        return data.model_copy(update={"resolved": None}), NamedData(known=known)
    fingerprints = Fingerprints.model_validate(row.fingerprints) if row.fingerprints is not None else None
    resolved = Resolved.model_validate({"dataset_id": row.id, "data": row.data, "fingerprints": fingerprints})
    error = ErrorReport.model_validate(row.check_error) if row.check_error is not None else None
    refused_for = error.message if error is not None and error.code == "data" else None
    has_keypoints = keypoints_found(row.outcome)
    classes = classes_found(row.outcome)
    facts = NamedData(refused_for=refused_for, made_by=made_by, classes=classes, has_keypoints=has_keypoints)
    return data.model_copy(update={"resolved": resolved}), facts


@dataclass(frozen=True)
class _Request:
    spec: JobSpec
    """With its data set resolved."""
    spec_sha256: str
    """SHA-256 in hex of the spec as the client sent it."""
    idempotency_key: str | None
    traceparent: str | None
    reasons: list[ProblemReason]
    """Reasons against the spec itself."""
    parent_id: str | None = None


async def _store(services: Services, principal: Principal, request: _Request, known: Facts) -> JobView:
    async def store(session: WriteSession) -> JobView:
        earlier = await _same_request(session, request)
        if earlier is not None:
            return await views.load(session, earlier)
        spec = request.spec
        facts = await _with_jobs(session, principal, spec, known)
        reasons = [*await _parent_reasons(session, principal, request), *await _reasons(session, request, facts)]
        admission.check(reasons)
        admitted = Admitted(services, principal, facts, request.traceparent)
        runs = await admitted.runs(session, spec) if isinstance(spec, StudySpec) else []
        parent_id = request.parent_id or (spec.fork if isinstance(spec, SweepSpec) else None)
        asked = Asked(request.spec_sha256, request.idempotency_key, parent_id)
        job = await admitted.insert(session, spec, asked=asked, runs=runs)
        if isinstance(spec, DeriveDataSpec):
            await _register_derived(session, spec, job)
        dependencies = await jobs.dependencies(session, job.id) if job.state == "blocked" else []
        return views.job_view(job, needs=dependencies, attempts=[], artifacts=[], runs=runs)

    if isinstance(request.spec, CheckDataSpec | DeriveDataSpec):
        return await services.database.write_together(store)
    return await services.database.insert_together(store)


async def _same_request(session: WriteSession, request: _Request) -> Job | None:
    """Return the job of an earlier request with this idempotency key.

    Raises:
        IdempotencyKeyReusedError: the key belongs to another spec.
    """
    if request.idempotency_key is None:
        return None
    earlier = await jobs.by_idempotency_key(session, request.spec.project, request.idempotency_key)
    if earlier is not None and earlier.spec_sha256 != request.spec_sha256:
        message = "this Idempotency-Key belongs to another spec; send a new key"
        raise IdempotencyKeyReusedError(message, job_id=earlier.id)
    return earlier


async def _with_jobs(session: WriteSession, principal: Principal, spec: JobSpec, known: Facts) -> Facts:
    """Return the facts with those about the jobs that a spec refers to."""
    needs = [reference.job_id for _, reference in checkpoint_admission.references(spec)]
    return replace(
        known,
        jobs=await _needed_jobs(session, principal, needs),
        earlier=await _earlier_sweeps(session, principal, spec),
    )


async def _reasons(session: WriteSession, request: _Request, facts: Facts) -> list[ProblemReason]:
    """Return every reason against the job."""
    spec = request.spec
    reasons = [*request.reasons, *admission.job_reasons(spec, facts)]
    for loc, dataset_id in dataset_ids(spec).items():
        if not await datasets.is_there(session, dataset_id):
            message = "the data set was deleted during this request; register it again, or name another one"
            reasons.append(ProblemReason(loc=f"{loc}.name", code="unknown_dataset", message=message))
    if isinstance(spec, DeriveDataSpec) and await _name_is_taken(session, spec):
        message = f"the project {spec.project!r} has another data set {spec.dataset!r}; choose another name"
        reasons.append(ProblemReason(loc="dataset", code="name_taken", message=message))
    return reasons


async def _parent_reasons(session: WriteSession, principal: Principal, request: _Request) -> list[ProblemReason]:
    parent_id = request.parent_id
    known = (await jobs.states(session, [parent_id])).get(parent_id) if parent_id is not None else None
    if parent_id is None or (known is not None and principal.sees(known.project)):
        return []
    message = f"there is no job {parent_id!r}; omit `parent`, or send the id of the job that the spec was made from"
    return [ProblemReason(loc="query.parent", code="unknown_job", message=message)]


async def _name_is_taken(session: WriteSession, spec: DeriveDataSpec) -> bool:
    """Return whether the name of the derived data belongs to other data; an earlier job for the same data is fine."""
    row, derived = await datasets.named(session, spec.project, spec.dataset), spec.derived()
    return row is not None and derived is not None and row.data != derived.model_dump(mode="json")


async def _register_derived(session: WriteSession, spec: DeriveDataSpec, job: Job) -> None:
    """Register the data that a job derives; the job is also its first check."""
    derived = spec.derived()
    assert derived is not None, "admission refuses names of data sets that do not exist"
    row = await datasets.named(session, spec.project, spec.dataset)
    if row is None:
        row = await datasets.insert_dataset(
            session,
            name=spec.dataset,
            project=spec.project,
            data=derived,
            created_by=job.submitted_by,
            now=job.created_at,
        )
    await datasets.note_use(session, job.id, row.id)
    await datasets.begin_check(session, row.id, job.id)


async def _needed_jobs(session: WriteSession, principal: Principal, job_ids: list[str]) -> dict[str, NeededJob]:
    """Return facts about those of the jobs that exist and that the principal sees."""
    found = {}
    for job_id, job in (await jobs.states(session, job_ids)).items():
        if not principal.sees(job.project):
            continue
        names = frozenset(artifact.name for artifact in await artifacts.of_job(session, job_id))
        found[job_id] = NeededJob(kind=job.kind, state=job.state, artifacts=names, detector=written_detector(job.spec))
    return found


async def _earlier_sweeps(session: WriteSession, principal: Principal, spec: JobSpec) -> dict[str, EarlierSweep]:
    """Return the jobs that a sweep continues or learns from, those that the principal sees."""
    if not isinstance(spec, SweepSpec):
        return {}
    named = [*spec.warm_start, *([spec.fork] if spec.fork is not None else [])]
    return {
        job_id: EarlierSweep(kind=job.kind, project=job.project, spec=job.spec)
        for job_id, job in (await jobs.states(session, named)).items()
        if principal.sees(job.project)
    }
