"""Tokens, projects, webhooks and the audit trail, as they are asked for and shown."""

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, AwareDatetime, Field

from fgd_core.spec.base import Command, Fact
from fgd_core.spec.jobs import JobName, ProjectName

RoleName: TypeAlias = Literal["read", "submit", "admin"]
"""Each may do what those before it may."""


def _printable(value: str) -> str:
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("a URL has only printable ASCII characters; encode the others")
    return value


class NewToken(Command):
    """POST /v1/tokens"""

    name: JobName
    """Whose it is or what uses it; the audit shows it."""
    role: RoleName
    project: ProjectName | None = None
    """The only project that it sees; left out: the asker's own, or all."""
    expires_at: AwareDatetime | None = None


class TokenView(Fact):
    token_id: str
    name: str
    role: RoleName
    project: str | None
    """None: all."""
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    """To the minute."""


class TokenCreated(TokenView):
    token: str
    """Shown this once; only its hash is kept."""


class TokenList(Fact):
    items: list[TokenView]


class WhoAmI(Fact):
    name: str
    role: RoleName
    project: str | None
    token_id: str | None
    """None on a server without tokens."""


class ProjectSettings(Command):
    """PUT /v1/projects/{name}: all of them; what is left out is the default."""

    weight: float = Field(default=1.0, gt=0, le=1000)
    """Share of the cluster against the other projects that wait."""
    max_running_jobs: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """None: no limit."""
    max_gpus: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """None: no limit."""


class ProjectView(Fact):
    name: str
    weight: float
    max_running_jobs: int | None
    max_gpus: int | None
    running_jobs: int
    """That hold, or are about to hold, a part of the cluster."""
    gpus: int
    """Held by them."""
    queued_jobs: int


class ProjectList(Fact):
    items: list[ProjectView]


class NewWebhook(Command):
    """POST /v1/webhooks"""

    url: Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_printable)]
    """http or https; called with a POST at each end of a job."""
    project: ProjectName | None = None
    """Whose jobs it hears of; left out: the asker's own project, or all."""


class WebhookView(Fact):
    webhook_id: str
    url: str
    project: str | None
    created_at: datetime
    created_by: str


class WebhookCreated(WebhookView):
    secret: str
    """Signs the deliveries; shown this once."""


class WebhookList(Fact):
    items: list[WebhookView]


class WebhookTested(Fact):
    """POST /v1/webhooks/{webhook_id}/test"""

    delivered: bool
    status: int | None
    """What the receiver answered; None where it did not."""
    error: str | None


class DeliveryView(Fact):
    delivery_id: str
    job_id: str
    sequence: int
    """Of the event that it tells."""
    state: Literal["waiting", "delivered", "given_up"]
    tries: int
    created_at: datetime
    next_try_at: datetime | None
    delivered_at: datetime | None
    last_error: str | None


class DeliveryPage(Fact):
    """GET /v1/webhooks/{webhook_id}/deliveries"""

    items: list[DeliveryView]
    next_cursor: str | None


class AuditEntryView(Fact):
    entry_id: int
    at: datetime
    actor: str
    token_id: str | None
    action: str
    """Operation id of the request."""
    target: str
    project: str | None
    status: int
    """HTTP status that it was answered with."""
    request_id: str
    details: dict[str, Any]


class AuditPage(Fact):
    """GET /v1/audit"""

    items: list[AuditEntryView]
    next_cursor: str | None
