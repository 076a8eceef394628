"""Stores the API tokens of users and programs, as hashes only."""

import secrets
from datetime import datetime, timedelta

from sqlalchemy import func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import NotFoundError
from service.store.statements import upsert
from service.store.tables import ApiToken
from service.store.tokens import digest

BOOTSTRAP = "bootstrap"
"""Id and name of the token from the settings."""

_USED_EVERY_S = 60.0


def new_token(
    *, name: str, role: str, project: str | None, created_by: str, expires_at: datetime | None, now: datetime
) -> tuple[str, ApiToken]:
    """Return a new token and its row; the row contains only the token's hash."""
    token_id = secrets.token_hex(6)
    # The prefix lets scanners for leaked secrets recognise it; with 256 random bits a plain hash is enough.
    token = f"fgd_{token_id}_{secrets.token_hex(32)}"
    row = ApiToken(
        id=token_id,
        name=name,
        role=role,
        project=project,
        token_sha256=digest(token),
        created_at=now,
        created_by=created_by,
        expires_at=expires_at,
    )
    return token, row


async def insert_token(session: AsyncSession, row: ApiToken) -> None:
    """Insert the row of a new token."""
    session.add(row)
    await session.flush()


async def register_bootstrap(session: AsyncSession, token_sha256: str, now: datetime) -> None:
    """Insert the token of the settings in place of an earlier one. A revoked token stays revoked."""
    if await session.scalar(select(ApiToken.id).where(ApiToken.token_sha256 == token_sha256)) is not None:
        return
    row = {
        "id": BOOTSTRAP,
        "name": BOOTSTRAP,
        "role": "admin",
        "project": None,
        "token_sha256": token_sha256,
        "created_at": now,
        "created_by": "settings",
        "expires_at": None,
        "revoked_at": None,
    }
    # Two replicas may start at the same time.
    await upsert(session, ApiToken, [row])


async def by_digest(session: AsyncSession, token_sha256: str) -> ApiToken | None:
    """Return the token with this hash; None if there is none."""
    return await session.scalar(select(ApiToken).where(ApiToken.token_sha256 == token_sha256))


async def get(session: AsyncSession, token_id: str, project: str | None) -> ApiToken:
    """Return the token with this id.

    Args:
        project: the only project whose tokens are visible; None for all.
    Raises:
        NotFoundError: the token does not exist or belongs to another project.
    """
    row = await session.get(ApiToken, token_id)
    if row is None or (project is not None and row.project != project):
        raise NotFoundError(
            f"no token {token_id!r}; `fgd tokens` or GET /v1/tokens lists all tokens", token_id=token_id
        )
    return row


async def every(session: AsyncSession, project: str | None) -> list[ApiToken]:
    """Return all tokens, or those of one project, newest first."""
    query = select(ApiToken).order_by(ApiToken.created_at.desc(), ApiToken.id)
    return list(await session.scalars(query if project is None else query.where(ApiToken.project == project)))


async def revoke(session: AsyncSession, token_id: str, now: datetime) -> None:
    """Revoke a token for good; the time of the first revocation is kept."""
    await session.execute(
        update(ApiToken).where(ApiToken.id == token_id, ApiToken.revoked_at.is_(None)).values(revoked_at=now)
    )


async def has_admin(session: AsyncSession, now: datetime) -> bool:
    """Return whether a valid token with all rights exists."""
    query = select(func.count()).where(
        ApiToken.role == "admin",
        ApiToken.project.is_(None),
        ApiToken.revoked_at.is_(None),
        or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > now),
    )
    return bool(await session.scalar(query))


def is_use_outdated(token: ApiToken, now: datetime) -> bool:
    """Return whether `last_used_at` is old enough to be updated: one write for every read would be too slow."""
    return token.last_used_at is None or now - token.last_used_at >= timedelta(seconds=_USED_EVERY_S)


async def record_use(session: AsyncSession, token_id: str, now: datetime) -> None:
    """Set the time of a token's last use."""
    await session.execute(update(ApiToken).where(ApiToken.id == token_id).values(last_used_at=now))
