"""Webhooks: URLs to which the server sends a message when a job ends."""

import secrets
from typing import Annotated

from fastapi import APIRouter, Path, Response

from fgd_core.spec.administration import (
    DeliveryPage,
    DeliveryView,
    NewWebhook,
    WebhookCreated,
    WebhookList,
    WebhookTested,
    WebhookView,
)
from service.api import audit_notes, cursors
from service.api.access import Admin
from service.api.deps import ServicesDep
from service.store import webhooks
from service.store.tables import Webhook, WebhookDelivery, columns
from service.webhooks import addresses, signing
from service.webhooks.delivery import body_of_test
from service.webhooks.sending import Sender

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])

WebhookId = Annotated[str, Path(description="The id of a webhook")]


@router.post("", status_code=201, operation_id="create_webhook")
async def create(services: ServicesDep, principal: Admin, response: Response, new: NewWebhook) -> WebhookCreated:
    """Create a webhook. Only this response contains its secret, which signs the messages.

    The webhook of a project's admin covers the jobs of that project only.
    """
    project = principal.project_for(new.project)
    audit_notes.about(project=project)
    await addresses.target(new.url, allow_private=services.settings.webhooks.allow_private)
    secret = signing.new_secret()
    async with services.database.writing() as session:
        row = await webhooks.insert_webhook(
            session, url=new.url, secret=secret, project=project, created_by=principal.name, now=services.clock()
        )
    response.headers["Location"] = f"/v1/webhooks/{row.id}"
    response.headers["Cache-Control"] = "no-store"
    return WebhookCreated(**dict(_view(row)), secret=secret)


@router.get("", operation_id="list_webhooks")
async def list_webhooks(services: ServicesDep, principal: Admin) -> WebhookList:
    """List webhooks."""
    async with services.database.reading() as session:
        rows = await webhooks.every(session, principal.project)
    return WebhookList(items=[_view(row) for row in rows])


@router.get("/{webhook_id}", operation_id="get_webhook")
async def get(services: ServicesDep, principal: Admin, webhook_id: WebhookId) -> WebhookView:
    """Return a webhook."""
    async with services.database.reading() as session:
        return _view(await webhooks.get(session, webhook_id, principal.project))


@router.delete("/{webhook_id}", operation_id="delete_webhook")
async def delete(services: ServicesDep, principal: Admin, webhook_id: WebhookId) -> WebhookView:
    """Delete a webhook and its undelivered messages."""
    async with services.database.writing() as session:
        row = await webhooks.get(session, webhook_id, principal.project)
        audit_notes.about(project=row.project)
        await webhooks.remove(session, webhook_id)
    return _view(row)


@router.post("/{webhook_id}/test", operation_id="test_webhook")
async def test(services: ServicesDep, principal: Admin, webhook_id: WebhookId) -> WebhookTested:
    """Send a message of the type `webhook.test` once, now, and return the result."""
    async with services.database.reading() as session:
        row = await webhooks.get(session, webhook_id, principal.project)
    audit_notes.about(project=row.project)
    message_id, now = secrets.token_hex(8), services.clock()
    body = body_of_test(message_id, now)
    sender = Sender(allow_private=services.settings.webhooks.allow_private)
    answer = await sender.send(row.url, body, signing.headers(row.secret, message_id, now, body))
    return WebhookTested(**vars(answer))


@router.get("/{webhook_id}/deliveries", operation_id="list_deliveries")
async def list_deliveries(
    services: ServicesDep,
    principal: Admin,
    webhook_id: WebhookId,
    limit: cursors.Limit = 50,
    cursor: cursors.Cursor = None,
) -> DeliveryPage:
    """List the deliveries of a webhook, newest first, with the state of each."""
    before = cursors.decode(cursor) if cursor is not None else None
    async with services.database.reading() as session:
        await webhooks.get(session, webhook_id, principal.project)
        rows = await webhooks.deliveries(session, webhook_id, before=before, limit=limit + 1)
    shown, next_cursor = cursors.page(rows, limit, lambda row: (row.created_at, row.id))
    return DeliveryPage(items=[_delivery(row) for row in shown], next_cursor=next_cursor)


def _view(row: Webhook) -> WebhookView:
    return WebhookView.model_validate(columns(row) | {"webhook_id": row.id})


def _delivery(row: WebhookDelivery) -> DeliveryView:
    state = "delivered" if row.delivered_at else "waiting" if row.next_try_at else "given_up"
    return DeliveryView.model_validate(columns(row) | {"delivery_id": row.id, "state": state})
