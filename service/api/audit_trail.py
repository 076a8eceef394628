"""The audit trail: a row in the database for each change that a person requests, with the status of the answer."""

import asyncio
from datetime import datetime

import structlog
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fgd_core.errors import FgdError
from service.api import audit_notes, request_log
from service.api.access import Principal
from service.api.body_limits import READING
from service.clock import Clock
from service.store import audit
from service.store.session import Database

log = structlog.get_logger(__name__)


class AuditTrail:
    """Records each request that changes something, after the client has its answer.

    It does not record requests without a known principal (401), nor reports of runs: a run's events are its trail.
    """

    def __init__(self, app: ASGIApp, database: Database, clock: Clock) -> None:
        self._app = app
        self._database = database
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in READING:
            await self._app(scope, receive, send)
            return
        note = audit_notes.begin()
        answer: Message | None = None

        async def send_and_keep(message: Message) -> None:
            nonlocal answer
            if message["type"] == "http.response.start":
                answer = message
            await send(message)

        try:
            await self._app(scope, receive, send_and_keep)
        finally:
            # Also when the client disconnected before the answer: the change may have happened.
            principal: Principal | None = scope.get("state", {}).get("principal")
            is_known = "route" in scope and not note.is_left_out
            if principal is not None and is_known and answer is not None:
                await asyncio.shield(self._write(_entry(scope, answer, principal, note, self._clock())))

    async def _write(self, entry: audit.Entry) -> None:
        try:
            await self._database.insert_together(lambda session: audit.append(session, entry))
        except (FgdError, SQLAlchemyError, OSError) as error:
            log.error("audit_not_written", **_loggable(entry), error=str(error))


def _entry(scope: Scope, answer: Message, principal: Principal, note: audit_notes.Note, now: datetime) -> audit.Entry:
    headers = Headers(raw=answer["headers"])
    # The target of a request that created something is the new resource.
    target = headers.get("Location") or scope["path"]
    return audit.Entry(
        at=now,
        actor=principal.name,
        token_id=principal.token_id,
        action=str(scope["route"].operation_id),
        target=target.replace("\x00", "")[:300],
        project=note.project or principal.project,
        status=answer["status"],
        request_id=headers.get(request_log.HEADER, ""),
        details=note.details or None,
    )


def _loggable(entry: audit.Entry) -> dict[str, object]:
    return {name: value for name, value in vars(entry).items() if name != "at"}
