"""Finished runs side by side: which differences are more than chance."""

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Response
from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.spec.comparison import EVIDENCE, Comparison
from service.api.access import Principal, Reader, visible_job
from service.api.artifacts import confined
from service.api.deps import ServicesDep
from service.compare.request import CompareRequest, RunFile
from service.errors import NotComparableError
from service.reports.comparison_page import render_comparison
from service.settings import Settings
from service.store import artifacts
from service.store.session import read_consistently
from service.store.tables import Artifact, Job

router = APIRouter(prefix="/v1/compare", tags=["report"])

Form = Literal["json", "html"]
MAX_RUNS = 20
"""A side."""


@router.get(
    "",
    operation_id="compare_jobs",
    response_model=Comparison,
    responses={200: {"content": {"text/html": {}}}},
)
async def compare_jobs(
    *,
    services: ServicesDep,
    principal: Reader,
    first: Annotated[list[str], Query(alias="a", min_length=1, max_length=MAX_RUNS)],
    second: Annotated[list[str], Query(alias="b", min_length=1, max_length=MAX_RUNS)],
    resamples: Annotated[int, Query(ge=100, le=10_000)] = 1000,
    random_seed: Annotated[int, Query(alias="seed", ge=0, lt=2**32)] = 0,
    form: Annotated[Form | None, Query(alias="format")] = None,
    accept: Annotated[str, Header()] = "*/*",
) -> Response:
    """The runs `a` against the runs `b`: AP over all, per size and per class, with intervals and verdicts.

    Several ids on a side are runs of the same configuration with other seeds; with two or more on each, Welch's t-test
    decides, otherwise a paired bootstrap over the validation images with so many `resamples`. All runs must be finished
    trainings, distillations or evaluations, scored on the same images and classes.
    """
    async with services.database.reading() as session:
        await read_consistently(session)
        found = {job_id: await _left_by(session, principal, job_id) for job_id in dict.fromkeys([*first, *second])}
    files = await asyncio.to_thread(_files, [*first, *second], found, services.settings)
    request = CompareRequest(
        first=files[: len(first)], second=files[len(first) :], resamples=resamples, random_seed=random_seed
    )
    comparison = await services.comparer.compare(request)
    if (form or _wanted(accept)) == "html":
        page = await asyncio.to_thread(render_comparison, comparison, generated_at=services.clock())
        return Response(page, media_type="text/html")
    return Response(comparison.model_dump_json(), media_type="application/json")


async def _left_by(session: AsyncSession, principal: Principal, job_id: str) -> tuple[Job, Artifact | None]:
    job = await visible_job(session, principal, job_id)
    return job, await artifacts.get(session, job_id, EVIDENCE)


def _files(job_ids: list[str], found: dict[str, tuple[Job, Artifact | None]], settings: Settings) -> list[RunFile]:
    """Of each run, in the order given. Looks at the disk: call it in a thread.

    Raises:
        NotComparableError: with a reason for each run that has nothing to compare.
    """
    files, reasons = [], list[JsonValue]()
    for place, job_id in enumerate(job_ids):
        job, artifact = found[job_id]
        path = confined(artifact.uri, settings.storage_dir) if artifact is not None else None
        problem = "named_twice" if job_id in job_ids[:place] else _problem(job, artifact)
        if problem is not None or artifact is None or path is None:
            code = problem or "file_gone"
            message = f"{job.name} {_MESSAGES[code].format(kind=job.kind, state=job.state, job_id=job_id)}"
            reasons.append({"loc": job_id, "code": code, "message": message})
            continue
        seed = job.spec.get("seed", 0)
        files.append(RunFile(job_id=job_id, name=job.name, kind=job.kind, seed=seed, path=path, sha256=artifact.sha256))
    if reasons:
        raise NotComparableError("these runs cannot be compared", reasons=reasons)
    return files


def _problem(job: Job, artifact: Artifact | None) -> str | None:
    if job.kind not in _COMPARED:
        return "not_a_run"
    if job.state != "succeeded":
        return "not_finished"
    return "no_evidence" if artifact is None else None


_COMPARED = ("train", "distill", "evaluate")
_MESSAGES = {
    "named_twice": "is named twice; each run counts once",
    "not_a_run": "is a {kind}; only train, distill and evaluate jobs can be compared",
    "not_finished": "is {state}; only runs that succeeded can be compared",
    "no_evidence": f"left no {EVIDENCE}: it ran before there were comparisons, or could not write it; "
    "evaluate its checkpoint, job:{job_id}/best, and compare that job",
    "file_gone": f"left {EVIDENCE}, which is no longer in the storage folder; "
    "evaluate its checkpoint, job:{job_id}/best, and compare that job",
}


def _wanted(accept: str) -> Form:
    offered = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    known = [kind for kind in offered if kind in ("text/html", "application/json")]
    return "html" if known[:1] == ["text/html"] else "json"
