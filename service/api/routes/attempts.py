"""Attempts, the API of runs: claim a token, fetch the assignment, report events, receive the control signal."""

import hmac
from collections.abc import Sequence
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Path, Query, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import FgdError
from fgd_core.spec.attempts import Assignment, BatchReply, Claim, Claimed, EventBatch
from fgd_core.spec.jobs import JOB_SPEC
from fgd_core.spec.paths import with_fields
from fgd_core.spec.study_runs import EndedStudyRun
from fgd_core.spec.trials import StudyLog
from service.api import responses
from service.api.deps import Services, ServicesDep
from service.errors import AlreadyClaimedError, UnauthorizedError
from service.storage import paths
from service.store import artifacts, attempts, jobs, recording, runs, studies, study_runs
from service.store.statements import read_consistently
from service.store.study_runs import StudyRun
from service.store.tables import Artifact, Attempt, Job
from service.store.tokens import digest

router = APIRouter(prefix="/v1/attempts", tags=["attempts"])

log = structlog.get_logger(__name__)

_bearer = HTTPBearer(auto_error=False, description="The token of the attempt, from `claim_attempt`")


async def _token(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> str:
    if credentials is None:
        raise UnauthorizedError("only a run may use this path; send the attempt's token as `Authorization: Bearer …`")
    return credentials.credentials


Token = Annotated[str, Depends(_token)]
AttemptId = Annotated[str, Path(description="The id of an attempt", examples=["3f9c0a1b7d2e-1"])]


@router.post("/{attempt_id}/claim", operation_id="claim_attempt")
async def claim_attempt(
    services: ServicesDep, code: Token, attempt_id: AttemptId, claim: Claim, response: Response
) -> Claimed:
    """Return the attempt's token and its assignment, in exchange for its claim code.

    The claim code is sent as `Authorization: Bearer <claim code>`. The first claim decides: only a request with the
    same secret gets the same answer again, so a run can repeat a claim whose answer was lost. Any other secret is
    refused (409, `already_claimed`).
    """
    mint = services.mint()
    if not hmac.compare_digest(code.encode(), mint.claim(attempt_id).encode()):
        raise UnauthorizedError(
            "the claim code is not valid for this attempt; control planes that share a database need the same "
            "FGD_SECRET",
            attempt_id=attempt_id,
        )
    token = mint.token(attempt_id)
    async with services.database.writing() as session:
        job, attempt = await current(session, attempt_id, token)
        if not await attempts.claim(session, attempt_id, digest(claim.secret)):
            log.warning(
                "claimed_twice",
                attempt_id=attempt_id,
                meaning="somebody else has read the claim code from the environment of this run",
            )
            raise AlreadyClaimedError(
                f"attempt {attempt_id} was already claimed with another secret: somebody else has read its claim code "
                "from the environment of its Ray job; check who can reach the cluster",
                attempt_id=attempt_id,
            )
        assignment = await _assignment(services, session, job, attempt)
    response.headers["Cache-Control"] = "no-store"
    return Claimed(token=token, assignment=assignment)


@router.get("/{attempt_id}", operation_id="get_assignment")
async def get_assignment(services: ServicesDep, token: Token, attempt_id: AttemptId) -> Assignment:
    """Return everything that the run needs to begin: its spec, its folder and the checkpoints that the spec names."""
    async with services.database.reading() as session:
        job, attempt = await current(session, attempt_id, token)
        return await _assignment(services, session, job, attempt)


@router.post("/{attempt_id}/events", operation_id="report_events", response_model=BatchReply)
async def report_events(services: ServicesDep, token: Token, attempt_id: AttemptId, batch: EventBatch) -> Response:
    """Store a batch of events, and return the control signal for the run.

    Repeating a batch has no effect: events are identified by attempt, stream and sequence. A batch without events is a
    heartbeat. An attempt that has been replaced, or whose job is over, gets 409 `stale_attempt` and must stop.
    """
    now = services.clock()
    try:
        recorded = await recording.report(services.database, attempt_id, token, batch, now=now)
    except FgdError as error:
        services.metrics.refuses(error)
        raise
    services.metrics.accepted(recorded, now)
    if recorded.run_ended:
        services.wake_dispatcher.set()
    # Serialised here: FastAPI would validate our own answer again.
    return Response(recorded.reply.model_dump_json(), media_type="application/json")


@router.get("/{attempt_id}/study", operation_id="get_study", response_model=StudyLog)
async def get_study(
    services: ServicesDep,
    token: Token,
    attempt_id: AttemptId,
    after: Annotated[int, Query(ge=0, le=2**31 - 1, description="Return only events after this sequence")] = 0,
) -> Response:
    """Return what a sweep continues from: the events of its trials, and the requests that users made meanwhile."""
    async with services.database.reading() as session:
        await read_consistently(session)
        job, attempt = await current(session, attempt_id, token, lock=False)
        log = await studies.read(session, job, attempt, after=after)
    return await responses.json_response(log, "entries")


async def current(session: AsyncSession, attempt_id: str, token: str, *, lock: bool = True) -> tuple[Job, Attempt]:
    """Return the job and the attempt of a valid token, with the job's row locked if `lock` is set.

    Raises:
        UnauthorizedError: the token does not belong to this attempt.
        StaleAttemptError: the attempt has been replaced, or its job is over.
    """
    job, attempt = await runs.authenticate(session, attempt_id, token, lock=lock)
    runs.check_may_write(runs.Run.of(job, attempt))
    return job, attempt


async def _assignment(services: Services, session: AsyncSession, job: Job, attempt: Attempt) -> Assignment:
    checkpoints = {}
    for needed in await jobs.dependencies(session, job.id):
        artifact = await artifacts.get(session, needed.needs_job_id, needed.artifact)
        if artifact is not None and _is_within_reach(services, artifact):
            checkpoints[f"job:{needed.needs_job_id}/{needed.artifact.removesuffix('.pt')}"] = artifact.uri
    return Assignment(
        attempt_id=attempt.id,
        number=attempt.number,
        job_id=job.id,
        spec=JOB_SPEC.validate_python(with_fields(job.spec, attempt.spec_changes or {})),
        job_uri=_job_uri(services, job),
        checkpoints=checkpoints,
        study_runs=await _ended_runs(session, job) if job.kind == "study" else [],
        heartbeat_s=services.settings.heartbeat_s,
    )


async def _ended_runs(session: AsyncSession, study: Job) -> list[EndedStudyRun]:
    ended = await study_runs.of_study(session, study.id)
    tried = await attempts.of_jobs(session, [run.job.id for run in ended])
    return [_ended(run, tried.get(run.job.id, [])) for run in ended]


def _ended(run: StudyRun, tried: Sequence[Attempt]) -> EndedStudyRun:
    changes = (tried[-1].spec_changes or {}) if tried else {}
    left = {"result": run.job.result, "error": run.job.error, "changes": changes}
    return EndedStudyRun.model_validate(dict(study_runs.view(run)) | left)


def _job_uri(services: Services, job: Job) -> str | None:
    if services.settings.run_files == "through_server":
        return None
    return services.storage.uri_of(paths.job_folder(job.id))


def _is_within_reach(services: Services, artifact: Artifact) -> bool:
    """Tells whether the run can get the file: with a shared folder always, through the server if a job uploaded it."""
    if services.settings.run_files == "shared":
        return True
    return paths.of_job(services.storage, artifact.job_id, artifact.uri) is not None
