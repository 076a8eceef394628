"""The tokens that people and their programs come with: stored as hashes only."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import NotFoundError
from service.store.statements import upsert
from service.store.tables import ApiToken
from service.store.tokens import digest

BOOTSTRAP = "bootstrap"
"""Id and name of the token that comes from the settings."""

_USED_EVERY_S = 60.0


@dataclass(frozen=True, kw_only=True)
class NewToken:
    id: str
    name: str
    role: str
    project: str | None
    token_sha256: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None


def new_token(
    *, name: str, role: str, project: str | None, created_by: str, expires_at: datetime | None, now: datetime
) -> tuple[str, NewToken]:
    """A fresh token, and what is kept of it."""
    token_id = secrets.token_hex(6)
    # Recognisable by those who scan for leaked secrets; 256 random bits, so that a plain hash is enough.
    token = f"fgd_{token_id}_{secrets.token_hex(32)}"
    kept = NewToken(
        id=token_id,
        name=name,
        role=role,
        project=project,
        token_sha256=digest(token),
        created_at=now,
        created_by=created_by,
        expires_at=expires_at,
    )
    return token, kept


async def insert_token(session: AsyncSession, token: NewToken) -> ApiToken:
    row = ApiToken(**vars(token))
    session.add(row)
    await session.flush()
    return row


async def register_bootstrap(session: AsyncSession, token_sha256: str, now: datetime) -> None:
    """Let the token of the settings in, in place of an earlier one; one that was revoked stays out."""
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
    # Two replicas may start at once.
    await upsert(session, ApiToken, [row])


async def by_digest(session: AsyncSession, token_sha256: str) -> ApiToken | None:
    return await session.scalar(select(ApiToken).where(ApiToken.token_sha256 == token_sha256))


async def get(session: AsyncSession, token_id: str, project: str | None) -> ApiToken:
    """Raises NotFoundError where there is none, or where `project` is given and it is another's."""
    row = await session.get(ApiToken, token_id)
    if row is None or (project is not None and row.project != project):
        raise NotFoundError(
            f"there is no token {token_id!r}; `fgd tokens`, or GET /v1/tokens, lists them", token_id=token_id
        )
    return row


async def every(session: AsyncSession, project: str | None) -> list[ApiToken]:
    """Newest first; of one project only where it is given."""
    query = select(ApiToken).order_by(ApiToken.created_at.desc(), ApiToken.id)
    return list(await session.scalars(query if project is None else query.where(ApiToken.project == project)))


async def revoke(session: AsyncSession, token_id: str, now: datetime) -> None:
    """Once revoked, it stays so."""
    await session.execute(
        update(ApiToken).where(ApiToken.id == token_id, ApiToken.revoked_at.is_(None)).values(revoked_at=now)
    )


async def has_admin(session: AsyncSession, now: datetime) -> bool:
    """Whether there is a token that may do everything."""
    query = select(func.count()).where(
        ApiToken.role == "admin",
        ApiToken.project.is_(None),
        ApiToken.revoked_at.is_(None),
        or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > now),
    )
    return bool(await session.scalar(query))


def is_use_outdated(token: ApiToken, now: datetime) -> bool:
    """Whether `last_used_at` is old enough to be written anew: a write for every read would be too much."""
    return token.last_used_at is None or now - token.last_used_at >= timedelta(seconds=_USED_EVERY_S)


async def record_use(session: AsyncSession, token_id: str, now: datetime) -> None:
    await session.execute(update(ApiToken).where(ApiToken.id == token_id).values(last_used_at=now))
