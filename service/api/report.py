"""The report on a job, alone or beside others."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Response
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import SpecError
from fgd_core.spec import study_state
from fgd_core.spec.events import StoredEvent
from fgd_core.spec.report import JobReport, Report
from fgd_core.spec.sweep_report import SweepReport
from fgd_core.spec.views import JobView
from service import links
from service.api import responses, stored_files
from service.api.access import Principal, Reader, visible_job
from service.api.deps import ServicesDep
from service.jobs.findings import sweep_report
from service.jobs.report import KINDS, fold
from service.jobs.same_ground import check_same_ground
from service.reports.csv import render_csv
from service.reports.html import render_html
from service.reports.sweep_csv import render_sweep_csv
from service.reports.sweep_html import render_sweep_html
from service.settings import Settings
from service.storage import threads
from service.storage.base import Storage
from service.store import curves, events
from service.store.session import read_consistently
from service.store.views import load

router = APIRouter(prefix="/v1/jobs", tags=["report"])

Form = Literal["json", "html", "csv"]

MAX_POINTS = 300
"""A curve; more than a chart has pixels for."""
SAMPLES = "samples.png"
MAX_SAMPLES_BYTES = 8_000_000

_FORMS = {"text/html": "html", "text/csv": "csv", "application/json": "json"}


@router.get(
    "/{job_id}/report",
    operation_id="get_report",
    response_model=Report | SweepReport,
    responses={200: {"content": {"text/html": {}, "text/csv": {}}}},
)
async def get_report(
    *,
    services: ServicesDep,
    principal: Reader,
    job_id: str,
    beside: Annotated[list[str] | None, Query(alias="with", max_length=50)] = None,
    form: Annotated[Form | None, Query(alias="format")] = None,
    accept: Annotated[str, Header()] = "*/*",
) -> Response:
    """Everything that the job, and those named by `with`, have to show: JSON, one HTML file, or CSV.

    `format` decides; without it the first known type in `Accept` does; JSON otherwise. A sweep's report is one of its
    own, also while the sweep runs, and stands alone. Jobs that were scored on different validation data are refused.
    """
    wanted = form or _wanted(accept)
    job_ids = list(dict.fromkeys([job_id, *(beside or [])]))
    async with services.database.reading() as session:
        await read_consistently(session)
        views = [_lasting(await _view(session, principal, each), services.settings) for each in job_ids]
        sweep = next((view for view in views if view.kind == "sweep"), None)
        if sweep is not None:
            _stands_alone(sweep, views)
            told = await events.every(session, sweep.job_id, study_state.KINDS)
        else:
            folded = [await _fold(session, view) for view in views]
    if sweep is not None:
        return await asyncio.to_thread(_of_sweep, sweep, told, services.clock(), wanted)
    check_same_ground(folded)
    return await threads.run(_of_jobs, Report(generated_at=services.clock(), jobs=folded), services.storage, wanted)


async def _view(session: AsyncSession, principal: Principal, job_id: str) -> JobView:
    return await load(session, await visible_job(session, principal, job_id))


def _lasting(view: JobView, settings: Settings) -> JobView:
    """With a link for people elsewhere, where there is one: a report is kept, and passed on."""
    if settings.external_url is None or view.dashboard_url is None:
        return view
    url = links.run_page(settings.external_url, view.attempts[-1].submission_id)
    return view.model_copy(update={"dashboard_url": url})


async def _fold(session: AsyncSession, job: JobView) -> JobReport:
    drawn = await curves.read(session, job.job_id, trial="", max_points=MAX_POINTS)
    stored = await events.every(session, job.job_id, KINDS)
    return await asyncio.to_thread(fold, job, stored, {curve.name: curve.points for curve in drawn})


def _stands_alone(sweep: JobView, views: Sequence[JobView]) -> None:
    if len(views) > 1:
        raise SpecError(
            f"{sweep.job_id} is a sweep, whose report stands alone; leave `with` out, or compare the jobs",
            job_id=sweep.job_id,
        )


def _of_jobs(report: Report, storage: Storage, wanted: str) -> Response:
    match wanted:
        case "html":
            return responses.html_page(_page(report, storage))
        case "csv":
            return Response(render_csv(report), media_type="text/csv", headers=_as_file(report.jobs[0].job_id))
    return Response(report.model_dump_json(), media_type="application/json")


def _of_sweep(sweep: JobView, told: Sequence[StoredEvent], now: datetime, wanted: str) -> Response:
    report = sweep_report.fold(sweep, told, now=now)
    match wanted:
        case "html":
            return responses.html_page(render_sweep_html(report))
        case "csv":
            return Response(render_sweep_csv(report), media_type="text/csv", headers=_as_file(sweep.job_id))
    return Response(responses.as_json(report, "trials"), media_type="application/json")


def _as_file(job_id: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="report-{job_id}.csv"'}


def _page(report: Report, storage: Storage) -> str:
    images = {job.job_id: image for job in report.jobs if (image := _samples(job, storage)) is not None}
    return render_html(report, images)


def _samples(job: JobReport, storage: Storage) -> bytes | None:
    for artifact in job.artifacts:
        if artifact.name == SAMPLES and artifact.media_type == "image/png":
            return stored_files.read_small(storage, job.job_id, artifact.uri, max_bytes=MAX_SAMPLES_BYTES)
    return None


def _wanted(accept: str) -> str:
    offered = (part.partition(";")[0].strip().lower() for part in accept.split(","))
    return next((_FORMS[kind] for kind in offered if kind in _FORMS), "json")
