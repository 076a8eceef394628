"""The files of a sweep's trials, as the sweep's driver uses them."""

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from fgd_core.errors import FgdError, StorageError
from fgd_core.spec.checkpoint_references import checkpoint_artifact
from fgd_core.spec.events import ArtifactSaved, CheckpointSaved, RunEvent
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.trials import TrialStarted
from fgd_core.training.context import RunContext
from workers.control_plane import retry_until_reachable
from workers.files.folders import CHECKPOINTS, segment_folder
from workers.files.server_files import ServerFiles
from workers.files.server_workspace import newest_checkpoints
from workers.remote import workspace
from workers.remote.workspace import RemoteWorkspace, ServerRemoteWorkspace
from workers.tuning.trial_state import TrialState

_BEST, _LAST = "best.pt", "last.pt"
_POLL_S = 0.5


class TrialFiles(Protocol):
    """Provides the workspaces and the checkpoints of trials."""

    def workspace(self, started: TrialStarted, spec: TrainSpec | DistillSpec) -> RemoteWorkspace:
        """Describe the workspace of a segment.

        Raises:
            WeightsError: a checkpoint that the spec names does not exist.
            OSError: the segment's folder cannot be made.
        """

    def observe(self, trial: int, event: RunEvent) -> None:
        """Take note of a trial's event."""
        return

    def best(self, trial: TrialState) -> str | None:
        """Return the URI of the best checkpoint of the trial's newest segment."""

    def find_best(self, trial: TrialState) -> str | None:
        """As `best`, for a trial whose end was not reported because the driver was killed: search all attempts.

        Raises:
            FgdError, OSError: the search failed.
        """

    def free(self, trial: TrialState) -> None:
        """Delete the checkpoint at which the trial ended: no trial continues from it."""

    def artifact(self, uri: str) -> ArtifactSaved:
        """Describe a trial's best checkpoint as an artifact of the sweep, so that other jobs can refer to it.

        Raises:
            FgdError, OSError: the file does not exist any more.
        """

    def flush(self) -> None:
        """Wait until the events so far cannot be lost with this node."""
        return


class EventFlush(Protocol):
    """What `ServerTrialFiles` needs of its run's context."""

    def flush(self, timeout_s: float) -> bool: ...

    def should_stop(self) -> bool: ...


class SharedTrialFiles(TrialFiles):
    """Keeps the trials' files in the sweep's folder, which all nodes share.

    `flush` has nothing to wait for: the outbox is a file in the shared folder, too.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context

    def workspace(self, started: TrialStarted, spec: TrainSpec | DistillSpec) -> RemoteWorkspace:
        folder = segment_folder(
            self._context.job_dir, started.trial, started.segment, goes_on_from=started.goes_on_from
        )
        return workspace.shared(folder, spec, self._context.resolve_checkpoint)

    def best(self, trial: TrialState) -> str | None:
        path = self._folder(trial) / _BEST
        return path.as_uri() if path.exists() else None

    def find_best(self, trial: TrialState) -> str | None:
        started = trial.started
        segment_folder(self._context.job_dir, started.trial, started.segment, goes_on_from=started.goes_on_from)
        return self.best(trial)

    def free(self, trial: TrialState) -> None:
        (self._folder(trial) / _LAST).unlink(missing_ok=True)

    def artifact(self, uri: str) -> ArtifactSaved:
        path = Path(unquote(urlsplit(uri).path))
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return _best_artifact(uri, sha256, path.stat().st_size)

    def _folder(self, trial: TrialState) -> Path:
        return self._context.job_dir / _segment_path(trial.number, trial.started.segment) / CHECKPOINTS


class ServerTrialFiles:
    """Keeps the trials' files in the control plane, to which the trials upload them; the driver has no copies."""

    def __init__(self, context: EventFlush, files: ServerFiles, *, job_id: str, number: int) -> None:
        self._context, self._files, self._job_id, self._number = context, files, job_id, number
        self._saved: dict[int, CheckpointSaved] = {}
        """The best checkpoint that each trial reported in its newest segment."""
        self._by_uri: dict[str, CheckpointSaved] = {}

    def workspace(self, started: TrialStarted, spec: TrainSpec | DistillSpec) -> RemoteWorkspace:
        self._saved.pop(started.trial, None)
        source = started.goes_on_from
        return ServerRemoteWorkspace(
            self._files,
            self._job_id,
            self._number,
            within=_segment_path(started.trial, started.segment),
            goes_on_from=_segment_path(*source) if source is not None else None,
        )

    def observe(self, trial: int, event: RunEvent) -> None:
        if isinstance(event, CheckpointSaved) and event.name == "best":
            self._saved[trial] = self._by_uri[event.uri] = event

    def best(self, trial: TrialState) -> str | None:
        saved = self._saved.get(trial.number)
        return saved.uri if saved is not None else None

    def find_best(self, trial: TrialState) -> str | None:
        segments = ((trial.number, trial.started.segment), trial.started.goes_on_from)
        listing = retry_until_reachable(self._files.listing)
        origins = [_segment_path(*each) for each in segments if each is not None]
        found = newest_checkpoints(listing, origins, up_to=self._number)
        return next((file.uri for file in found if file.path.endswith(f"/{_BEST}")), None)

    def free(self, trial: TrialState) -> None:
        path = f"{_segment_path(trial.number, trial.started.segment)}/{CHECKPOINTS}/{_LAST}"
        with suppress(FgdError):
            self._files.delete(f"attempts/{self._number}/{path}")

    def artifact(self, uri: str) -> ArtifactSaved:
        saved = self._by_uri.get(uri)
        if saved is not None:
            return _best_artifact(uri, saved.sha256, saved.size_bytes)
        # The trial reported this checkpoint to an earlier attempt of the sweep.
        return retry_until_reachable(lambda: self._find_artifact(uri))

    def flush(self) -> None:
        while not self._context.flush(_POLL_S) and not self._context.should_stop():
            pass

    def _find_artifact(self, uri: str) -> ArtifactSaved:
        for file in self._files.listing():
            if file.uri == uri:
                with self._files.reading(file.path) as incoming:
                    if incoming.sha256 is not None:
                        return _best_artifact(uri, incoming.sha256, incoming.size_bytes)
        raise StorageError(
            "the best trial's checkpoint does not exist any more; check whether the job's files were deleted", uri=uri
        )


def _segment_path(trial: int, segment: int) -> str:
    """Return the segment's path within an attempt's folder."""
    return f"trials/{trial}/{segment}"


def _best_artifact(uri: str, sha256: str, size_bytes: int) -> ArtifactSaved:
    return ArtifactSaved(
        name=checkpoint_artifact("best"),
        uri=uri,
        media_type="application/octet-stream",
        sha256=sha256,
        size_bytes=size_bytes,
    )
