"""The messages between a run and the control plane, over HTTP.

    POST   /v1/attempts/{attempt_id}/claim                Claim -> Claimed; `Bearer <claim code>`
    GET    /v1/attempts/{attempt_id}                      -> Assignment
    POST   /v1/attempts/{attempt_id}/events               EventBatch -> BatchReply
    GET    /v1/attempts/{attempt_id}/study                -> StudyLog
    GET    /v1/attempts/{attempt_id}/files                -> FileList
    GET    /v1/attempts/{attempt_id}/files/{path}         -> the bytes
    PUT    /v1/attempts/{attempt_id}/files/{path}         the bytes -> UploadedFile
    DELETE /v1/attempts/{attempt_id}/files/{path}
    GET    /v1/attempts/{attempt_id}/checkpoints/{job_id}/{name}   -> the bytes of a checkpoint that the spec names

All requests but the claim carry `Authorization: Bearer <attempt token>`. A batch without events is a heartbeat. When an
attempt has been replaced, or its job is over, the server answers 409 with code `stale_attempt`, and the attempt stops.

The claim code is in the environment of the Ray job, where every user of the cluster can read it. Therefore it buys the
token only once: the run sends a random secret with its claim, and only a claim with the same secret gets the token
again.

The routes of files serve runs that share no folder with the control plane (`Assignment.job_uri` is None). In both
directions, bytes come with `Content-Length` and `Repr-Digest: sha-256=:<base64>:` (RFC 9530). A run writes and deletes
only below `attempts/<its own number>/`; it may read all files of its job.
"""

from datetime import datetime
from typing import Any, Literal, TypeAlias

from pydantic import ConfigDict, Field, model_validator

from fgd_core.spec.base import Command, Fact
from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.study_runs import EndedStudyRun

ControlSignal: TypeAlias = Literal["continue", "pause", "cancel"]
"""What the control plane wants from a run. `pause` and `cancel` request the same: save a checkpoint and stop."""
_MAX_FIELDS = 10


class Assignment(Fact):
    """All that a run needs to start."""

    attempt_id: str
    number: int
    job_id: str
    spec: JobSpec
    job_uri: str | None
    """Folder for the job's checkpoints and artifacts, shared by all its attempts, as a `file://` URI. None: the run
    keeps them on its own node and uploads to the control plane what must outlive it."""
    checkpoints: dict[str, str] = {}
    """The URI of each `job:<id>/<name>` that the spec names."""
    study_runs: list[EndedStudyRun] = []
    """Of a study: its runs, all of which have ended. `checkpoints` has their evidence as `job:<id>/evaluation.npz`."""
    heartbeat_s: float = 5.0
    """Seconds between two heartbeats."""


class Claim(Command):
    """POST /v1/attempts/{attempt_id}/claim"""

    secret: str = Field(min_length=32, max_length=128)
    """A random secret of the run. When an answer was lost, the run claims again with the same secret."""


class Claimed(Fact):
    """Answer to a claim."""

    token: str
    assignment: Assignment


class UploadedFile(Fact):
    """A file of the job in the storage of the control plane."""

    path: str
    """Path inside the job's folder, for example `attempts/2/checkpoints/last.pt`."""
    uri: str
    """Its place in the storage; an `ArtifactSaved` event names this URI."""
    size_bytes: int
    sha256: str | None = None
    """Digest of the file that was just written; None in a list."""


class FileList(Fact):
    """GET /v1/attempts/{attempt_id}/files"""

    files: list[UploadedFile]


class _Envelope(Command):
    """Refuses a body with very many fields early: formatting a fault for each of 100,000 fields takes seconds."""

    @model_validator(mode="before")
    @classmethod
    def _no_flood(cls, data: Any) -> Any:
        if isinstance(data, dict) and len(data) > _MAX_FIELDS:
            raise ValueError(f"found {len(data)} fields, known are {', '.join(cls.model_fields)}; leave out the others")
        return data


class ReportedEvent(_Envelope):
    """One event of a run, with its place in the stream."""

    sequence: int = Field(ge=1)
    """Counts from 1 without gaps within (attempt, stream)."""
    at: datetime
    event: dict[str, Any]
    """A `RunEvent`. The server stores events of unknown kinds unchanged."""


class EventBatch(_Envelope):
    """POST /v1/attempts/{attempt_id}/events; without events it is a heartbeat."""

    stream: str = Field(default="run", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    events: list[ReportedEvent] = Field(default=[], max_length=1000)


class BatchReply(Fact):
    """Answer to a batch of events."""

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    acknowledged: int
    """The highest sequence stored for this stream. The sender may delete all events up to it."""
    signal: ControlSignal = Field(validation_alias="wish", serialization_alias="wish")
    """The JSON field keeps its first name, `wish`: older workers and servers read and write it."""
