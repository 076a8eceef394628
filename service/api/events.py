"""Events of one job or of all: as a stream that goes on where the reader left off, or a page at a time."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse
from pydantic import StringConstraints
from starlette.responses import Response

from fgd_core.errors import SpecError
from fgd_core.spec.views import AllEventsPage, EventPage
from service.api import cursors
from service.api.access import Reader, visible_job
from service.api.deps import Services, ServicesDep
from service.store import all_events, events
from service.store.all_events import Filter, Position

router = APIRouter(tags=["events"])

_MAX_SEQUENCE = 2**31 - 1

_STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def _described(id_: str) -> dict[int | str, dict[str, Any]]:
    description = f"`id` is {id_}, `event` the event's kind, `data` a StoredEvent"
    return {200: {"description": description, "content": {"text/event-stream": {"schema": {"type": "string"}}}}}


Limit = Annotated[int, Query(ge=1, le=1000)]
Words = Annotated[list[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]] | None, Query()]
LastEventId = Annotated[str | None, Header(max_length=200)]


@router.get(
    "/v1/jobs/{job_id}/events",
    operation_id="get_events",
    response_model=EventPage,
    responses=_described("the event's sequence"),
)
async def get_events(
    *,
    services: ServicesDep,
    principal: Reader,
    request: Request,
    job_id: str,
    after: Annotated[int | None, Query(ge=0, le=_MAX_SEQUENCE)] = None,
    limit: Limit = 500,
    last_event_id: LastEventId = None,
) -> Response:
    """Server-sent events from behind `Last-Event-ID` (or `after`) until the job is over and all was sent; with
    `Accept: application/json`, one page of them."""
    cursor = (after or 0) if last_event_id is None else _sequence(last_event_id)
    async with services.database.reading() as session:
        job = await visible_job(session, principal, job_id)
        if _wants_page(request):
            items = await events.after(session, job_id, cursor, limit=limit)
            page = EventPage(items=items, last_sequence=job.last_sequence)
            return JSONResponse(page.model_dump(mode="json"))
    # Not through FastAPI's generator routes: those stream always, and here the reader may ask for a page.
    return EventSourceResponse(services.streams.of_job(job_id, cursor), headers=_STREAM_HEADERS)


@router.get(
    "/v1/events",
    operation_id="stream_events",
    response_model=AllEventsPage,
    responses=_described("a cursor"),
)
async def stream_events(
    *,
    services: ServicesDep,
    principal: Reader,
    request: Request,
    job_id: Words = None,
    project: Words = None,
    kind: Words = None,
    after: Annotated[str | None, Query(max_length=200, description="A cursor, or 0 for the beginning")] = None,
    limit: Limit = 500,
    last_event_id: LastEventId = None,
) -> Response:
    """Server-sent events of all jobs that the token sees, those of each job in order, from behind `Last-Event-ID` (or
    `after`), else from now on; with `Accept: application/json`, one page of them. `job_id`, `project` and `kind` may be
    repeated."""
    wanted = Filter(job_ids=job_id or (), projects=project or (), kinds=kind or (), only_project=principal.project)
    position = await _position(services, after, last_event_id)
    if not _wants_page(request):
        return EventSourceResponse(services.streams.of_all(position, wanted), headers=_STREAM_HEADERS)
    async with services.database.reading() as session:
        begin = position or await all_events.now(session)
        found = await all_events.since(session, begin, wanted, limit=limit)
    page = AllEventsPage(
        items=[placed.event for placed in found.events], next_cursor=cursors.encode_position(found.end)
    )
    return JSONResponse(page.model_dump(mode="json"))


async def _position(services: Services, after: str | None, last_event_id: str | None) -> Position | None:
    if after is None and last_event_id is None:
        return None
    if last_event_id is not None:
        loc, position = "header.last-event-id", cursors.decode_position(last_event_id, "header.last-event-id")
    else:
        assert after is not None
        loc, position = "query.after", cursors.decode_position(after, "query.after")
    async with services.database.reading() as session:
        if await all_events.is_ahead(session, position):
            raise cursors.invalid_position(loc, last_event_id or after or "")
    return position


def _wants_page(request: Request) -> bool:
    accept = request.headers.get("accept", "")
    return "application/json" in accept and "text/event-stream" not in accept


def _sequence(last_event_id: str) -> int:
    if last_event_id.isascii() and last_event_id.isdigit() and int(last_event_id[:17]) <= _MAX_SEQUENCE:
        return int(last_event_id[:17])
    message = f"Last-Event-ID {last_event_id[:40]!r} is no event's id; send the last id received, or leave it out"
    raise SpecError(message, reasons=[{"loc": "header.last-event-id", "code": "bad_event_id", "message": message}])
