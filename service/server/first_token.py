"""A token made in the database itself, for the one who has no token yet to ask a server with."""

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path

from fgd_core.spec.administration import NewToken, TokenCreated, TokenView
from service.home import make_private, unnoted
from service.server.options import settings_of
from service.store import api_tokens, audit, migrate
from service.store.session import Database

_ACTOR = "command line"


def create(asked: NewToken, *, home: Path | None, database_url: str | None) -> TokenCreated:
    """Whoever can write to the database may do so. A server that runs sees the token at once.

    Args:
        home: of the control plane; its database, unless `database_url` names one.
    Raises:
        StorageError: the home cannot be written.
    """
    settings = settings_of(home=home, database_url=database_url)
    make_private(settings.home, settings.database_url, note=unnoted)
    migrate.upgrade(settings.database_url)
    return asyncio.run(_create(asked, settings.database_url))


async def _create(asked: NewToken, database_url: str) -> TokenCreated:
    database = Database(database_url)
    now = datetime.now(UTC)
    token, kept = api_tokens.new_token(
        name=asked.name,
        role=asked.role,
        project=asked.project,
        created_by=_user(),
        expires_at=asked.expires_at,
        now=now,
    )
    try:
        async with database.writing() as session:
            await api_tokens.insert_token(session, kept)
            await audit.append(session, _entry(kept, now))
    finally:
        await database.close()
    view = TokenView(
        token_id=kept.id,
        name=kept.name,
        role=asked.role,
        project=kept.project,
        created_at=now,
        created_by=kept.created_by,
        expires_at=kept.expires_at,
        revoked_at=None,
        last_used_at=None,
    )
    return TokenCreated(**dict(view), token=token)


def _entry(kept: api_tokens.NewToken, now: datetime) -> audit.Entry:
    return audit.Entry(
        at=now,
        actor=kept.created_by,
        token_id=None,
        action="create_token",
        target=f"/v1/tokens/{kept.id}",
        project=kept.project,
        status=201,
        request_id="",
        details={"name": kept.name, "role": kept.role},
    )


def _user() -> str:
    return f"{_ACTOR} (user {os.getuid()})"
