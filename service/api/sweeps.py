"""The trials of a sweep, and what people may ask of it while it runs."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from fgd_core.errors import NotFoundError, SpecError
from fgd_core.spec import study_state
from fgd_core.spec.jobs import JOB_SPEC, SweepSpec
from fgd_core.spec.sweep_report import TrialView
from fgd_core.spec.sweep_views import TrialList
from fgd_core.spec.trials import BudgetRaised, MoreBudget, NewTrial, TrialAsked, TrialStopAsked
from fgd_core.spec.views import JobView
from service.api import audit_notes, responses
from service.api.access import Principal, Reader, Submitter, visible_job
from service.api.deps import ServicesDep
from service.jobs import admission, sweep_control, sweep_space
from service.jobs.lifecycle import is_over
from service.store import attempts, events, jobs, views
from service.store.session import read_consistently
from service.store.tables import Job

router = APIRouter(prefix="/v1/jobs", tags=["sweeps"])

TrialNumber = Annotated[int, Path(ge=0, le=2**31 - 1)]
_ASKED = TrialAsked.model_fields["kind"].default


@router.get("/{job_id}/trials", operation_id="list_trials", response_model=TrialList)
async def list_trials(services: ServicesDep, principal: Reader, job_id: str) -> Response:
    """All trials, by number, as their events tell of them up to now."""
    async with services.database.reading() as session:
        await read_consistently(session)
        job, spec = await _sweep(session, principal, job_id)
        trials = TrialList(items=await _trials(session, job, spec), last_sequence=job.last_sequence)
    return await responses.json_response(trials, "items")


@router.get("/{job_id}/trials/{trial}", operation_id="get_trial")
async def get_trial(services: ServicesDep, principal: Reader, job_id: str, trial: TrialNumber) -> TrialView:
    async with services.database.reading() as session:
        await read_consistently(session)
        job, spec = await _sweep(session, principal, job_id)
        return _find(await _trials(session, job, spec), trial)


@router.post("/{job_id}/trials", status_code=202, operation_id="add_trial")
async def add_trial(services: ServicesDep, principal: Submitter, job_id: str, new: NewTrial) -> TrialAsked:
    """Have these values tried next, whatever the searcher thinks. The trial's number is told by its first event."""
    async with services.database.writing() as session:
        job, spec = await _sweep(session, principal, job_id, lock=True)
        sweep_control.check_takes_trials(job.state)
        admission.check(admission.trial_reasons(spec, new.values))
        asked = TrialAsked(
            number=len(await events.every(session, job_id, [_ASKED])),
            values=sweep_space.as_stored(spec.base, new.values),
            by=principal.name,
        )
        await events.append(session, job_id, None, [(services.clock(), asked)])
    return asked


@router.post("/{job_id}/trials/{trial}/stop", status_code=202, operation_id="stop_trial")
async def stop_trial(services: ServicesDep, principal: Submitter, job_id: str, trial: TrialNumber) -> TrialView:
    """Ask one trial to save and stop; the others go on."""
    audit_notes.about(trial=trial)
    async with services.database.writing() as session:
        job, spec = await _sweep(session, principal, job_id, lock=True)
        found = _find(await _trials(session, job, spec), trial)
        sweep_control.check_stoppable(job.state, found)
        asked = TrialStopAsked(trial=trial, by=principal.name)
        await events.append(session, job_id, None, [(services.clock(), asked)])
    return found


@router.post("/{job_id}/budget", status_code=202, operation_id="raise_budget")
async def raise_budget(
    services: ServicesDep, principal: Submitter, response: Response, job_id: str, more: MoreBudget
) -> JobView:
    """Search on with so much more. A sweep that is over or paused is queued again, and goes on where it ended."""
    audit_notes.about(**more.model_dump(exclude_defaults=True))
    async with services.database.writing() as session:
        job, spec = await _sweep(session, principal, job_id, lock=True)
        admission.check(list(sweep_control.useless(more, spec.budget)))
        step = sweep_control.raise_budget(job.state, waits=await jobs.waits(session, job_id))
        raised = BudgetRaised(**more.model_dump(), by=principal.name)
        if step is None:
            await events.append(session, job_id, None, [(services.clock(), raised)])
        else:
            columns = (Job.not_before, Job.ended_at, Job.error, Job.result)
            fresh: dict[InstrumentedAttribute[Any], Any] = {Job.failures: 0, Job.losses: 0, **dict.fromkeys(columns)}
            await jobs.move(session, job, step, now=services.clock(), extra=[raised], columns=fresh)
        await session.refresh(job)
        view = await views.load(session, job)
    services.wake_dispatcher.set()
    response.headers["Location"] = f"/v1/jobs/{job_id}"
    response.headers["ETag"] = views.etag(view.version)
    return view


async def _sweep(
    session: AsyncSession, principal: Principal, job_id: str, *, lock: bool = False
) -> tuple[Job, SweepSpec]:
    """
    Raises:
        NotFoundError: there is no such job for this principal, or it is no sweep.
        SpecError: its stored spec is no longer valid.
    """
    job = await visible_job(session, principal, job_id, lock=lock)
    if job.kind != "sweep":
        raise NotFoundError(f"job {job_id} is of kind {job.kind!r} and has no trials; name a sweep", kind=job.kind)
    try:
        spec = JOB_SPEC.validate_python(job.spec)
    except ValidationError as error:
        message = f"sweep {job_id} was stored by another version of this server and is no longer valid; submit it again"
        raise SpecError(message, spec_version=job.spec_version) from error
    assert isinstance(spec, SweepSpec)
    return job, spec


async def _trials(session: AsyncSession, job: Job, spec: SweepSpec) -> list[TrialView]:
    stored = await events.every(session, job.id, study_state.KINDS)
    directions, ended = [objective.direction for objective in spec.objectives], is_over(job.state)
    pages = {attempt.number: views.run_page(attempt) for attempt in await attempts.of_job(session, job.id)}

    def fold() -> list[TrialView]:
        trials = study_state.fold_trials(stored, directions, is_over=ended)
        return [trial.model_copy(update={"dashboard_url": pages.get(trial.attempt or 0)}) for trial in trials]

    # A large sweep takes seconds, in which the event loop has to serve other requests.
    return await asyncio.to_thread(fold)


def _find(trials: Sequence[TrialView], number: int) -> TrialView:
    found = next((trial for trial in trials if trial.trial == number), None)
    if found is None:
        raise NotFoundError(f"the sweep has begun no trial {number}; it has {len(trials)}", trial=number)
    return found
