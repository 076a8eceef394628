"""Saves and loads detectors: the weights, and everything that building and scoring the detector again needs.

A checkpoint is a dict of plain values and tensors. It is read with `weights_only`, so loading runs no code of its
author. The keys of the file are the fields of `DetectorCheckpoint`. A training checkpoint also has the key `training`,
which readers of weights ignore.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from pydantic import JsonValue, ValidationError
from torch import Tensor

from fgd_core.data.samples import Category
from fgd_core.detectors import DETECTORS, build_detector
from fgd_core.detectors.base import Detector
from fgd_core.detectors.weights import match_state
from fgd_core.detectors.weights.files import read_content
from fgd_core.errors import WeightsError
from fgd_core.spec.base import Fact
from fgd_core.spec.data import InputSpec
from fgd_core.spec.detectors import AnyDetector
from fgd_core.spec.events import WeightsLoaded
from fgd_core.spec.results import Scores, TrainedWeights
from fgd_core.storage import Written, write_atomically

FORMAT = "fgd-detector"
VERSION = 1

Content: TypeAlias = dict[str, Any]
"""The dict in a checkpoint file."""


class Record(Fact):
    """Holds the scores of a detector at the time it was saved."""

    scores: Scores | None = None
    data_fingerprint: str | None = None
    """Fingerprint of the validation split that `scores` were measured on."""
    epoch: int = 0
    step: int = 0
    weights: TrainedWeights = "last_step"
    job: dict[str, JsonValue] | None = None
    """The spec of the training, for the model card; None in checkpoints of older versions."""


@dataclass(frozen=True, kw_only=True)
class DetectorCheckpoint:
    """Holds a detector's settings, classes, input, scores and weights."""

    detector: AnyDetector
    categories: tuple[Category, ...]
    input: InputSpec
    record: Record
    state: dict[str, Tensor]

    def build(self, role: Literal["detector", "student", "teacher"], source: str) -> tuple[Detector, WeightsLoaded]:
        """Build the detector and load these weights.

        Raises:
            WeightsError: a key of either side has no match in the other.
        """
        detector = build_detector(self.detector, len(self.categories))
        loaded = match_state(detector, self.state, role=role, source=source)
        wrong = loaded.shortfalls()
        if wrong:
            raise WeightsError(
                f"{loaded.num_matched} of the {loaded.num_total} keys of the checkpoint's own detector match: "
                f"{'; '.join(wrong)}. The file was changed, or written by another version; train again",
                checkpoint=source,
                missing=[*loaded.missing[:5]],
                mismatched=[*loaded.mismatched[:5]],
                unexpected=[*loaded.unexpected[:5]],
            )
        return detector, loaded


def save_checkpoint(path: Path, checkpoint: DetectorCheckpoint, training: Content | None = None) -> Written:
    """Write a checkpoint atomically, with the state of a trainer in `training` if given.

    Raises:
        StorageError: the disk is full, or the folder is not writable.
    """
    content: Content = {
        "format": FORMAT,
        "version": VERSION,
        "detector": checkpoint.detector.model_dump(mode="json"),
        "categories": [{"id": c.id, "name": c.name} for c in checkpoint.categories],
        "input": checkpoint.input.model_dump(mode="json"),
        "record": checkpoint.record.model_dump(mode="json"),
        "state": {key: value.detach().cpu() for key, value in checkpoint.state.items()},
    }
    if training is not None:
        content["training"] = training
    return write_atomically(path, lambda file: torch.save(content, file))


def read_checkpoint(path: Path) -> tuple[DetectorCheckpoint, Content | None]:
    """Read a checkpoint and, if training can resume from it, the state of the trainer.

    Raises:
        WeightsError: the file does not exist, is damaged, contains code, or is not an fgd checkpoint.
    """
    content = read_content(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise WeightsError(
            "the file is not an fgd checkpoint, which also holds the detector's settings, classes and scores; "
            "train with fgd first or, for a teacher, describe the file's detector in teacher.detector",
            path=str(path),
        )
    version = content.get("version")
    if isinstance(version, int) and version > VERSION:
        raise WeightsError("a newer version of fgd wrote the checkpoint; update fgd", path=str(path), version=version)
    try:
        checkpoint = _parse(content)
    except (ValidationError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            "the checkpoint does not describe a known detector: it was changed, or written by another version; "
            "train again",
            path=str(path),
            cause=f"missing {error}" if isinstance(error, KeyError) else str(error),
        ) from error
    return checkpoint, content.get("training")


def _parse(content: Content) -> DetectorCheckpoint:
    kind, state = content["detector"].get("type"), content["state"]
    settings = {cls.model_fields["type"].default: cls for cls in DETECTORS}.get(kind)
    if settings is None:
        raise ValueError(f"unknown detector {kind!r}")
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError("state holds values that are not tensors")
    return DetectorCheckpoint(
        detector=settings.model_validate(content["detector"]),
        categories=tuple(Category(**c) for c in content["categories"]),
        input=InputSpec.model_validate(content["input"]),
        record=Record.model_validate(content["record"]),
        state=state,
    )
