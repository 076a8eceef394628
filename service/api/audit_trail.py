"""Every change by a person leaves a row, with what it was answered."""

import asyncio
from datetime import datetime

import structlog
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fgd_core.errors import FgdError
from service.api import notes, request_ids
from service.api.access import Principal
from service.clock import Clock
from service.store import audit
from service.store.session import Database

log = structlog.get_logger(__name__)

_READING = frozenset({"GET", "HEAD", "OPTIONS"})


class AuditTrail:
    """Stands around all else and writes when the answer is sent, so that nobody waits for it.

    What nobody is known to have asked for (401) is not written, nor what runs report: their events are their trail.
    """

    def __init__(self, app: ASGIApp, database: Database, clock: Clock) -> None:
        self._app = app
        self._database = database
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in _READING:
            await self._app(scope, receive, send)
            return
        note = notes.begin()
        answered: Message | None = None

        async def send_and_look(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = message
            await send(message)

        try:
            await self._app(scope, receive, send_and_look)
        finally:
            # Also where the client hung up before it was answered: what was done was done.
            principal: Principal | None = scope.get("state", {}).get("principal")
            if principal is not None and "route" in scope and answered is not None:
                await asyncio.shield(self._write(_entry(scope, answered, principal, note, self._clock())))

    async def _write(self, entry: audit.Entry) -> None:
        try:
            await self._database.insert_together(lambda session: audit.append(session, entry))
        except (FgdError, SQLAlchemyError, OSError) as error:
            log.error("audit_not_written", **_plain(entry), error=str(error))


def _entry(scope: Scope, answered: Message, principal: Principal, note: notes.Note, now: datetime) -> audit.Entry:
    headers = Headers(raw=answered["headers"])
    # A request that made something is about what it made.
    target = headers.get("Location") or scope["path"]
    return audit.Entry(
        at=now,
        actor=principal.name,
        token_id=principal.token_id,
        action=str(scope["route"].operation_id),
        target=target.replace("\x00", "")[:300],
        project=note.project or principal.project,
        status=answered["status"],
        request_id=headers.get(request_ids.HEADER, ""),
        details=note.details or None,
    )


def _plain(entry: audit.Entry) -> dict[str, object]:
    return {name: value for name, value in vars(entry).items() if name != "at"}
