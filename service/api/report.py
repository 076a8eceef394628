"""The report on a job, alone or beside others."""

import asyncio
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Response
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.spec.report import JobReport, Report
from service.api import views
from service.api.access import Principal, Reader, visible_job
from service.api.artifacts import confined
from service.api.deps import ServicesDep
from service.jobs.report import KINDS, fold
from service.reports.csv import render_csv
from service.reports.html import render_html
from service.store import artifacts, attempts, curves, events, jobs
from service.store.session import read_consistently

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
    response_model=Report,
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

    `format` decides; without it the first known type in `Accept` does; JSON otherwise.
    """
    job_ids = list(dict.fromkeys([job_id, *(beside or [])]))
    async with services.database.reading() as session:
        await read_consistently(session)
        folded = [await _fold(session, principal, each) for each in job_ids]
    report = Report(generated_at=services.clock(), jobs=folded)
    match form or _wanted(accept):
        case "html":
            return Response(
                await asyncio.to_thread(_page, report, services.settings.storage_dir), media_type="text/html"
            )
        case "csv":
            headers = {"Content-Disposition": f'attachment; filename="report-{folded[0].job_id}.csv"'}
            return Response(render_csv(report), media_type="text/csv", headers=headers)
    return Response(report.model_dump_json(), media_type="application/json")


async def _fold(session: AsyncSession, principal: Principal, job_id: str) -> JobReport:
    job = await visible_job(session, principal, job_id)
    view = views.job_view(
        job,
        needs=await jobs.dependencies(session, job_id),
        attempts=await attempts.of_job(session, job_id),
        artifacts=await artifacts.of_job(session, job_id),
    )
    drawn = await curves.read(session, job_id, trial="", max_points=MAX_POINTS)
    return fold(view, await events.every(session, job_id, KINDS), {curve.name: curve.points for curve in drawn})


def _page(report: Report, storage_dir: Path) -> str:
    images = {job.job_id: image for job in report.jobs if (image := _samples(job, storage_dir)) is not None}
    return render_html(report, images)


def _samples(job: JobReport, storage_dir: Path) -> bytes | None:
    for artifact in job.artifacts:
        if artifact.name == SAMPLES and artifact.media_type == "image/png":
            path = confined(artifact.uri, storage_dir)
            if path is not None and path.stat().st_size <= MAX_SAMPLES_BYTES:
                return path.read_bytes()
    return None


def _wanted(accept: str) -> str:
    offered = (part.partition(";")[0].strip().lower() for part in accept.split(","))
    return next((_FORMS[kind] for kind in offered if kind in _FORMS), "json")
