"""A run's checkpoints: `last.pt`, from which training resumes, and `best.pt`, which holds only the weights."""

import hashlib
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import JsonValue

from fgd_core.detectors.weights.checkpoint import DetectorCheckpoint, read_checkpoint, save_checkpoint
from fgd_core.errors import WeightsError
from fgd_core.spec.events import CheckpointSaved
from fgd_core.storage import Written
from fgd_core.training.ending import Spent

CHECKPOINTS = "checkpoints"
"""The folder of checkpoints inside the folder of a run."""


class SavedTraining(NamedTuple):
    """A checkpoint from which training can resume."""

    path: Path
    checkpoint: DetectorCheckpoint
    training: dict[str, Any]
    """The trainer's state."""

    @property
    def identity(self) -> dict[str, JsonValue]:
        """See `training.identity`; empty if an older version wrote the checkpoint without it."""
        identity: dict[str, JsonValue] = self.training["place"].get("course", {})
        return identity

    @property
    def spent(self) -> Spent:
        """What the training had taken; zero if an older version wrote the checkpoint."""
        place = self.training["place"]
        return Spent(place.get("wall_s", 0.0), place.get("gpu_s", 0.0))


class RunCheckpoints:
    """Writes and reads the checkpoints in a run's folder."""

    def __init__(self, folder: Path) -> None:
        self.last = folder / "last.pt"
        self.previous = folder / "previous.pt"
        self.best = folder / "best.pt"

    def save_last(
        self, checkpoint: DetectorCheckpoint, training: dict[str, Any], *, replaces: bool = False
    ) -> CheckpointSaved:
        """Write the whole state of the training; keep the previous checkpoint in case this one becomes damaged.

        Args:
            replaces: whether this is the same step as the last checkpoint, which is then overwritten and not kept.
        """
        incoming = self.last.with_name("incoming.pt")
        written = save_checkpoint(incoming, checkpoint, training)
        if self.last.exists() and not replaces:
            self.last.replace(self.previous)
        incoming.replace(self.last)
        return _saved("last", written._replace(path=self.last), checkpoint)

    def save_best(self, checkpoint: DetectorCheckpoint) -> CheckpointSaved:
        """Write the best weights so far."""
        return _saved("best", save_checkpoint(self.best, checkpoint), checkpoint)

    def inherited_best(self) -> CheckpointSaved | None:
        """Return the best checkpoint of an earlier attempt; None if there is none or it cannot be read."""
        try:
            checkpoint, _ = read_checkpoint(self.best)
            with self.best.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        except (WeightsError, OSError):
            return None
        return _saved("best", Written(self.best, sha256, self.best.stat().st_size), checkpoint)

    def newest_readable(self) -> SavedTraining | None:
        """Return the newest checkpoint that can be read completely; None if there is none."""
        for path in (self.last, self.previous):
            try:
                checkpoint, training = read_checkpoint(path)
            except WeightsError:
                continue  # missing, or incomplete after a full disk or a crash: try the one before it
            if training is not None:
                return SavedTraining(path, checkpoint, training)
        return None


def _saved(name: Literal["best", "last"], written: Written, checkpoint: DetectorCheckpoint) -> CheckpointSaved:
    record = checkpoint.record
    return CheckpointSaved(
        name=name,
        uri=written.path.resolve().as_uri(),
        sha256=written.sha256,
        size_bytes=written.size_bytes,
        epoch=record.epoch,
        step=record.step,
        ap=record.scores.ap if record.scores else None,
    )
