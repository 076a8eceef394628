"""Events of one job or of all jobs: as a stream that resumes where its client stopped, or page by page."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse
from pydantic import StringConstraints
from starlette.responses import Response

from fgd_core.errors import SpecError
from fgd_core.spec.views import AllEventsPage, EventPage
from service.api import cursors
from service.api.access import JobId, Reader, visible_job
from service.api.deps import Services, ServicesDep
from service.api.problems import Responses
from service.store import all_events, events
from service.store.all_events import Filter, Position

router = APIRouter(tags=["events"])

_MAX_SEQUENCE = 2**31 - 1

_STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def _responses(id_: str) -> Responses:
    description = f"A stream of messages: `id` is {id_}, `event` is the event's kind, `data` is a StoredEvent"
    return {200: {"description": description, "content": {"text/event-stream": {"schema": {"type": "string"}}}}}


Limit = Annotated[int, Query(ge=1, le=1000, description="Largest number of events on a page")]
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
LastEventId = Annotated[
    str | None, Header(max_length=200, description="`id` of the last message that the client received")
]


@router.get(
    "/v1/jobs/{job_id}/events",
    operation_id="get_events",
    response_model=EventPage,
    responses=_responses("the event's sequence"),
)
async def get_events(
    *,
    services: ServicesDep,
    principal: Reader,
    request: Request,
    job_id: JobId,
    after: Annotated[int | None, Query(ge=0, le=_MAX_SEQUENCE, description="Only events after this sequence")] = None,
    limit: Limit = 500,
    last_event_id: LastEventId = None,
) -> Response:
    """Stream the events of a job as server-sent events, until the job is over and all events are sent.

    The stream begins after `Last-Event-ID`, or else after `after`. With `Accept: application/json`, the response is one
    page of events instead.
    """
    cursor = (after or 0) if last_event_id is None else _sequence(last_event_id)
    async with services.database.reading() as session:
        job = await visible_job(session, principal, job_id)
        if _wants_page(request):
            items = await events.after(session, job_id, cursor, limit=limit)
            page = EventPage(items=items, last_sequence=job.last_sequence)
            return JSONResponse(page.model_dump(mode="json"))
    # Not a generator route of FastAPI: such a route always streams, and this one also returns pages.
    return EventSourceResponse(services.streams.of_job(job_id, cursor), headers=_STREAM_HEADERS)


@router.get(
    "/v1/events",
    operation_id="stream_events",
    response_model=AllEventsPage,
    responses=_responses("a cursor"),
)
async def stream_events(
    *,
    services: ServicesDep,
    principal: Reader,
    request: Request,
    job_id: Annotated[list[Word] | None, Query(description="Only these jobs; may be repeated")] = None,
    project: Annotated[list[Word] | None, Query(description="Only these projects; may be repeated")] = None,
    kind: Annotated[
        list[Word] | None,
        Query(description="Only these kinds of events; may be repeated", examples=[["state_changed"]]),
    ] = None,
    after: Annotated[
        str | None,
        Query(max_length=200, description="Only events after this cursor; 0 for all events from the beginning"),
    ] = None,
    limit: Limit = 500,
    last_event_id: LastEventId = None,
) -> Response:
    """Stream the events of all jobs that the token may see as server-sent events, without end.

    The events of each job are in order. The stream begins after `Last-Event-ID`, or else after `after`; without both it
    sends new events only. With `Accept: application/json`, the response is one page of events instead. It examines
    a limited number of events, so it may have fewer than `limit` although more follow `next_cursor`.
    """
    wanted = Filter(job_ids=job_id or (), projects=project or (), kinds=kind or (), only_project=principal.project)
    position = await _position(services, after, last_event_id)
    if not _wants_page(request):
        return EventSourceResponse(services.streams.of_all(position, wanted), headers=_STREAM_HEADERS)
    async with services.database.reading() as session:
        begin = position or await all_events.now(session)
        found = await all_events.since(session, begin, wanted, limit=limit)
    next_cursor = cursors.encode_position(found.end)
    items = [placed.event for placed in found.events]
    page = AllEventsPage(items=items, next_cursor=next_cursor, has_more=found.has_more)
    return JSONResponse(page.model_dump(mode="json"))


async def _position(services: Services, after: str | None, last_event_id: str | None) -> Position | None:
    cursor, loc = (after, "query.after") if last_event_id is None else (last_event_id, "header.last-event-id")
    if cursor is None:
        return None
    position = cursors.decode_position(cursor, loc)
    async with services.database.reading() as session:
        if await all_events.is_ahead(session, position):
            raise cursors.invalid_position(loc, cursor)
    return position


def _wants_page(request: Request) -> bool:
    accept = request.headers.get("accept", "")
    return "application/json" in accept and "text/event-stream" not in accept


def _sequence(last_event_id: str) -> int:
    if last_event_id.isascii() and last_event_id.isdigit() and int(last_event_id[:17]) <= _MAX_SEQUENCE:
        return int(last_event_id[:17])
    message = f"Last-Event-ID {last_event_id[:40]!r} is not the id of an event; send the last id received, or omit it"
    raise SpecError(message, reasons=[{"loc": "header.last-event-id", "code": "bad_event_id", "message": message}])
