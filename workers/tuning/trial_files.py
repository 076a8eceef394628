"""The files of a sweep's trials, as its driver deals with them."""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from fgd_core.errors import FgdError, StorageError
from fgd_core.spec.events import ArtifactSaved, CheckpointSaved, RunEvent
from fgd_core.spec.jobs import DistillSpec, TrainSpec, checkpoint_artifact, checkpoint_sources
from fgd_core.spec.pretrained import is_torchvision_name
from fgd_core.spec.trials import TrialStarted
from fgd_core.training.context import RunContext
from workers.files.server_files import ServerFiles
from workers.files.server_home import newest_checkpoints
from workers.folders import CHECKPOINTS, segment_folder
from workers.reporting.backoff import until_answered
from workers.reporting.context import HttpContext
from workers.reporting.narration import say
from workers.tuning.study import TrialState
from workers.tuning.trial_home import ServerTrialHome, SharedTrialHome, TrialHome, segment_path

_BEST, _LAST = "best.pt", "last.pt"
_POLL_S = 0.5
_PATIENCE_S = 600.0


class TrialFiles(Protocol):
    def home(self, started: TrialStarted, spec: TrainSpec | DistillSpec) -> TrialHome:
        """Where a segment works.

        Raises:
            WeightsError: a checkpoint that it needs is not there.
            OSError: its folder cannot be made.
        """
        ...

    def heard(self, trial: int, event: RunEvent) -> None:
        """A trial has said something."""
        ...

    def best(self, trial: TrialState) -> str | None:
        """URI of the best checkpoint of its newest segment."""
        ...

    def look_for_best(self, trial: TrialState) -> str | None:
        """The same where its end was not told, for the driver was killed before: what any attempt has kept.

        Raises:
            FgdError, OSError: it cannot be looked for.
        """
        ...

    def free(self, trial: TrialState) -> None:
        """Nothing goes on from where it ended."""
        ...

    def artifact(self, uri: str) -> ArtifactSaved:
        """A trial's best checkpoint as the sweep's own, so that other jobs can refer to it.

        Raises:
            FgdError, OSError: it is not there any more.
        """
        ...

    def settle(self) -> None:
        """Wait until what was told of the study cannot be lost with this node."""
        ...


class SharedTrialFiles:
    """In the sweep's folder, which all nodes share."""

    def __init__(self, context: RunContext) -> None:
        self._context = context

    def home(self, started: TrialStarted, spec: TrainSpec | DistillSpec) -> TrialHome:
        folder = segment_folder(
            self._context.job_dir, started.trial, started.segment, goes_on_from=started.goes_on_from
        )
        return SharedTrialHome(folder, self._checkpoints(spec))

    def heard(self, trial: int, event: RunEvent) -> None:
        return

    def best(self, trial: TrialState) -> str | None:
        path = self._folder(trial) / _BEST
        return path.as_uri() if path.exists() else None

    def look_for_best(self, trial: TrialState) -> str | None:
        started = trial.started
        segment_folder(self._context.job_dir, started.trial, started.segment, goes_on_from=started.goes_on_from)
        return self.best(trial)

    def free(self, trial: TrialState) -> None:
        (self._folder(trial) / _LAST).unlink(missing_ok=True)

    def artifact(self, uri: str) -> ArtifactSaved:
        path = Path(unquote(urlsplit(uri).path))
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return _best(uri, sha256, path.stat().st_size)

    def settle(self) -> None:
        """The outbox is a file in the shared folder, too."""

    def _folder(self, trial: TrialState) -> Path:
        return self._context.job_dir / segment_path(trial.number, trial.started.segment) / CHECKPOINTS

    def _checkpoints(self, spec: TrainSpec | DistillSpec) -> Mapping[str, Path]:
        # A name of torchvision's is resolved by nobody.
        names = [source for _, source in checkpoint_sources(spec) if not is_torchvision_name(source)]
        return {source: self._context.resolve_checkpoint(source) for source in names}


class ServerTrialFiles:
    """With the control plane, where the trials send them; the driver never has them."""

    def __init__(self, context: HttpContext, files: ServerFiles, *, job_id: str, number: int) -> None:
        self._context, self._files, self._job_id, self._number = context, files, job_id, number
        self._saved: dict[int, CheckpointSaved] = {}
        """The best checkpoint that a trial told of in its newest segment."""
        self._by_uri: dict[str, CheckpointSaved] = {}

    def home(self, started: TrialStarted, spec: TrainSpec | DistillSpec) -> TrialHome:
        self._saved.pop(started.trial, None)
        return ServerTrialHome(
            self._files,
            self._job_id,
            self._number,
            trial=started.trial,
            segment=started.segment,
            goes_on_from=started.goes_on_from,
        )

    def heard(self, trial: int, event: RunEvent) -> None:
        if isinstance(event, CheckpointSaved) and event.name == "best":
            self._saved[trial] = self._by_uri[event.uri] = event

    def best(self, trial: TrialState) -> str | None:
        saved = self._saved.get(trial.number)
        return saved.uri if saved is not None else None

    def look_for_best(self, trial: TrialState) -> str | None:
        segments = ((trial.number, trial.started.segment), trial.started.goes_on_from)
        listing = until_answered(self._files.listing, timeout_s=_PATIENCE_S, say=say)
        origins = [segment_path(*each) for each in segments if each is not None]
        kept = newest_checkpoints(listing, origins, up_to=self._number)
        return next((file.uri for file in kept if file.path.endswith(f"/{_BEST}")), None)

    def free(self, trial: TrialState) -> None:
        path = f"{segment_path(trial.number, trial.started.segment)}/{CHECKPOINTS}/{_LAST}"
        with suppress(FgdError):
            self._files.delete(f"attempts/{self._number}/{path}")

    def artifact(self, uri: str) -> ArtifactSaved:
        saved = self._by_uri.get(uri)
        if saved is not None:
            return _best(uri, saved.sha256, saved.size_bytes)
        # An earlier attempt at the sweep heard of it.
        return until_answered(lambda: self._ask_for(uri), timeout_s=_PATIENCE_S, say=say)

    def settle(self) -> None:
        while not self._context.flush(_POLL_S) and not self._context.should_stop():
            pass

    def _ask_for(self, uri: str) -> ArtifactSaved:
        for file in self._files.listing():
            if file.uri == uri:
                with self._files.reading(file.path) as incoming:
                    if incoming.sha256 is not None:
                        return _best(uri, incoming.sha256, incoming.size_bytes)
        raise StorageError("the best trial's checkpoint is not there any more; was it cleared away?", uri=uri)


def _best(uri: str, sha256: str, size_bytes: int) -> ArtifactSaved:
    return ArtifactSaved(
        name=checkpoint_artifact("best"),
        uri=uri,
        media_type="application/octet-stream",
        sha256=sha256,
        size_bytes=size_bytes,
    )
