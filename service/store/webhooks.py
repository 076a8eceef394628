"""Stores webhooks and their deliveries."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import NotFoundError
from fgd_core.spec.events import JobState
from service.jobs.lifecycle import is_over
from service.store.bounded_lists import Listing
from service.store.tables import Event, Job, Webhook, WebhookDelivery
from service.store.write_session import WriteSession


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A delivery that no other control plane makes until the claim expires."""

    delivery_id: str
    number: int
    """Number of the try; the result of an older try is not written."""
    url: str
    secret: str
    job: Job
    event: Event | None
    """The event to deliver; None if retention deleted it."""


async def insert_webhook(
    session: AsyncSession, *, url: str, secret: str, project: str | None, created_by: str, now: datetime
) -> Webhook:
    """Insert a webhook and return its row."""
    row = Webhook(
        id=secrets.token_hex(6), url=url, secret=secret, project=project, created_by=created_by, created_at=now
    )
    session.add(row)
    await session.flush()
    return row


async def get(session: WriteSession, webhook_id: str, project: str | None) -> Webhook:
    """Return the webhook with this id.

    Args:
        project: the only project whose webhooks are visible; None for all.
    Raises:
        NotFoundError: the webhook does not exist or belongs to another project.
    """
    row = await session.get(Webhook, webhook_id)
    if row is None or (project is not None and row.project != project):
        message = f"no webhook {webhook_id!r}; `fgd webhooks` or GET /v1/webhooks lists all webhooks"
        raise NotFoundError(message, webhook_id=webhook_id)
    return row


async def every(session: WriteSession, project: str | None) -> list[Webhook]:
    """Return all webhooks, or those of one project, newest first."""
    query = select(Webhook).order_by(Webhook.created_at.desc(), Webhook.id)
    return list(await session.scalars(query if project is None else query.where(Webhook.project == project)))


async def remove(session: WriteSession, webhook_id: str) -> None:
    """Delete a webhook and its deliveries, including those that are still due."""
    await session.execute(delete(WebhookDelivery).where(WebhookDelivery.webhook_id == webhook_id))
    await session.execute(delete(Webhook).where(Webhook.id == webhook_id))


async def enqueue(session: WriteSession, job: Job, to: JobState, sequence: int, now: datetime) -> None:
    """Insert a delivery for each webhook of the project, in the transaction that ends the job; ignores other moves.

    Args:
        sequence: of the event of the move.
    """
    if not is_over(to):
        return
    listening = select(Webhook.id).where(or_(Webhook.project.is_(None), Webhook.project == job.project))
    rows = [
        {
            "id": secrets.token_hex(8),
            "webhook_id": webhook_id,
            "job_id": job.id,
            "sequence": sequence,
            "created_at": now,
            "next_try_at": now,
        }
        for webhook_id in await session.scalars(listening)
    ]
    if rows:
        await session.execute(insert(WebhookDelivery), rows)


async def are_due(session: WriteSession, now: datetime) -> bool:
    """Return whether a delivery is due."""
    query = select(WebhookDelivery.id).where(WebhookDelivery.next_try_at <= now).limit(1)
    return await session.scalar(query) is not None


async def claim(session: AsyncSession, *, limit: int, ttl_s: float, now: datetime) -> list[Claim]:
    """Claim due deliveries for `ttl_s` seconds, oldest first; skips those that another control plane is claiming.

    The try is counted here, so that a control plane that dies during a try has used it up.
    """
    due = (
        select(WebhookDelivery)
        .where(WebhookDelivery.next_try_at <= now)
        .order_by(WebhookDelivery.next_try_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    claims = []
    for row in list(await session.scalars(due)):
        row.tries += 1
        row.next_try_at = now + timedelta(seconds=ttl_s)
        webhook = await session.get_one(Webhook, row.webhook_id)
        claims.append(
            Claim(
                delivery_id=row.id,
                number=row.tries,
                url=webhook.url,
                secret=webhook.secret,
                job=await session.get_one(Job, row.job_id),
                event=await session.get(Event, (row.job_id, row.sequence)),
            )
        )
    return claims


async def settle(
    session: WriteSession,
    made: Claim,
    *,
    delivered_at: datetime | None,
    next_try_at: datetime | None,
    error: str | None,
) -> None:
    """Store the result of a try. Without `delivered_at` and `next_try_at`, the delivery has failed for good."""
    await session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.id == made.delivery_id, WebhookDelivery.tries == made.number)
        .values(delivered_at=delivered_at, next_try_at=next_try_at, last_error=error)
    )


async def deliveries(
    session: WriteSession, webhook_id: str, *, before: tuple[datetime, str] | None, limit: int
) -> Sequence[WebhookDelivery]:
    """Return a page of a webhook's deliveries, newest first.

    Args:
        before: (created_at, id) of the last delivery of the previous page.
    """
    listing = Listing(table=WebhookDelivery, key=(WebhookDelivery.created_at, WebhookDelivery.id))
    query = select(WebhookDelivery).where(WebhookDelivery.webhook_id == webhook_id)
    if before is not None:
        query = query.where(listing.behind(before))
    return list(await session.scalars(query.order_by(*listing.ordered(listing.key)).limit(limit)))
