"""Tokens, projects, webhooks and the audit log, from Python: `client.administration`."""

from collections.abc import Iterator
from datetime import datetime

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
from service.client.transport import Read, pages, segment


class Administration:
    """Manages tokens, projects and webhooks, and reads the audit log."""

    def __init__(self, read: Read) -> None:
        self._read = read

    def who_am_i(self) -> WhoAmI:
        """Return the name, the role and the project of this client's token."""
        return self._read(WhoAmI, "GET", "/v1/whoami")

    def create_token(
        self, name: str, role: RoleName, *, project: str | None = None, expires_at: datetime | None = None
    ) -> TokenCreated:
        """Create an API token; only this answer contains the token itself.

        Args:
            project: the only project that the token can access; default: all.
            expires_at: default: never.
        """
        body = NewToken(name=name, role=role, project=project, expires_at=expires_at).model_dump(mode="json")
        return self._read(TokenCreated, "POST", "/v1/tokens", json=body)

    def tokens(self) -> list[TokenView]:
        """Return all tokens, newest first, without the tokens themselves."""
        return self._read(TokenList, "GET", "/v1/tokens").items

    def revoke_token(self, token_id: str) -> TokenView:
        """Revoke a token; this cannot be undone."""
        return self._read(TokenView, "DELETE", f"/v1/tokens/{segment(token_id, what='token', listing='fgd tokens')}")

    def projects(self) -> list[ProjectView]:
        """Return all projects with their settings and their use of the cluster."""
        return self._read(ProjectList, "GET", "/v1/projects").items

    def project(self, name: str) -> ProjectView:
        """Return one project with its settings and its use of the cluster."""
        return self._read(ProjectView, "GET", _project_path(name))

    def set_project(self, name: str, settings: ProjectSettings) -> ProjectView:
        """Replace all settings of a project."""
        return self._read(ProjectView, "PUT", _project_path(name), json=settings.model_dump(mode="json"))

    def create_webhook(self, url: str, *, project: str | None = None) -> WebhookCreated:
        """Register a URL that the server calls when a job ends; only this answer contains the webhook's secret.

        Args:
            project: the only project whose jobs the server reports; default: all.
        """
        body = NewWebhook(url=url, project=project).model_dump(mode="json")
        return self._read(WebhookCreated, "POST", "/v1/webhooks", json=body)

    def webhooks(self) -> list[WebhookView]:
        """Return all webhooks."""
        return self._read(WebhookList, "GET", "/v1/webhooks").items

    def remove_webhook(self, webhook_id: str) -> WebhookView:
        """Remove a webhook; the server drops the calls that it has not delivered yet."""
        return self._read(WebhookView, "DELETE", _webhook_path(webhook_id))

    def test_webhook(self, webhook_id: str) -> WebhookTested:
        """Call a webhook now with a message of the type `webhook.test`."""
        return self._read(WebhookTested, "POST", f"{_webhook_path(webhook_id)}/test")

    def deliveries(self, webhook_id: str) -> Iterator[DeliveryView]:
        """Yield the calls of a webhook, newest first; the server sends them page by page."""
        for page in pages(self._read, DeliveryPage, f"{_webhook_path(webhook_id)}/deliveries", {}):
            yield from page.items

    def audit(self, **filters: str | None) -> Iterator[AuditEntryView]:
        """Yield the entries of the audit log, newest first; the server sends them page by page.

        Args:
            filters: `actor`, `action`, `project`, `target`.
        """
        for page in pages(self._read, AuditPage, "/v1/audit", filters):
            yield from page.items


def _project_path(name: str) -> str:
    return f"/v1/projects/{segment(name, what='project', listing='fgd projects')}"


def _webhook_path(webhook_id: str) -> str:
    return f"/v1/webhooks/{segment(webhook_id, what='webhook', listing='fgd webhooks')}"
