"""Health: whether the process is alive, and whether it can accept jobs."""

import asyncio
from collections.abc import Awaitable
from importlib.metadata import version

import structlog
from fastapi import APIRouter, Response

from fgd_core.errors import ClusterError, FgdError, StorageError
from fgd_core.spec.views import Ready
from service.api.deps import Services, ServicesDep
from service.storage import threads
from service.store import migrate

router = APIRouter(tags=["health"])

log = structlog.get_logger(__name__)

_TIMEOUT_S = 2.0


@router.get("/livez", operation_id="live")
async def live() -> dict[str, bool]:
    """Return 200 while the process can answer requests."""
    return {"live": True}


@router.get("/readyz", operation_id="ready", responses={503: {"model": Ready}})
async def ready(services: ServicesDep, response: Response) -> Ready:
    """Return 200 while the server can accept jobs, and 503 if the database cannot be used.

    Without Ray or the storage the server still accepts jobs; they wait until both are back.
    """
    (database, revision), ray, storage = await asyncio.gather(
        _database(services), _state(services.cluster.version()), _state(threads.run(services.storage.ping))
    )
    if database != "ok":
        response.status_code = 503
    return Ready(
        ready=database == "ok",
        database=database,
        schema_revision=revision,
        storage=storage,
        ray=ray,
        version=version("fgd"),
    )


async def _database(services: Services) -> tuple[str, str | None]:
    try:
        async with services.database.reading() as session:
            revision = await migrate.current_revision(session)
            fits = await migrate.fits(session)
    except FgdError as error:
        log.warning("database_unreachable", error=str(error))
        return "unreachable", None
    return ("ok" if fits else f"at revision {revision}; {migrate.head_revision()} is required"), revision


async def _state(answer: Awaitable[str | None]) -> str:
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await answer or "ok"
    except (ClusterError, StorageError) as error:
        return f"unreachable: {error.message}"
    except TimeoutError:
        return f"unreachable: no answer within {_TIMEOUT_S:g} s"
