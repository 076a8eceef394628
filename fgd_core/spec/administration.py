"""Requests and views of tokens, projects, webhooks and the audit trail."""

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, AwareDatetime, Field

from fgd_core.spec.base import Command, Fact
from fgd_core.spec.kinds.base import JobName, ProjectName

RoleName: TypeAlias = Literal["read", "submit", "admin"]
"""Roles in order of rights: each role may do all that the roles before it may do."""


def _printable(value: str) -> str:
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("a URL may hold only printable ASCII characters; percent-encode the others")
    return value


class NewToken(Command):
    """POST /v1/tokens"""

    name: JobName
    """Names the person or the program that uses the token; the audit trail shows it."""
    role: RoleName
    project: ProjectName | None = None
    """The only project that the token may use. Default: the project of the token that makes this request, or all."""
    expires_at: AwareDatetime | None = None


class TokenView(Fact):
    """A token without its secret."""

    token_id: str
    name: str
    role: RoleName
    project: str | None
    """None means all projects."""
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    """Accurate to the minute."""


class TokenCreated(TokenView):
    """Answer to POST /v1/tokens."""

    token: str
    """The secret. It is shown only in this answer; the server keeps a hash of it."""


class TokenList(Fact):
    """GET /v1/tokens"""

    items: list[TokenView]


class WhoAmI(Fact):
    """GET /v1/whoami: the token of the request."""

    name: str
    role: RoleName
    project: str | None
    token_id: str | None
    """None if the server runs without tokens."""


class SignIn(Command):
    """POST /v1/session"""

    token: Annotated[str, Field(min_length=1, max_length=1000)]


class ProjectSettings(Command):
    """PUT /v1/projects/{name}: replaces all settings; fields that are left out get their defaults."""

    weight: float = Field(default=1.0, gt=0, le=1000)
    """Share of the cluster, relative to the weights of the other projects that have waiting jobs."""
    max_running_jobs: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Jobs of the project that may run at once; None means no limit."""
    max_gpus: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """GPUs that the project's jobs may hold at once; None means no limit."""


class ProjectView(Fact):
    """A project with its settings and its present use of the cluster."""

    name: str
    weight: float
    max_running_jobs: int | None
    max_gpus: int | None
    running_jobs: int
    """Jobs that hold resources of the cluster, or will hold them in a moment."""
    gpus: int
    """GPUs that these jobs hold."""
    queued_jobs: int


class ProjectList(Fact):
    """GET /v1/projects"""

    items: list[ProjectView]


class NewWebhook(Command):
    """POST /v1/webhooks"""

    url: Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_printable)]
    """An http or https URL. The server sends a POST request to it each time a job ends."""
    project: ProjectName | None = None
    """Only jobs of this project are delivered. Default: the project of the request's token, or all projects."""


class WebhookView(Fact):
    """A webhook without its secret."""

    webhook_id: str
    url: str
    project: str | None
    created_at: datetime
    created_by: str


class WebhookCreated(WebhookView):
    """Answer to POST /v1/webhooks."""

    secret: str
    """The key that signs deliveries. It is shown only in this answer."""


class WebhookList(Fact):
    """GET /v1/webhooks"""

    items: list[WebhookView]


class WebhookTested(Fact):
    """POST /v1/webhooks/{webhook_id}/test"""

    delivered: bool
    status: int | None
    """HTTP status of the receiver's answer; None if it did not answer."""
    error: str | None


class DeliveryView(Fact):
    """One delivery of an event to a webhook, over all its tries."""

    delivery_id: str
    job_id: str
    sequence: int
    """Sequence number of the job's event that it delivers."""
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
    """One request that changed something, or was refused."""

    entry_id: int
    at: datetime
    actor: str
    token_id: str | None
    action: str
    """Operation id of the request, for example `submit_job`."""
    target: str
    project: str | None
    status: int
    """HTTP status of the answer."""
    request_id: str
    details: dict[str, Any]


class AuditPage(Fact):
    """GET /v1/audit"""

    items: list[AuditEntryView]
    next_cursor: str | None
