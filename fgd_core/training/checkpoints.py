"""A run's checkpoints: `last.pt`, from which training goes on, and `best.pt`, the weights alone."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import JsonValue

from fgd_core.detectors.checkpoint import DetectorCheckpoint, read_checkpoint, save_checkpoint
from fgd_core.errors import WeightsError
from fgd_core.spec.events import CheckpointSaved
from fgd_core.storage import Written

CHECKPOINTS = "checkpoints"
"""Their folder in that of a run."""


class SavedPlace(NamedTuple):
    """A checkpoint that training can go on from."""

    path: Path
    checkpoint: DetectorCheckpoint
    training: dict[str, Any]
    """The trainer's state."""

    @property
    def course(self) -> dict[str, JsonValue]:
        """See `training.course`; empty where the version that saved it wrote none."""
        course: dict[str, JsonValue] = self.training["place"].get("course", {})
        return course


class RunCheckpoints:
    def __init__(self, folder: Path) -> None:
        self.last = folder / "last.pt"
        self.previous = folder / "previous.pt"
        self.best = folder / "best.pt"

    def save_last(
        self, checkpoint: DetectorCheckpoint, training: dict[str, Any], *, replaces: bool = False
    ) -> CheckpointSaved:
        """Write the whole state; the one before it is kept, in case this one turns out to be damaged.

        Args:
            replaces: whether it is the place of the last one again, which then is not the one to be kept.
        """
        incoming = self.last.with_name("incoming.pt")
        written = save_checkpoint(incoming, checkpoint, training)
        if self.last.exists() and not replaces:
            self.last.replace(self.previous)
        incoming.replace(self.last)
        return _saved("last", written._replace(path=self.last), checkpoint)

    def save_best(self, checkpoint: DetectorCheckpoint) -> CheckpointSaved:
        return _saved("best", save_checkpoint(self.best, checkpoint), checkpoint)

    def handed_over_best(self) -> CheckpointSaved | None:
        """The best checkpoint that an earlier attempt left; None where there is none, or it cannot be read."""
        try:
            checkpoint, _ = read_checkpoint(self.best)
            with self.best.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        except (WeightsError, OSError):
            return None
        return _saved("best", Written(self.best, sha256, self.best.stat().st_size), checkpoint)

    def newest_sound(self) -> SavedPlace | None:
        """What to go on from: the newest file that can be read whole."""
        for path in (self.last, self.previous):
            try:
                checkpoint, training = read_checkpoint(path)
            except WeightsError:
                continue  # absent, or cut short by a full disk or a torn write: the one before it is next best
            if training is not None:
                return SavedPlace(path, checkpoint, training)
        return None


def _saved(name: Any, written: Written, checkpoint: DetectorCheckpoint) -> CheckpointSaved:
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
