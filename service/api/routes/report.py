"""Reports: the results of a job, alone or beside other jobs, as JSON, HTML or CSV."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Response
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import SpecError
from fgd_core.spec.charts import ReportCharts
from fgd_core.spec.costs import PRICED_KINDS, JobCost
from fgd_core.spec.prediction import PREDICTED_KINDS
from fgd_core.spec.report import JobReport, Report
from fgd_core.spec.sweep_report import SweepReport
from fgd_core.spec.views import JobView
from service import links
from service.api import costs, predictions, responses, stored_files
from service.api.access import JobId, Reader, visible_job
from service.api.compute_thread import run_in_compute_thread
from service.api.deps import Services, ServicesDep
from service.api.sweep_reports import Form as SweepForm
from service.api.sweep_reports import Text, Version
from service.compare.request import SweepReportRequest
from service.jobs.cluster import Capacity
from service.jobs.comparability import check_comparable
from service.jobs.report import KINDS, fold
from service.jobs.study_tables import study_tables
from service.reports.advice import sentences
from service.reports.csv import render_csv
from service.reports.diagnosis_figures import diagnosis_charts
from service.reports.drawing import views
from service.reports.figures import charts
from service.reports.html import render_html
from service.reports.study_figures import study_charts
from service.reports.worst_images import wanted_files
from service.settings import Settings
from service.storage import threads
from service.storage.base import Storage
from service.store import attempts, curves, events, jobs
from service.store.statements import read_consistently
from service.store.tables import Attempt, Job
from service.store.views import load, run_page

router = APIRouter(prefix="/v1/jobs", tags=["report"])

MAX_POINTS = 300
"""Points per curve; a chart has fewer pixels."""
SAMPLES = "samples.png"
MAX_SAMPLES_BYTES = 8_000_000
MAX_FILE_BYTES = 32_000_000
"""Of the files that show the worst images."""

Form = Literal["json", "html", "csv", "charts"]
_FORMS: Mapping[str, Form] = {"text/html": "html", "text/csv": "csv", "application/json": "json"}


@router.get(
    "/{job_id}/report",
    operation_id="get_report",
    response_model=Report | SweepReport | ReportCharts,
    responses={200: {"content": {"text/html": {}, "text/csv": {}}}},
)
async def get_report(
    *,
    services: ServicesDep,
    principal: Reader,
    job_id: JobId,
    others: Annotated[
        list[str] | None, Query(alias="with", max_length=50, description="Ids of jobs to show beside this one")
    ] = None,
    form: Annotated[Form | None, Query(alias="format", description="Takes precedence over `Accept`")] = None,
    accept: Annotated[str, Header(description="Without `format`, the first known media type decides")] = "*/*",
    trials: Annotated[bool, Query(description="False: JSON of a sweep has its findings and not its trials")] = True,
    standings: Annotated[
        int | None, Query(ge=1, le=10_000, description="JSON of a sweep has at most this many standings; default all")
    ] = None,
) -> Response:
    """Return the report of a job, and of the jobs named by `with`, as JSON, as one HTML file or as CSV.

    The format is JSON unless `format` or `Accept` asks for another one; `charts` are the figures of the HTML, and the
    tables of its studies, as JSON. A sweep has a report of its own, also while it runs; it cannot be combined with
    other jobs. Jobs that were evaluated on different validation data are refused.
    """
    wanted = form or responses.preferred(accept, _FORMS, default="json")
    capacity = await services.capacity.recent()
    async with services.database.reading() as session:
        await read_consistently(session)
        rows = [await visible_job(session, principal, each) for each in dict.fromkeys([job_id, *(others or [])])]
        sweep = next((row for row in rows if row.kind == "sweep"), None)
        if sweep is not None:
            _check_alone(sweep, rows)
            url = _dashboard_url(await attempts.of_job(session, sweep.id), services.settings)
            version = Version(sweep.id, sweep.version, sweep.last_sequence, url)
        else:
            folded = [await _fold(session, await _view(session, row, services.settings)) for row in rows]
            # Not of all jobs: each forecast takes a tenth of a second in a project with many runs.
            folded[0] = await _with_forecasts(services, session, rows[0], folded[0], capacity)
    if sweep is not None:
        made: SweepForm = "findings" if wanted == "json" and not trials else wanted
        asked = Text(made, standings if wanted == "json" else None)
        text = services.sweep_reports.kept(version, asked)
        if text is None:
            text = await services.sweep_reports.make(version, asked, partial(_read_sweep, services, sweep.id))
        return _sweep_response(text, sweep.id, wanted)
    check_comparable(folded)
    report = Report(generated_at=services.clock(), jobs=folded)
    return await threads.run(_job_response, report, services.storage, wanted)


async def _read_sweep(services: Services, job_id: str) -> SweepReportRequest:
    capacity = await services.capacity.recent()
    async with services.database.reading() as session:
        await read_consistently(session)
        job = await jobs.get(session, job_id)
        request = await services.sweep_reports.request(session, job, await _view(session, job, services.settings))
        return request.model_copy(update={"cost": await _cost(services, session, job, capacity)})


async def _view(session: AsyncSession, job: Job, settings: Settings) -> JobView:
    view = await load(session, job)
    return view.model_copy(update={"dashboard_url": _dashboard_url(await attempts.of_job(session, job.id), settings)})


def _dashboard_url(tried: Sequence[Attempt], settings: Settings) -> str | None:
    """Return the address of the newest run's page: the server's external one, if known, as reports are passed on."""
    url = run_page(tried[-1]) if tried else None
    if url is None or settings.external_url is None:
        return url
    return links.run_page(settings.external_url, tried[-1].submission_id)


async def _fold(session: AsyncSession, job: JobView) -> JobReport:
    drawn = await curves.read(session, job.job_id, trial="", max_points=MAX_POINTS)
    stored = await events.every(session, job.job_id, KINDS)
    return await asyncio.to_thread(fold, job, stored, {curve.name: curve.points for curve in drawn})


async def _with_forecasts(
    services: Services, session: AsyncSession, job: Job, folded: JobReport, capacity: Capacity | None
) -> JobReport:
    if job.kind in PRICED_KINDS:
        folded = folded.model_copy(update={"cost": await _cost(services, session, job, capacity)})
    if job.kind in PREDICTED_KINDS:
        compute = await predictions.of_job(session, job)
        folded = folded.model_copy(update={"prediction": await run_in_compute_thread(compute)})
    return folded


async def _cost(services: Services, session: AsyncSession, job: Job, capacity: Capacity | None) -> JobCost:
    now_s = services.clock().timestamp()
    return await run_in_compute_thread(await costs.of_job(session, services.studies, job, capacity, now_s=now_s))


def _check_alone(sweep: Job, jobs: Sequence[Job]) -> None:
    if len(jobs) > 1:
        raise SpecError(
            f"job {sweep.id} is a sweep, and its report cannot show other jobs; omit `with`, or compare the jobs",
            job_id=sweep.id,
        )


def _job_response(report: Report, storage: Storage, wanted: Form) -> Response:
    match wanted:
        case "html":
            return responses.html_page(_page(report, storage))
        case "csv":
            return Response(render_csv(report), media_type="text/csv", headers=_attachment(report.jobs[0].job_id))
        case "charts":
            tables = [table for job in report.jobs if job.study is not None for table in study_tables(job.study)]
            drawn = views([*charts(report), *diagnosis_charts(report), *study_charts(report)], tables=tables)
            return Response(drawn.model_dump_json(), media_type="application/json")
    told = report.model_copy(update={"sentences": sentences(report)})
    return Response(told.model_dump_json(), media_type="application/json")


def _sweep_response(text: str, job_id: str, wanted: Form) -> Response:
    match wanted:
        case "html":
            return responses.html_page(text)
        case "csv":
            return Response(text, media_type="text/csv", headers=_attachment(job_id))
    return Response(text, media_type="application/json")


def _attachment(job_id: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="report-{job_id}.csv"'}


def _page(report: Report, storage: Storage) -> str:
    images = {job.job_id: image for job in report.jobs if (image := _samples(job, storage)) is not None}
    files = {
        (job_id, name): content
        for job_id, name in wanted_files(report)
        if (content := _file(report, job_id, name, storage)) is not None
    }
    return render_html(report, images, files)


def _file(report: Report, job_id: str, name: str, storage: Storage) -> bytes | None:
    (job,) = (each for each in report.jobs if each.job_id == job_id)
    for artifact in job.artifacts:
        if artifact.name == name:
            return stored_files.read_small(storage, job_id, artifact.uri, max_bytes=MAX_FILE_BYTES)
    return None


def _samples(job: JobReport, storage: Storage) -> bytes | None:
    for artifact in job.artifacts:
        if artifact.name == SAMPLES and artifact.media_type == "image/png":
            return stored_files.read_small(storage, job.job_id, artifact.uri, max_bytes=MAX_SAMPLES_BYTES)
    return None
