"""Comparisons: two groups of finished runs, and which of their differences are statistically significant."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from fastapi import APIRouter, Header, Query, Response
from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import NotComparableError, NotFoundError
from fgd_core.spec import study_state
from fgd_core.spec.comparison import EVIDENCE, Comparison
from fgd_core.spec.events import ArtifactSaved
from service.api import responses
from service.api.access import Principal, Reader, visible_job
from service.api.deps import ServicesDep
from service.compare.request import CompareRequest, RunFile
from service.jobs.lifecycle import is_over
from service.reports.comparison_page import render_comparison
from service.storage import paths, threads
from service.storage.base import Storage
from service.storage.errors import FileGoneError
from service.store import artifacts, events
from service.store.statements import read_consistently
from service.store.tables import Artifact

router = APIRouter(prefix="/v1/compare", tags=["report"])

Form = Literal["json", "html"]
MAX_RUNS = 20
"""Runs per side."""
MAX_BYTES = 1 << 30
"""Size of the file of one run; an evaluation takes far less."""

_FORMS: Mapping[str, Form] = {"text/html": "html", "application/json": "json"}
_REFERENCE_HELP = "Id of a job, or `<id>/trial/<number>` of a sweep; repeat it for runs with other seeds"


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
    first: Annotated[list[str], Query(alias="a", min_length=1, max_length=MAX_RUNS, description=_REFERENCE_HELP)],
    second: Annotated[list[str], Query(alias="b", min_length=1, max_length=MAX_RUNS, description=_REFERENCE_HELP)],
    resamples: Annotated[int, Query(ge=100, le=10_000, description="Number of bootstrap resamples")] = 1000,
    random_seed: Annotated[int, Query(alias="seed", ge=0, lt=2**32, description="Seed of the bootstrap")] = 0,
    form: Annotated[Form | None, Query(alias="format", description="Takes precedence over `Accept`")] = None,
    accept: Annotated[str, Header(description="Without `format`, the first known media type decides")] = "*/*",
) -> Response:
    """Compare the runs `a` with the runs `b`: AP in total, per object size and per class, with confidence intervals.

    Several ids on one side are runs of the same configuration with different seeds. With two or more runs on each side,
    the verdict comes from Welch's t-test; otherwise from a paired bootstrap over the validation images with `resamples`
    resamples. Each run must be a finished training, distillation, evaluation or trial of a sweep
    (`<id>/trial/<number>`). All runs must be evaluated on the same images and classes.
    """
    named = [*first, *second]
    async with services.database.reading() as session:
        await read_consistently(session)
        runs = {reference: await _found(session, principal, reference) for reference in dict.fromkeys(named)}
    # The comparing process has no access to the storage; it gets files on this machine's disk.
    copies = ExitStack()
    try:
        files = await threads.run(_files, named, runs, services.storage, copies)
        request = CompareRequest(
            first=files[: len(first)], second=files[len(first) :], resamples=resamples, random_seed=random_seed
        )
        comparison = await services.statistics.compare(request)
    finally:
        copies.close()
    if (form or responses.preferred(accept, _FORMS, default="json")) == "html":
        page = await asyncio.to_thread(render_comparison, comparison, generated_at=services.clock())
        return responses.html_page(page)
    return Response(comparison.model_dump_json(), media_type="application/json")


class _Run(NamedTuple):
    """A job or a trial, and the evidence that it has stored for comparisons."""

    job_id: str
    trial: int | None
    name: str
    kind: str
    state: str
    seed: int
    evidence: Artifact | ArtifactSaved | None


async def _found(session: AsyncSession, principal: Principal, reference: str) -> _Run:
    parts = _REFERENCE.fullmatch(reference)
    if parts is None:
        raise NotFoundError(f"there is no job {reference!r}; send <id> of a job, or <id>/trial/<number> of a sweep")
    job = await visible_job(session, principal, parts["job_id"])
    seed = int(job.spec.get("seed", 0))
    if parts["trial"] is None:
        evidence = await artifacts.get(session, job.id, EVIDENCE)
        return _Run(job.id, None, job.name, job.kind, job.state, seed, evidence)
    number = int(parts["trial"])
    stored = await events.every(session, job.id, study_state.KINDS)
    trials = await asyncio.to_thread(study_state.fold_trials, stored, ["maximize"], is_over=is_over(job.state))
    trial = next((each for each in trials if each.trial == number), None)
    if trial is None:
        raise NotFoundError(f"job {job.id} has no trial {number}; it has {len(trials)} trials", job_id=job.id)
    saved = await artifacts.of_trial(session, job.id, number, EVIDENCE)
    kind = str(job.spec["base"]["kind"])
    return _Run(job.id, number, f"{job.name} trial {number}", kind, trial.state, trial.seed, saved)


def _files(named: Sequence[str], runs: Mapping[str, _Run], storage: Storage, copies: ExitStack) -> list[RunFile]:
    """Return the file of each named run, in this order. Blocks.

    Raises:
        NotComparableError: holds a reason for each run that cannot be compared.
    """
    files, reasons = list[RunFile](), list[JsonValue]()
    for index, reference in enumerate(named):
        run = runs[reference]
        path = _local(run, storage, copies)
        is_repeated = any((runs[each].job_id, runs[each].trial) == (run.job_id, run.trial) for each in named[:index])
        problem = "named_twice" if is_repeated else _problem(run)
        if problem is not None or run.evidence is None or path is None:
            code = problem or "file_gone"
            message = _MESSAGES[code].format(kind=run.kind, state=run.state, job_id=run.job_id)
            reasons.append({"loc": reference, "code": code, "message": f"{run.name} {message}"})
            continue
        files.append(
            RunFile(
                job_id=run.job_id,
                trial=run.trial,
                name=run.name,
                kind=run.kind,
                seed=run.seed,
                path=path,
                sha256=run.evidence.sha256,
            )
        )
    if reasons:
        raise NotComparableError("these runs cannot be compared; see the reason for each run", reasons=reasons)
    return files


def _local(run: _Run, storage: Storage, copies: ExitStack) -> Path | None:
    """Return a run's evidence on this machine's disk, valid until `copies` is closed; None if the file is gone."""
    path = paths.of_job(storage, run.job_id, run.evidence.uri) if run.evidence is not None else None
    if path is None:
        return None
    try:
        return copies.enter_context(storage.local_copy(path, max_bytes=MAX_BYTES))
    except FileGoneError:
        return None


def _problem(run: _Run) -> str | None:
    if run.kind == "sweep":
        return "sweep"
    if run.state not in ("succeeded", "completed"):
        return "not_finished"
    return "no_evidence" if run.evidence is None else None


_REFERENCE = re.compile(r"(?:job:)?(?P<job_id>[^/]*)(?:/trial/(?P<trial>\d{1,9}))?")
_MESSAGES = {
    "named_twice": "is named twice; name each run once",
    "sweep": "is a sweep; compare its trials: {job_id}/trial/<number>",
    "not_finished": "is {state}; wait until it has succeeded, because only such runs can be compared",
    "no_evidence": f"has stored no {EVIDENCE}: it ran with a version without comparisons, or could not write the file; "
    "evaluate its best checkpoint, and compare that job",
    "file_gone": f"has stored {EVIDENCE}, but the storage no longer holds the file; "
    "evaluate its best checkpoint, and compare that job",
}
