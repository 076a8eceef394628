"""Taking a job: from a spec that is well-formed to a row, or to every reason against it."""

import hashlib
import secrets
from dataclasses import dataclass, replace

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.spec.data import Registered
from fgd_core.spec.jobs import JOB_SPEC, CheckDataSpec, JobSpec, SweepSpec, data_of
from fgd_core.spec.views import JobView, ProblemReason
from service.api import named_data, notes, spec_paths
from service.api.access import Principal
from service.api.computing import apart
from service.api.deps import Services
from service.errors import ForbiddenError, IdempotencyKeyReusedError
from service.jobs import admission
from service.jobs.sweep_admission import EarlierSweep
from service.store import artifacts, datasets, jobs, views


async def submit(services: Services, principal: Principal, spec: JobSpec, *, idempotency_key: str | None) -> JobView:
    """
    Args:
        idempotency_key: the same spec under the same key is the same job.
    Raises:
        AdmissionError: the job cannot be; every reason at once.
        ForbiddenError: it is for a project that the principal does not work in.
        IdempotencyKeyReusedError: the key belongs to another spec.
    """
    spec = _in_project(spec, principal)
    notes.about(project=spec.project, name=spec.name, kind=spec.kind)
    # As it was asked for: a data set that is checked in between does not make another job of the same request.
    spec_sha256 = hashlib.sha256(JOB_SPEC.dump_json(spec)).hexdigest()
    spec, named = await named_data.look_up(services, spec)
    capacity = await services.capacity.recent()
    facts = replace(await spec_paths.facts(spec, services.settings, capacity), named_data=named)
    # A sweep's take so long that neither the loop nor a transaction may wait for them.
    against = await apart(admission.own_reasons, spec, facts) if isinstance(spec, SweepSpec) else None
    request = _Request(spec, spec_sha256, idempotency_key, services.tracing.current().traceparent, against)
    with services.tracing.span("admit and store"):
        try:
            view = await _admit(services, principal, request, facts)
        except IntegrityError:
            # Another request with this key came between our look and our insert; now it is there to be found.
            view = await _admit(services, principal, request, facts)
    services.tracing.current().note({"fgd.job_id": view.job_id, "fgd.kind": spec.kind})
    services.wake_dispatcher.set()
    return view


def _in_project(spec: JobSpec, principal: Principal) -> JobSpec:
    """The spec in the project that the principal works in.

    Raises:
        ForbiddenError: the spec names another one.
    """
    if principal.sees(spec.project):
        return spec
    if "project" not in spec.model_fields_set:
        return spec.model_copy(update={"project": principal.project})
    raise ForbiddenError(
        f"this token is for the project {principal.project!r}, and the job is for {spec.project!r}; "
        "leave `project` out, or use a token of that project",
        project=spec.project,
    )


@dataclass(frozen=True)
class _Request:
    spec: JobSpec
    """With the name of its data looked up."""
    spec_sha256: str
    """Of the spec as it was sent."""
    idempotency_key: str | None
    traceparent: str | None
    against: list[ProblemReason] | None
    """Its own reasons, where they were found already."""


async def _admit(services: Services, principal: Principal, request: _Request, known: admission.Facts) -> JobView:
    spec = request.spec
    dataset_id = _dataset_id(spec)

    async def admit(session: AsyncSession) -> JobView:
        if request.idempotency_key is not None:
            earlier = await jobs.by_idempotency_key(session, spec.project, request.idempotency_key)
            if earlier is not None:
                if earlier.spec_sha256 != request.spec_sha256:
                    raise IdempotencyKeyReusedError(
                        "this Idempotency-Key belongs to another spec; send a new key", job_id=earlier.id
                    )
                return await views.load(session, earlier)
        needs = [reference for _, reference in admission.references(spec)]
        facts = replace(
            known,
            jobs=await _needed(session, principal, [reference.job_id for reference in needs]),
            earlier=await _earlier(session, principal, spec),
        )
        own = request.against if request.against is not None else admission.own_reasons(spec, facts)
        reasons = [*own, *admission.job_reasons(spec, facts)]
        if dataset_id is not None and not await datasets.is_there(session, dataset_id):
            reasons.append(named_data.removed_meanwhile(spec))
        admission.check(reasons)
        job_id = secrets.token_hex(6)
        job = await jobs.insert_job(
            session,
            job_id=job_id,
            spec=spec,
            spec_sha256=request.spec_sha256,
            idempotency_key=request.idempotency_key,
            submitted_by=principal.name,
            traceparent=request.traceparent,
            needs=list(dict.fromkeys(needs)),
            waits_for=admission.waits_for(spec, facts),
            now=services.clock(),
        )
        if dataset_id is not None:
            await datasets.note_use(session, job_id, dataset_id)
            if isinstance(spec, CheckDataSpec):
                await datasets.begin_check(session, dataset_id, job_id)
        return views.job_view(
            job, needs=await jobs.dependencies(session, job_id) if needs else [], attempts=[], artifacts=[]
        )

    if isinstance(spec, CheckDataSpec):
        return await services.database.write_together(admit)
    return await services.database.insert_together(admit)


def _dataset_id(spec: JobSpec) -> str | None:
    _, data = data_of(spec)
    return data.resolved.dataset_id if isinstance(data, Registered) and data.resolved is not None else None


async def _needed(session: AsyncSession, principal: Principal, job_ids: list[str]) -> dict[str, admission.NeededJob]:
    """Those that there are, as far as the principal sees."""
    found = {}
    for job_id, job in (await jobs.states(session, job_ids)).items():
        if not principal.sees(job.project):
            continue
        names = frozenset(artifact.name for artifact in await artifacts.of_job(session, job_id))
        found[job_id] = admission.NeededJob(kind=job.kind, state=job.state, artifacts=names)
    return found


async def _earlier(session: AsyncSession, principal: Principal, spec: JobSpec) -> dict[str, EarlierSweep]:
    """The jobs that a sweep goes on from or learns from, as far as the principal sees."""
    if not isinstance(spec, SweepSpec):
        return {}
    named = [*spec.warm_start, *([spec.fork] if spec.fork is not None else [])]
    return {
        job_id: EarlierSweep(kind=job.kind, project=job.project, spec=job.spec)
        for job_id, job in (await jobs.states(session, named)).items()
        if principal.sees(job.project)
    }
