"""What a run and the control plane say to each other over HTTP.

    POST   /v1/attempts/{attempt_id}/claim                Claim -> Claimed; `Bearer <claim code>`
    GET    /v1/attempts/{attempt_id}                      -> Assignment
    POST   /v1/attempts/{attempt_id}/events               EventBatch -> BatchReply
    GET    /v1/attempts/{attempt_id}/study                -> StudyLog
    GET    /v1/attempts/{attempt_id}/files                -> FileList
    GET    /v1/attempts/{attempt_id}/files/{path}         -> the bytes
    PUT    /v1/attempts/{attempt_id}/files/{path}         the bytes -> UploadedFile
    DELETE /v1/attempts/{attempt_id}/files/{path}
    GET    /v1/attempts/{attempt_id}/checkpoints/{job_id}/{name}   -> the bytes of an artifact that the spec refers to

All but the claim carry `Authorization: Bearer <attempt token>`. A batch without events is a heartbeat. An attempt that
has been replaced, or whose job is over, is answered 409 with code `stale_attempt` and stops itself.

The claim code travels in the environment of the Ray job, where everybody who sees the cluster can read it. So it buys
the token once: whoever claims first makes up a secret, and only that secret gets the same answer again.

The routes of files serve runs that do not share a folder with the control plane (`Assignment.job_uri` is None). Bytes
go with `Content-Length` and `Repr-Digest: sha-256=:<base64>:` (RFC 9530) in both directions. A run writes and deletes
below `attempts/<its own number>/` only, and reads all of its job.
"""

from datetime import datetime
from typing import Any, Literal, TypeAlias

from pydantic import ConfigDict, Field, model_validator

from fgd_core.spec.base import Command, Fact
from fgd_core.spec.jobs import JobSpec

ControlSignal: TypeAlias = Literal["continue", "pause", "cancel"]
"""What the control plane wants from a run. `pause` and `cancel` ask for the same: save a checkpoint and stop."""
_MAX_FIELDS = 10


class Assignment(Fact):
    """All that a run needs to begin."""

    attempt_id: str
    number: int
    job_id: str
    spec: JobSpec
    job_uri: str | None
    """Folder for this job's checkpoints and artifacts, shared by its attempts, as a `file://` URI; None: the run keeps
    them on its own node, and hands to the control plane whatever must outlive it."""
    checkpoints: dict[str, str] = {}
    """URI for every `job:<id>/<name>` that the spec refers to."""
    heartbeat_s: float = 5.0


class Claim(Command):
    secret: str = Field(min_length=32, max_length=128)
    """Made up by the run, at random; the same one again when an answer was lost."""


class Claimed(Fact):
    token: str
    assignment: Assignment


class UploadedFile(Fact):
    path: str
    """Within the job's folder: `attempts/2/checkpoints/last.pt`."""
    uri: str
    """Where it lies in the storage, which is what an `ArtifactSaved` names."""
    size_bytes: int
    sha256: str | None = None
    """Of what was just written; None in a list."""


class FileList(Fact):
    files: list[UploadedFile]


class _Envelope(Command):
    """Around what a run reports. A fault for each of 100,000 unknown fields would take seconds to write down."""

    @model_validator(mode="before")
    @classmethod
    def _no_flood(cls, data: Any) -> Any:
        if isinstance(data, dict) and len(data) > _MAX_FIELDS:
            raise ValueError(f"{len(data)} fields, where {', '.join(cls.model_fields)} are known; leave the others out")
        return data


class ReportedEvent(_Envelope):
    sequence: int = Field(ge=1)
    """From 1 without gaps within (attempt, stream)."""
    at: datetime
    event: dict[str, Any]
    """A `RunEvent`; one of an unknown kind is kept as it is."""


class EventBatch(_Envelope):
    stream: str = Field(default="run", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    events: list[ReportedEvent] = Field(default=[], max_length=1000)


class BatchReply(Fact):
    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    acknowledged: int
    """The highest sequence stored for this stream. The sender may delete all events up to it."""
    signal: ControlSignal = Field(validation_alias="wish", serialization_alias="wish")
    """The JSON field keeps its first name, `wish`: older workers and servers read and write it."""
