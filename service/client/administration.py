"""Tokens, projects, webhooks and the audit trail, from Python: `client.administration`."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from fgd_core.errors import NotFoundError
from fgd_core.spec.administration import (
    AuditEntryView,
    AuditPage,
    DeliveryPage,
    DeliveryView,
    NewToken,
    NewWebhook,
    ProjectList,
    ProjectSettings,
    ProjectView,
    RoleName,
    TokenCreated,
    TokenList,
    TokenView,
    WebhookCreated,
    WebhookList,
    WebhookTested,
    WebhookView,
    WhoAmI,
)

M = TypeVar("M", bound=BaseModel)


class Ask(Protocol):
    """One request, its answer read as a model."""

    def __call__(self, model: type[M], method: str, path: str, **options: Any) -> M: ...


class Administration:
    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def who_am_i(self) -> WhoAmI:
        return self._ask(WhoAmI, "GET", "/v1/whoami")

    def create_token(
        self, name: str, role: RoleName, *, project: str | None = None, expires_at: datetime | None = None
    ) -> TokenCreated:
        asked = NewToken(name=name, role=role, project=project, expires_at=expires_at)
        return self._ask(TokenCreated, "POST", "/v1/tokens", json=asked.model_dump(mode="json"))

    def tokens(self) -> list[TokenView]:
        return self._ask(TokenList, "GET", "/v1/tokens").items

    def revoke_token(self, token_id: str) -> TokenView:
        return self._ask(TokenView, "DELETE", f"/v1/tokens/{_part(token_id, 'token')}")

    def projects(self) -> list[ProjectView]:
        return self._ask(ProjectList, "GET", "/v1/projects").items

    def project(self, name: str) -> ProjectView:
        return self._ask(ProjectView, "GET", f"/v1/projects/{_part(name, 'project')}")

    def set_project(self, name: str, settings: ProjectSettings) -> ProjectView:
        """All of its settings at once."""
        path = f"/v1/projects/{_part(name, 'project')}"
        return self._ask(ProjectView, "PUT", path, json=settings.model_dump(mode="json"))

    def create_webhook(self, url: str, *, project: str | None = None) -> WebhookCreated:
        asked = NewWebhook(url=url, project=project)
        return self._ask(WebhookCreated, "POST", "/v1/webhooks", json=asked.model_dump(mode="json"))

    def webhooks(self) -> list[WebhookView]:
        return self._ask(WebhookList, "GET", "/v1/webhooks").items

    def remove_webhook(self, webhook_id: str) -> WebhookView:
        return self._ask(WebhookView, "DELETE", f"/v1/webhooks/{_part(webhook_id, 'webhook')}")

    def test_webhook(self, webhook_id: str) -> WebhookTested:
        return self._ask(WebhookTested, "POST", f"/v1/webhooks/{_part(webhook_id, 'webhook')}/test")

    def deliveries(self, webhook_id: str) -> Iterator[DeliveryView]:
        """Newest first, a page at a time."""
        query: dict[str, Any] = {}
        while True:
            path = f"/v1/webhooks/{_part(webhook_id, 'webhook')}/deliveries"
            page = self._ask(DeliveryPage, "GET", path, params=query)
            yield from page.items
            if page.next_cursor is None:
                return
            query["cursor"] = page.next_cursor

    def audit(self, **wanted: str | None) -> Iterator[AuditEntryView]:
        """Newest first, a page at a time.

        Args:
            wanted: `actor`, `action`, `project`, `target`.
        """
        query: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
        while True:
            page = self._ask(AuditPage, "GET", "/v1/audit", params=query)
            yield from page.items
            if page.next_cursor is None:
                return
            query["cursor"] = page.next_cursor


def _part(value: str, what: str) -> str:
    """Raises NotFoundError for an empty name, whose path would be that of all of them."""
    if not value:
        raise NotFoundError(f"an empty id names no {what}")
    return quote(value, safe="")
