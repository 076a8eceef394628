"""Checks of tokens: which principal an API token belongs to, and the token that opens the metrics only."""

import hmac
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
from service.settings import Settings
from service.store import api_tokens
from service.store.session import Database
from service.store.tables import ApiToken
from service.store.tokens import digest

log = structlog.get_logger(__name__)

METRICS_PATH = "/metrics"
SCRAPER = Principal(name="metrics", role=Role.READ)

_CACHE_S = 3.0
"""A token that another replica revoked stays valid here for at most this long."""
_MAX_CACHED = 1000

Find = Callable[[AsyncSession], Awaitable[ApiToken | None]]


@dataclass(frozen=True, kw_only=True)
class _Cached:
    principal: Principal
    token_sha256: str
    expires_at: datetime | None
    until_s: float


class TokenCheck:
    """Finds the principal of a token, and caches it for some seconds, so that most requests need no database query."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._cache: dict[str, _Cached] = {}

    async def principal(self, token: str) -> Principal:
        """Return the principal of an API token.

        Raises:
            UnauthorizedError: the token is unknown, expired or revoked.
        """
        token_sha256 = digest(token)
        return (await self._valid(token_sha256, lambda session: api_tokens.by_digest(session, token_sha256))).principal

    async def holder(self, token_id: str) -> tuple[Principal, str]:
        """Return the principal of the token with this id, and the token's present SHA-256 in hex.

        Raises:
            UnauthorizedError: the token is unknown, expired or revoked.
        """
        # A hash contains no colon, so the two kinds of cache keys cannot collide.
        cached = await self._valid(f"id:{token_id}", lambda session: session.get(ApiToken, token_id))
        return cached.principal, cached.token_sha256

    def forget(self) -> None:
        """Empty the cache, so that a revocation takes effect at once."""
        self._cache.clear()

    async def _valid(self, key: str, find: Find) -> _Cached:
        cached = self._cache.get(key)
        if cached is None or cached.until_s <= time.monotonic():
            cached = await self._look_up(key, find)
        if cached.expires_at is not None and cached.expires_at <= self._clock():
            raise _refused(f"this API token expired at {cached.expires_at:%Y-%m-%d %H:%M} UTC")
        return cached

    async def _look_up(self, key: str, find: Find) -> _Cached:
        self._cache.pop(key, None)
        async with self._database.reading() as session:
            row = await find(session)
        # The query compares hashes: its timing could reveal a part of a hash, and no token follows from a hash.
        if row is None:
            raise _refused("this server does not know this API token")
        if row.revoked_at is not None:
            raise _refused("this API token was revoked")
        now = self._clock()
        if api_tokens.is_use_outdated(row, now):
            await self._record_use(row.id, now)
        cached = _Cached(
            principal=Principal(name=row.name, role=Role.parse(row.role), project=row.project, token_id=row.id),
            token_sha256=row.token_sha256,
            expires_at=row.expires_at,
            until_s=time.monotonic() + _CACHE_S,
        )
        if len(self._cache) >= _MAX_CACHED:
            self._cache.clear()
        self._cache[key] = cached
        return cached

    async def _record_use(self, token_id: str, now: datetime) -> None:
        try:
            async with self._database.writing() as session:
                await api_tokens.record_use(session, token_id, now)
        except FgdError as error:
            # Clients must be able to read while the disk is full.
            log.warning("token_use_not_recorded", token_id=token_id, error=str(error))


class ScrapeToken:
    """Checks the token that opens `/metrics` and nothing else, for a monitoring system."""

    def __init__(self, settings: Settings) -> None:
        self._token = settings.metrics_token
        self._file = settings.metrics_token_file

    def matches(self, token: str) -> bool:
        """Tells whether `token` is the scrape token of the settings."""
        # The file is read for each scrape: a new token is valid at once, without a restart.
        expected = self._token.get_secret_value() if self._token is not None else self._read()
        return expected is not None and hmac.compare_digest(token.encode(), expected.encode())

    def _read(self) -> str | None:
        if self._file is None:
            return None
        try:
            # An empty file opens nothing.
            return self._file.read_text(encoding="utf-8").strip() or None
        except (OSError, UnicodeDecodeError) as error:
            log.warning("metrics_token_unreadable", path=str(self._file), error=str(error))
            return None


def _refused(why: str) -> UnauthorizedError:
    return UnauthorizedError(f"{why}; send a valid one as `Authorization: Bearer …`, or ask an admin for one")
