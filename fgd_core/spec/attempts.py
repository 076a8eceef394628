"""What a run and the control plane say to each other over HTTP.

    GET  /v1/attempts/{attempt_id}          -> Assignment
    POST /v1/attempts/{attempt_id}/events   EventBatch -> BatchReply

Both carry `Authorization: Bearer <attempt token>`. A batch without events is a heartbeat. An attempt that has been
replaced, or whose job is over, is answered 409 with code `stale_attempt` and stops itself.
"""

from datetime import datetime
from typing import Any, Literal, TypeAlias

from pydantic import Field

from fgd_core.spec.base import Command, Fact
from fgd_core.spec.jobs import JobSpec

Wish: TypeAlias = Literal["continue", "pause", "cancel"]
"""`pause` and `cancel` ask the same of a run: save your place and stop."""


class Assignment(Fact):
    """All that a run needs to begin."""

    attempt_id: str
    number: int
    job_id: str
    spec: JobSpec
    job_uri: str
    """Folder for this job's checkpoints and artifacts, shared by its attempts; `file://` or a storage URL."""
    checkpoints: dict[str, str] = {}
    """URI for every `job:<id>/<name>` that the spec refers to."""
    heartbeat_s: float = 5.0


class ReportedEvent(Command):
    sequence: int = Field(ge=1)
    """From 1 without gaps within (attempt, stream)."""
    at: datetime
    event: dict[str, Any]
    """A `RunEvent`; one of an unknown kind is kept as it is."""


class EventBatch(Command):
    stream: str = Field(default="run", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    events: list[ReportedEvent] = Field(default=[], max_length=1000)


class BatchReply(Fact):
    acknowledged: int
    """The highest sequence stored for this stream; anything up to it may be forgotten by the sender."""
    wish: Wish
