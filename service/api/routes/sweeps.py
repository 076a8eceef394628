"""Sweeps: their trials, and what users can request while a sweep runs."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from fgd_core.errors import NotFoundError, SpecError
from fgd_core.spec.jobs import JOB_SPEC
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.sweep_report import TrialList, TrialView
from fgd_core.spec.trials import BudgetRaised, MoreBudget, NewTrial, TrialAsked, TrialStopAsked
from fgd_core.spec.views import JobView
from service.api import audit_notes, responses
from service.api.access import JobId, Principal, Reader, Submitter, visible_job
from service.api.deps import Services, ServicesDep
from service.jobs import admission, sweep_control, sweep_space
from service.reports.trials_csv import render_trials_csv
from service.store import attempts, events, jobs, views
from service.store.statements import read_consistently
from service.store.tables import Job

router = APIRouter(prefix="/v1/jobs", tags=["sweeps"])

TrialNumber = Annotated[int, Path(ge=0, le=2**31 - 1, description="The number of a trial, from 0")]
Form = Literal["json", "csv"]
_FORMS: Mapping[str, Form] = {"text/csv": "csv", "application/json": "json"}
_ASKED = TrialAsked.model_fields["kind"].default


@router.get(
    "/{job_id}/trials",
    operation_id="list_trials",
    response_model=TrialList,
    responses={200: {"content": {"text/csv": {}}}},
)
async def list_trials(
    *,
    services: ServicesDep,
    principal: Reader,
    job_id: JobId,
    number: Annotated[list[int] | None, Query(max_length=100, description="Only these trials; may be repeated")] = None,
    form: Annotated[Form | None, Query(alias="format", description="Takes precedence over `Accept`")] = None,
    accept: Annotated[str, Header(description="Without `format`, the first known media type decides")] = "*/*",
) -> Response:
    """List all trials of a sweep by number, with their present state, values and objectives.

    As CSV, with one row per trial and the column names of Ray Tune's `ResultGrid.get_dataframe`.
    """
    async with services.database.reading() as session:
        await read_consistently(session)
        job, spec = await _sweep(session, principal, job_id)
        found = await _trials(services, session, job, spec)
        wanted = found if number is None else [trial for trial in found if trial.trial in number]
        trials = TrialList(items=wanted, last_sequence=job.last_sequence)
    if (form or responses.preferred(accept, _FORMS, default="json")) == "csv":
        text = await asyncio.to_thread(render_trials_csv, job_id, trials.items, spec.objectives)
        headers = {"Content-Disposition": f'attachment; filename="trials-{job_id}.csv"'}
        return Response(text, media_type="text/csv", headers=headers)
    return await responses.json_response(trials, "items")


@router.get("/{job_id}/trials/{trial}", operation_id="get_trial")
async def get_trial(services: ServicesDep, principal: Reader, job_id: JobId, trial: TrialNumber) -> TrialView:
    """Return one trial of a sweep."""
    async with services.database.reading() as session:
        await read_consistently(session)
        job, spec = await _sweep(session, principal, job_id)
        return _find(await _trials(services, session, job, spec), trial)


@router.post("/{job_id}/trials", status_code=202, operation_id="add_trial")
async def add_trial(services: ServicesDep, principal: Submitter, job_id: JobId, new: NewTrial) -> TrialAsked:
    """Add a trial with these values, which runs before the searcher's next ones. Its first event holds its number."""
    async with services.database.writing() as session:
        job, spec = await _sweep(session, principal, job_id, lock=True)
        sweep_control.check_takes_trials(job.state)
        admission.check(admission.trial_reasons(spec, new.values))
        requested = TrialAsked(
            number=len(await events.every(session, job_id, [_ASKED])),
            values=sweep_space.as_stored(spec.base, new.values),
            by=principal.name,
        )
        await events.append(session, job_id, None, [(services.clock(), requested)])
    return requested


@router.post("/{job_id}/trials/{trial}/stop", status_code=202, operation_id="stop_trial")
async def stop_trial(services: ServicesDep, principal: Submitter, job_id: JobId, trial: TrialNumber) -> TrialView:
    """Stop one trial: it saves a checkpoint and ends; the other trials continue."""
    audit_notes.about(trial=trial)
    async with services.database.writing() as session:
        job, spec = await _sweep(session, principal, job_id, lock=True)
        found = _find(await _trials(services, session, job, spec), trial)
        sweep_control.check_stoppable(job.state, found)
        requested = TrialStopAsked(trial=trial, by=principal.name)
        await events.append(session, job_id, None, [(services.clock(), requested)])
    return found


@router.post("/{job_id}/budget", status_code=202, operation_id="raise_budget")
async def raise_budget(
    services: ServicesDep, principal: Submitter, response: Response, job_id: JobId, more: MoreBudget
) -> JobView:
    """Add to the budget of a sweep. A sweep that is over or paused is queued again and continues where it stopped."""
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
            reset: dict[InstrumentedAttribute[Any], Any] = {Job.failures: 0, Job.losses: 0, **dict.fromkeys(columns)}
            await jobs.move(session, job, step, now=services.clock(), extra=[raised], columns=reset)
        await session.refresh(job)
        view = await views.load(session, job)
    services.wake_dispatcher.set()
    response.headers["Location"] = f"/v1/jobs/{job_id}"
    response.headers["ETag"] = views.etag(view.version)
    return view


async def _sweep(
    session: AsyncSession, principal: Principal, job_id: str, *, lock: bool = False
) -> tuple[Job, SweepSpec]:
    """Return a sweep's row and spec.

    Raises:
        NotFoundError: the principal sees no such job, or it is not a sweep.
        SpecError: the stored spec is no longer valid.
    """
    job = await visible_job(session, principal, job_id, lock=lock)
    if job.kind != "sweep":
        raise NotFoundError(
            f"job {job_id} is of kind {job.kind!r}, and only sweeps have trials; use the id of a sweep", kind=job.kind
        )
    try:
        spec = JOB_SPEC.validate_python(job.spec)
    except ValidationError as error:
        message = (
            f"another version of this server stored the spec of sweep {job_id}, which is invalid now; submit it again"
        )
        raise SpecError(message, spec_version=job.spec_version) from error
    assert isinstance(spec, SweepSpec)
    return job, spec


async def _trials(services: Services, session: AsyncSession, job: Job, spec: SweepSpec) -> list[TrialView]:
    trials = await services.studies.trials(session, job, spec)
    pages = {attempt.number: views.run_page(attempt) for attempt in await attempts.of_job(session, job.id)}
    return [
        trial.model_copy(update={"dashboard_url": pages[trial.attempt]})
        if trial.attempt is not None and pages.get(trial.attempt) is not None
        else trial
        for trial in trials
    ]


def _find(trials: Sequence[TrialView], number: int) -> TrialView:
    found = next((trial for trial in trials if trial.trial == number), None)
    if found is None:
        raise NotFoundError(f"the sweep has no trial {number}; it has {len(trials)} trials", trial=number)
    return found
