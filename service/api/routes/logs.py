"""Logs: what a run printed, as text or as a stream of messages that resumes after an interruption."""

import re
import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from starlette.responses import Response, StreamingResponse

from fgd_core.errors import FgdError, SpecError
from fgd_core.spec.views import LogNote, LogPiece
from service.api.access import JobId, Reader, visible_job
from service.api.deps import ServicesDep
from service.api.log_reader import End, LogChunk, LogItem

router = APIRouter(prefix="/v1/jobs", tags=["logs"])

_EVENT_STREAM = "text/event-stream"
_TEXT = "text/plain; charset=utf-8"
_RETRY_MS = 1000
_MAX_ATTEMPT = 2**31 - 1
_MAX_OFFSET = 2**53
_EVENT_ID = re.compile(r"^(\d{1,9})-(\d{1,15})$", re.ASCII)
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}


@router.get(
    "/{job_id}/logs",
    operation_id="get_logs",
    response_class=Response,
    responses={
        200: {
            "description": "The text begins in attempt `X-Log-Attempt` at byte `X-Log-Offset`",
            "content": {"text/plain": {"schema": {"type": "string"}}, _EVENT_STREAM: {"schema": {"type": "string"}}},
        }
    },
)
async def get_logs(
    *,
    services: ServicesDep,
    principal: Reader,
    request: Request,
    job_id: JobId,
    attempt: Annotated[
        int | None, Query(ge=1, le=_MAX_ATTEMPT, description="Number of the attempt; the newest by default")
    ] = None,
    offset: Annotated[int, Query(ge=0, le=_MAX_OFFSET, description="Number of bytes to skip")] = 0,
    follow: Annotated[bool, Query(description="Wait for more until the log is complete")] = False,
    last_event_id: Annotated[
        str | None, Header(max_length=200, description="`id` of the last message that the client received")
    ] = None,
) -> Response:
    """Return what the process of an attempt printed, as UTF-8.

    With `follow`, the response continues as the log grows. It ends with the attempt that `attempt` names; without
    `attempt` it continues with the later attempts until the job is over.

    With `follow` and `Accept: text/event-stream`, the log comes as server-sent events: `log` with a LogPiece, `note`
    with a LogNote, and `end` as the last one. Such a stream resumes after `Last-Event-ID`.
    """
    async with services.database.reading() as session:
        await visible_job(session, principal, job_id)
    number, offset = (attempt, offset) if last_event_id is None else _resume_from(last_event_id)
    first = await services.logs.number(job_id, number)
    headers = _HEADERS | {"X-Log-Attempt": str(first or 0), "X-Log-Offset": str(offset)}
    if not follow:
        printed = (await services.logs.snapshot(job_id, first)).rest(offset) if first is not None else ()
        return StreamingResponse(printed, media_type=_TEXT, headers=headers)
    items = services.logs.follow(job_id, first, offset, later_attempts=attempt is None)
    items = _bounded(items, services.settings.sse.lifetime_s)
    if _EVENT_STREAM in request.headers.get("accept", ""):
        return EventSourceResponse(_messages(items, services.settings.sse.keep_alive_s), headers=headers)
    # A client that names an attempt gets the exact bytes of its log, so that it can count and resume.
    return StreamingResponse(_text(items, with_notes=attempt is None), media_type=_TEXT, headers=headers)


async def _bounded(items: AsyncIterator[LogItem], lifetime_s: float) -> AsyncIterator[LogItem]:
    """Yield the items of a log until its end, or until an item comes after `lifetime_s`."""
    ends_at = time.monotonic() + lifetime_s
    try:
        async for item in items:
            yield item
            if time.monotonic() >= ends_at:
                return
    except (FgdError, OSError):
        # The job is deleted, or the database cannot be reached: the client reconnects and gets that as an answer.
        return


async def _messages(items: AsyncIterator[LogItem], keep_alive_s: float) -> AsyncIterator[bytes]:
    sent_at = time.monotonic()
    yield format_sse_event(retry=_RETRY_MS)
    async for item in items:
        match item:
            case LogChunk():
                piece = LogPiece(attempt=item.attempt, offset=item.offset, text=item.content.decode("utf-8", "replace"))
                id_ = f"{item.attempt}-{item.offset + len(item.content)}"
                yield format_sse_event(event="log", data_str=piece.model_dump_json(), id=id_)
            case LogNote():
                yield format_sse_event(event="note", data_str=item.model_dump_json())
            case End():
                yield format_sse_event(event="end", data_str="{}")
            case None:
                if time.monotonic() - sent_at < keep_alive_s:
                    continue
                yield KEEPALIVE_COMMENT
        sent_at = time.monotonic()


async def _text(items: AsyncIterator[LogItem], *, with_notes: bool) -> AsyncIterator[bytes]:
    async for item in items:
        match item:
            case LogChunk():
                yield item.content
            case LogNote() if with_notes:
                yield f"\n── {item.text} ──\n".encode()


def _resume_from(last_event_id: str) -> tuple[int, int]:
    """Return (attempt, offset) of the next byte."""
    match = _EVENT_ID.match(last_event_id)
    if match is None:
        message = (
            f"Last-Event-ID {last_event_id[:40]!r} is not the id of a message; send the last id received, or omit it"
        )
        raise SpecError(message, reasons=[{"loc": "header.last-event-id", "code": "bad_event_id", "message": message}])
    return int(match[1]), int(match[2])
