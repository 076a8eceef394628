"""A job's events: as a stream that goes on where the reader left off, or a page at a time."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from starlette.responses import Response

from fgd_core.errors import SpecError
from fgd_core.spec.views import EventPage
from service.api.deps import Services, ServicesDep
from service.jobs.lifecycle import is_over
from service.store import events, jobs

router = APIRouter(prefix="/v1/jobs", tags=["events"])

_BATCH = 500
_RETRY_MS = 1000
_MAX_SEQUENCE = 2**53

Sequence = Annotated[int | None, Query(ge=0, le=_MAX_SEQUENCE)]


@router.get(
    "/{job_id}/events",
    operation_id="get_events",
    response_model=EventPage,
    responses={
        200: {
            "description": "`id` is the event's sequence, `event` its kind, `data` a StoredEvent",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        }
    },
)
async def get_events(
    *,
    services: ServicesDep,
    request: Request,
    job_id: str,
    after: Sequence = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 500,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Server-sent events from behind `Last-Event-ID` (or `after`) until the job is over and all was sent; with
    `Accept: application/json`, one page of them."""
    cursor = after if last_event_id is None else _sequence(last_event_id)
    accept = request.headers.get("accept", "")
    if "application/json" in accept and "text/event-stream" not in accept:
        return JSONResponse((await _page(services, job_id, cursor or 0, limit)).model_dump(mode="json"))
    async with services.database.reading() as session:
        await jobs.get(session, job_id)
    # Not through FastAPI's generator routes: those stream always, and here the reader may ask for a page.
    return EventSourceResponse(
        _stream(services, job_id, cursor or 0),
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


async def _page(services: Services, job_id: str, cursor: int, limit: int) -> EventPage:
    async with services.database.reading() as session:
        job = await jobs.get(session, job_id)
        items = await events.after(session, job_id, cursor, limit=limit)
    return EventPage(items=items, last_sequence=job.last_sequence)


async def _stream(services: Services, job_id: str, cursor: int) -> AsyncIterator[bytes]:
    settings = services.settings
    ends_at = time.monotonic() + settings.sse_lifetime_s
    sent_at = time.monotonic()
    yield f"retry: {_RETRY_MS}\n\n".encode()
    with services.database.notifier.subscribe(job_id) as woken:
        while True:
            woken.clear()
            # One short session per poll: a stream that lives for hours must not hold a database connection.
            async with services.database.reading() as session:
                # The job first: whatever its last sequence was then is there to be read now.
                job = await jobs.get(session, job_id)
                batch = await events.after(session, job_id, cursor, limit=_BATCH)
            for event in batch:
                yield format_sse_event(data_str=event.model_dump_json(), event=event.kind, id=str(event.sequence))
                cursor = event.sequence
                sent_at = time.monotonic()
            if is_over(job.state) and cursor >= job.last_sequence:
                return
            if services.database.notifier.closed or time.monotonic() >= ends_at:
                return
            if len(batch) == _BATCH:
                continue
            if time.monotonic() - sent_at >= settings.sse_keep_alive_s:
                yield KEEPALIVE_COMMENT
                sent_at = time.monotonic()
            try:
                async with asyncio.timeout(min(settings.sse_poll_s, settings.sse_keep_alive_s)):
                    await woken.wait()
            except TimeoutError:
                pass


def _sequence(last_event_id: str) -> int:
    if last_event_id.isascii() and last_event_id.isdigit() and int(last_event_id[:17]) <= _MAX_SEQUENCE:
        return int(last_event_id[:17])
    message = f"Last-Event-ID {last_event_id[:40]!r} is no event's id; send the last id received, or leave it out"
    raise SpecError(message, reasons=[{"loc": "header.last-event-id", "code": "bad_event_id", "message": message}])
