"""From an API token to who it stands for."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import FgdError
from service.api.access import Principal, Role
from service.clock import Clock
from service.errors import UnauthorizedError
from service.store import api_tokens
from service.store.session import Database
from service.store.tables import ApiToken
from service.store.tokens import digest

log = structlog.get_logger(__name__)

_KNOWN_FOR_S = 3.0
"""How long another replica's revocation may go unseen."""
_MAX_KNOWN = 1000

Find = Callable[[AsyncSession], Awaitable[ApiToken | None]]


@dataclass(frozen=True, kw_only=True)
class _Known:
    principal: Principal
    token_sha256: str
    expires_at: datetime | None
    until_s: float


class TokenCheck:
    """Remembers tokens for some seconds, so that most requests cost no look into the database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._known: dict[str, _Known] = {}

    async def principal(self, token: str) -> Principal:
        """Raises UnauthorizedError: unknown, expired or revoked."""
        token_sha256 = digest(token)
        return (await self._valid(token_sha256, lambda session: api_tokens.by_digest(session, token_sha256))).principal

    async def holder(self, token_id: str) -> tuple[Principal, str]:
        """Who the token with this id stands for, and the hash of it as it is now.

        Raises:
            UnauthorizedError: unknown, expired or revoked.
        """
        # A hash has no colon in it, so that the two sorts of keys never meet.
        known = await self._valid(f"id:{token_id}", lambda session: session.get(ApiToken, token_id))
        return known.principal, known.token_sha256

    def forget(self) -> None:
        """See a revocation at once."""
        self._known.clear()

    async def _valid(self, key: str, find: Find) -> _Known:
        known = self._known.get(key)
        if known is None or known.until_s <= time.monotonic():
            known = await self._look_up(key, find)
        if known.expires_at is not None and known.expires_at <= self._clock():
            raise _refused(f"this API token expired at {known.expires_at:%Y-%m-%d %H:%M} UTC")
        return known

    async def _look_up(self, key: str, find: Find) -> _Known:
        self._known.pop(key, None)
        async with self._database.reading() as session:
            row = await find(session)
        # Found by its hash: how long an index takes tells of the hash at most, and nothing leads from there to a token.
        if row is None:
            raise _refused("this API token is not known here")
        if row.revoked_at is not None:
            raise _refused("this API token was revoked")
        now = self._clock()
        if api_tokens.is_use_outdated(row, now):
            await self._note_use(row.id, now)
        known = _Known(
            principal=Principal(name=row.name, role=Role.named(row.role), project=row.project, token_id=row.id),
            token_sha256=row.token_sha256,
            expires_at=row.expires_at,
            until_s=time.monotonic() + _KNOWN_FOR_S,
        )
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[key] = known
        return known

    async def _note_use(self, token_id: str, now: datetime) -> None:
        try:
            async with self._database.writing() as session:
                await api_tokens.record_use(session, token_id, now)
        except FgdError as error:
            # A full disk must not keep anybody from reading.
            log.warning("token_use_not_noted", token_id=token_id, error=str(error))


def _refused(why: str) -> UnauthorizedError:
    return UnauthorizedError(f"{why}; send one that is valid as `Authorization: Bearer …`, or ask an admin for one")
