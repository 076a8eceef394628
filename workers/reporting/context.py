"""The `RunContext` of a run on the cluster."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from fgd_core.errors import StaleAttemptError, StorageError, WeightsError
from fgd_core.spec.attempts import Assignment
from fgd_core.spec.events import DeviceReady, EvaluationProgress, MetricsLogged, Progress, RunEvent, RunFinished
from fgd_core.spec.trials import StudyLog
from workers.folders import attempt_folder
from workers.reporting import narration
from workers.reporting.outbox import Outbox
from workers.reporting.sender import Reports, Sender


class Server(Reports, Protocol):
    def study(self, after: int) -> StudyLog: ...


class HttpContext:
    """Events go to the outbox and onto Ray's log; wishes come back with the answers to batches.

    Args:
        on_stale: called once, from another thread, when the control plane says that this attempt is over. From then on
            `emit` keeps nothing and `should_stop` raises.
        heard: called with each event that is kept.
    Raises:
        StorageError: the job's folder is not a local one, or cannot be made.
    """

    def __init__(
        self,
        assignment: Assignment,
        control_plane: Server,
        *,
        on_stale: Callable[[], None] = lambda: None,
        heard: Callable[[RunEvent], None] = lambda event: None,
    ) -> None:
        self._assignment = assignment
        self._control_plane = control_plane
        self._heard = heard
        job_dir = _local_folder(assignment)
        self._job_dir = _own_folder(job_dir, assignment.number)
        self._outbox = Outbox(job_dir / "outbox" / f"attempt-{assignment.number}-run.jsonl")
        self.is_asked_to_stop = threading.Event()
        self.start_seconds: dict[str, float] = {}
        """What the start was made of that only the entry point knows; told with `device_ready`."""
        self.outcome: RunFinished | None = None
        """The run's last word, once it is said."""
        self._sender = Sender(self._outbox, control_plane, heartbeat_s=assignment.heartbeat_s, on_stale=on_stale)

    @property
    def job_dir(self) -> Path:
        return self._job_dir

    def emit(self, event: RunEvent) -> None:
        if self._sender.is_stale:
            return
        if isinstance(event, RunFinished):
            self.outcome = event
        if isinstance(event, DeviceReady):
            event = event.model_copy(update={"seconds": {**self.start_seconds, **event.seconds}})
        may_drop = isinstance(event, Progress | MetricsLogged | EvaluationProgress)
        self._outbox.append(datetime.now(UTC), event.model_dump_json(), may_drop=may_drop)
        self._sender.wake()
        self._heard(event)
        narration.tell(event)

    def should_stop(self) -> bool:
        """
        Raises:
            StaleAttemptError: the attempt is over for the control plane. Another one may be writing to the same folder
                by now, so the run must end without a checkpoint, which is what an error makes it do.
        """
        if self._sender.is_stale:
            raise StaleAttemptError(
                "another attempt has taken over, or the job is over; this run ends and writes nothing more",
                attempt_id=self._assignment.attempt_id,
            )
        return self._sender.is_asked_to_stop or self.is_asked_to_stop.is_set()

    def ask_to_stop(self) -> None:
        """As a cancellation would; for signals."""
        self.is_asked_to_stop.set()

    def resolve_checkpoint(self, source: str) -> Path:
        if source.startswith("job:"):
            uri = self._assignment.checkpoints.get(source)
            if uri is None:
                raise WeightsError(
                    "the job that is referred to has left no such checkpoint; name one that has succeeded",
                    source=source,
                )
            path = _local_path(uri)
            if path is None:
                raise WeightsError(
                    "this checkpoint lies in a storage that this run cannot read; use a folder that all nodes share",
                    source=source,
                    uri=uri,
                )
        else:
            path = Path(source).expanduser()
        if not path.is_file():
            raise WeightsError(
                "there is no such checkpoint on this machine; check the path, and that this node shares its folder",
                source=source,
                path=str(path),
            )
        return path

    def study(self, after: int) -> StudyLog:
        """What is stored of this sweep behind an event of this sequence.

        Raises:
            NetworkError: the control plane is away.
        """
        return self._control_plane.study(after)

    def flush(self, timeout_s: float) -> bool:
        """Wait until every event so far has arrived; whether it has."""
        return self._sender.flush(timeout_s)

    def close(self, timeout_s: float) -> bool:
        """Wait until every event has arrived; whether it has. A control plane that is away is waited for."""
        return self._sender.close(timeout_s)


def _local_folder(assignment: Assignment) -> Path:
    folder = _local_path(assignment.job_uri or "")
    if folder is None:
        raise StorageError("a run writes to local folders only; set a file:// storage", job_uri=assignment.job_uri)
    return folder


def _own_folder(job_dir: Path, number: int) -> Path:
    try:
        return attempt_folder(job_dir, number)
    except OSError as error:
        raise StorageError(
            "the job's folder cannot be made; is there space, and does it belong to this user?",
            path=str(job_dir),
            cause=str(error),
        ) from error


def _local_path(uri: str) -> Path | None:
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None
