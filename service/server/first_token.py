"""The first admin token of a server: registered from the settings, or created on the command line in the database.

A server that asks for tokens needs an admin who can create tokens for others.
"""

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path

from fgd_core.errors import ConflictError, StorageError
from fgd_core.spec.administration import NewToken, TokenCreated
from service.clock import Clock
from service.home import make_private, unnoted
from service.server.options import settings_of
from service.settings import Settings
from service.store import api_tokens, audit, migrate
from service.store.session import Database
from service.store.tables import ApiToken, columns
from service.store.tokens import digest

_SHORTEST = 32
_ACTOR = "command line"


async def ensure_admin_token(settings: Settings, database: Database, clock: Clock) -> None:
    """Register the admin token of the settings, and check that an admin has a token.

    Raises:
        ConflictError: the server asks for tokens, and no admin has one.
        StorageError: the file with the token cannot be read, or the token is too short.
    """
    if settings.auth == "none":
        return
    given = _given(settings)
    async with database.writing() as session:
        if given is not None:
            await api_tokens.register_bootstrap(session, digest(given), clock())
        has_admin = await api_tokens.has_admin(session, clock())
    if not has_admin:
        raise ConflictError(
            f"this server listens on {settings.host} and asks for API tokens, but no admin has a token; create one "
            f"with `fgd tokens create --name you --role admin --home {settings.home}` (or --database-url), or set "
            "FGD_ADMIN_TOKEN or FGD_ADMIN_TOKEN_FILE",
            host=settings.host,
        )


def create(request: NewToken, *, home: Path | None, database_url: str | None) -> TokenCreated:
    """Create a token in the database itself. A running server accepts the token at once.

    Everybody who can write to the database can do this.

    Args:
        home: of the control plane; its database is used unless `database_url` is given.
    Raises:
        StorageError: the home cannot be written.
    """
    settings = settings_of({"home": home, "database.url": database_url})
    make_private(settings.home, settings.database.url, note=unnoted)
    migrate.upgrade(settings.database.url)
    return asyncio.run(_create(request, settings.database.url))


def _given(settings: Settings) -> str | None:
    if settings.admin_token is not None:
        return settings.admin_token.get_secret_value()
    file = settings.admin_token_file
    if file is None:
        return None
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as cause:
        raise StorageError(f"FGD_ADMIN_TOKEN_FILE {file} cannot be read: {cause}", path=str(file)) from cause
    if len(token) < _SHORTEST:
        raise StorageError(
            f"FGD_ADMIN_TOKEN_FILE {file} holds no token of at least {_SHORTEST} characters; "
            "`openssl rand -hex 32` makes one",
            path=str(file),
        )
    return token


async def _create(request: NewToken, database_url: str) -> TokenCreated:
    database = Database(database_url)
    now = datetime.now(UTC)
    token, stored = api_tokens.new_token(
        name=request.name,
        role=request.role,
        project=request.project,
        created_by=f"{_ACTOR} (user {os.getuid()})",
        expires_at=request.expires_at,
        now=now,
    )
    try:
        async with database.writing() as session:
            await api_tokens.insert_token(session, stored)
            await audit.append(session, _audit_entry(stored, now))
    finally:
        await database.close()
    return TokenCreated.model_validate(columns(stored) | {"token_id": stored.id, "token": token})


def _audit_entry(stored: ApiToken, now: datetime) -> audit.Entry:
    return audit.Entry(
        at=now,
        actor=stored.created_by,
        token_id=None,
        action="create_token",
        target=f"/v1/tokens/{stored.id}",
        project=stored.project,
        status=201,
        request_id="",
        details={"name": stored.name, "role": stored.role},
    )
