"""What a run printed: as text, or as a stream of events that survives any interruption."""

import re
import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from starlette.responses import Response, StreamingResponse

from fgd_core.errors import FgdError, SpecError
from fgd_core.spec.views import LogNote, LogPiece
from service.api.access import Reader, visible_job
from service.api.deps import Services, ServicesDep
from service.api.streaming.log_reader import End, Note, Piece

router = APIRouter(prefix="/v1/jobs", tags=["logs"])

_EVENT_STREAM = "text/event-stream"
_TEXT = "text/plain; charset=utf-8"
_RETRY_MS = 1000
_MAX_ATTEMPT = 2**31 - 1
_MAX_OFFSET = 2**53
_EVENT_ID = re.compile(r"^(\d{1,9})-(\d{1,15})$", re.ASCII)
_PLAIN = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}


@router.get(
    "/{job_id}/logs",
    operation_id="get_logs",
    response_class=Response,
    responses={
        200: {
            "description": "`X-Log-Attempt` and `X-Log-Offset` say of what, and where in it, the text begins",
            "content": {"text/plain": {"schema": {"type": "string"}}, _EVENT_STREAM: {"schema": {"type": "string"}}},
        }
    },
)
async def get_logs(
    *,
    services: ServicesDep,
    principal: Reader,
    request: Request,
    job_id: str,
    attempt: Annotated[int | None, Query(ge=1, le=_MAX_ATTEMPT, description="The newest, if left out")] = None,
    offset: Annotated[int, Query(ge=0, le=_MAX_OFFSET, description="In bytes: what to pass over")] = 0,
    follow: Annotated[bool, Query(description="Stay until the log is complete")] = False,
    last_event_id: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """What the process of an attempt printed, as UTF-8. With `follow`, as it grows: of one attempt if that is named,
    else on through the attempts after it until the job is over. With `Accept: text/event-stream` a followed log comes
    as messages `log` with a LogPiece and `note` with a LogNote, up to one message `end`; it goes on behind
    `Last-Event-ID`."""
    async with services.database.reading() as session:
        await visible_job(session, principal, job_id)
    wanted, offset = (attempt, offset) if last_event_id is None else _place(last_event_id)
    first = await services.logs.number(job_id, wanted)
    headers = _PLAIN | {"X-Log-Attempt": str(first or 0), "X-Log-Offset": str(offset)}
    if not follow:
        printed = (await services.logs.look(job_id, first)).rest(offset) if first is not None else ()
        return StreamingResponse(printed, media_type=_TEXT, headers=headers)
    if _EVENT_STREAM in request.headers.get("accept", ""):
        messages = _messages(services, job_id, first, offset, goes_on=attempt is None)
        return EventSourceResponse(messages, headers=headers)
    text = _text(services, job_id, first, offset, goes_on=attempt is None)
    return StreamingResponse(text, media_type=_TEXT, headers=headers)


async def _messages(
    services: Services, job_id: str, number: int | None, offset: int, *, goes_on: bool
) -> AsyncIterator[bytes]:
    sent_at = time.monotonic()
    yield format_sse_event(retry=_RETRY_MS)
    async for item in _follow(services, job_id, number, offset, goes_on=goes_on):
        match item:
            case Piece():
                piece = LogPiece(attempt=item.attempt, offset=item.offset, text=item.content.decode("utf-8", "replace"))
                id_ = f"{item.attempt}-{item.offset + len(item.content)}"
                yield format_sse_event(event="log", data_str=piece.model_dump_json(), id=id_)
            case Note():
                yield format_sse_event(event="note", data_str=LogNote(text=item.text).model_dump_json())
            case End():
                yield format_sse_event(event="end", data_str="{}")
            case None:
                if time.monotonic() - sent_at < services.settings.sse_keep_alive_s:
                    continue
                yield KEEPALIVE_COMMENT
        sent_at = time.monotonic()


async def _text(
    services: Services, job_id: str, number: int | None, offset: int, *, goes_on: bool
) -> AsyncIterator[bytes]:
    async for item in _follow(services, job_id, number, offset, goes_on=goes_on):
        match item:
            case Piece():
                yield item.content
            # Who names an attempt gets its very bytes, to count them and to go on there.
            case Note() if goes_on:
                yield f"\n── {item.text} ──\n".encode()


async def _follow(
    services: Services, job_id: str, number: int | None, offset: int, *, goes_on: bool
) -> AsyncIterator[Piece | Note | End | None]:
    ends_at = time.monotonic() + services.settings.sse_lifetime_s
    try:
        async for item in services.logs.follow(job_id, number, offset, goes_on=goes_on):
            yield item
            if time.monotonic() >= ends_at:
                return
    except (FgdError, OSError):
        # The job has been deleted, or the database is away. The reader comes back, and is told which.
        return


def _place(last_event_id: str) -> tuple[int, int]:
    match = _EVENT_ID.match(last_event_id)
    if match is None:
        message = f"Last-Event-ID {last_event_id[:40]!r} is no message's id; send the last id received, or leave it out"
        raise SpecError(message, reasons=[{"loc": "header.last-event-id", "code": "bad_event_id", "message": message}])
    return int(match[1]), int(match[2])
