"""Tokens, projects, webhooks and the audit log, from Python: `client.administration`."""

from collections.abc import Iterator
from datetime import datetime

from fgd_core.spec import administration as spec
from service.client.transport import Read, pages, segment


class Administration:
    """Manages tokens, projects and webhooks, and reads the audit log."""

    def __init__(self, read: Read) -> None:
        self._read = read

    def who_am_i(self) -> spec.WhoAmI:
        """Return the name, the role and the project of this client's token."""
        return self._read(spec.WhoAmI, "GET", "/v1/whoami")

    def create_token(
        self, name: str, role: spec.RoleName, *, project: str | None = None, expires_at: datetime | None = None
    ) -> spec.TokenCreated:
        """Create an API token; only this answer contains the token itself.

        Args:
            project: the only project that the token can access; default: all.
            expires_at: default: never.
        """
        body = spec.NewToken(name=name, role=role, project=project, expires_at=expires_at).model_dump(mode="json")
        return self._read(spec.TokenCreated, "POST", "/v1/tokens", json=body)

    def tokens(self) -> list[spec.TokenView]:
        """Return all tokens, newest first, without the tokens themselves."""
        return self._read(spec.TokenList, "GET", "/v1/tokens").items

    def revoke_token(self, token_id: str) -> spec.TokenView:
        """Revoke a token; this cannot be undone."""
        path = f"/v1/tokens/{segment(token_id, what='token', listing='fgd tokens')}"
        return self._read(spec.TokenView, "DELETE", path)

    def projects(self) -> list[spec.ProjectView]:
        """Return all projects with their settings and their use of the cluster."""
        return self._read(spec.ProjectList, "GET", "/v1/projects").items

    def project(self, name: str) -> spec.ProjectView:
        """Return one project with its settings and its use of the cluster."""
        return self._read(spec.ProjectView, "GET", _project_path(name))

    def set_project(self, name: str, settings: spec.ProjectSettings) -> spec.ProjectView:
        """Replace all settings of a project."""
        return self._read(spec.ProjectView, "PUT", _project_path(name), json=settings.model_dump(mode="json"))

    def create_webhook(self, url: str, *, project: str | None = None) -> spec.WebhookCreated:
        """Register a URL that the server calls when a job ends; only this answer contains the webhook's secret.

        Args:
            project: the only project whose jobs the server reports; default: all.
        """
        body = spec.NewWebhook(url=url, project=project).model_dump(mode="json")
        return self._read(spec.WebhookCreated, "POST", "/v1/webhooks", json=body)

    def webhooks(self) -> list[spec.WebhookView]:
        """Return all webhooks."""
        return self._read(spec.WebhookList, "GET", "/v1/webhooks").items

    def remove_webhook(self, webhook_id: str) -> spec.WebhookView:
        """Remove a webhook; the server drops the calls that it has not delivered yet."""
        return self._read(spec.WebhookView, "DELETE", _webhook_path(webhook_id))

    def test_webhook(self, webhook_id: str) -> spec.WebhookTested:
        """Call a webhook now with a message of the type `webhook.test`."""
        return self._read(spec.WebhookTested, "POST", f"{_webhook_path(webhook_id)}/test")

    def deliveries(self, webhook_id: str) -> Iterator[spec.DeliveryView]:
        """Yield the calls of a webhook, newest first; the server sends them page by page."""
        for page in pages(self._read, spec.DeliveryPage, f"{_webhook_path(webhook_id)}/deliveries", {}):
            yield from page.items

    def audit(self, **filters: str | None) -> Iterator[spec.AuditEntryView]:
        """Yield the entries of the audit log, newest first; the server sends them page by page.

        Args:
            filters: `actor`, `action`, `project`, `target`.
        """
        for page in pages(self._read, spec.AuditPage, "/v1/audit", filters):
            yield from page.items


def _project_path(name: str) -> str:
    return f"/v1/projects/{segment(name, what='project', listing='fgd projects')}"


def _webhook_path(webhook_id: str) -> str:
    return f"/v1/webhooks/{segment(webhook_id, what='webhook', listing='fgd webhooks')}"
