"""A detector on disk: its weights, and all that it takes to build it again and to judge it.

A checkpoint is a dict of plain values and tensors, read with `weights_only`: loading one runs no code of its author.
The keys of `DetectorCheckpoint` are those of the file; a training checkpoint has `training` beside them, which a reader
of weights passes over.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
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
from fgd_core.spec.results import Scores
from fgd_core.storage import Written, write_atomically

FORMAT = "fgd-detector"
VERSION = 1


class Record(Fact):
    """What the detector was worth when it was saved."""

    scores: Scores | None = None
    data_fingerprint: str | None = None
    """Of the validation split that `scores` were measured on."""
    epoch: int = 0
    step: int = 0


@dataclass(frozen=True, kw_only=True)
class DetectorCheckpoint:
    detector: AnyDetector
    categories: tuple[Category, ...]
    input: InputSpec
    record: Record
    state: dict[str, Tensor]

    def build(self, role: Literal["detector", "student", "teacher"], source: str) -> tuple[Detector, WeightsLoaded]:
        """The detector with these weights.

        Raises:
            WeightsError: a key of either side has no match in the other.
        """
        detector = build_detector(self.detector, len(self.categories))
        loaded = match_state(detector, self.state, role=role, source=source)
        wrong = loaded.shortfalls()
        if wrong:
            raise WeightsError(
                f"{loaded.num_matched} of the {loaded.num_total} keys of the detector that the checkpoint describes "
                f"match; {'; '.join(wrong)}. The file was altered or written by another version: train it again",
                checkpoint=source,
                missing=[*loaded.missing[:5]],
                mismatched=[*loaded.mismatched[:5]],
                unexpected=[*loaded.unexpected[:5]],
            )
        return detector, loaded


def save_checkpoint(path: Path, checkpoint: DetectorCheckpoint, training: dict[str, Any] | None = None) -> Written:
    """Write weights (and `training`, the state of a trainer) so that the file is whole or not there.

    Raises:
        StorageError: the disk is full or the folder may not be written to.
    """
    content: dict[str, Any] = {
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


def read_checkpoint(path: Path) -> tuple[DetectorCheckpoint, dict[str, Any] | None]:
    """The checkpoint and, in one that training can go on from, the trainer's state.

    Raises:
        WeightsError: no such file, a damaged one, one that holds code, or no checkpoint of fgd.
    """
    content = read_content(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise WeightsError(
            "the file is no checkpoint of fgd, which records detector, classes and scores beside the weights; "
            "train or evaluate with fgd first, or, for a teacher, say with teacher.detector what the file holds",
            path=str(path),
        )
    version = content.get("version")
    if isinstance(version, int) and version > VERSION:
        raise WeightsError("the checkpoint was written by a newer fgd; update", path=str(path), version=version)
    try:
        checkpoint = _described(content)
    except (ValidationError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            "the checkpoint does not describe a detector that is known here: it was altered, or written by another "
            "version; train it again",
            path=str(path),
            cause=f"lacks {error}" if isinstance(error, KeyError) else str(error),
        ) from error
    return checkpoint, content.get("training")


def _described(content: dict[str, Any]) -> DetectorCheckpoint:
    kind, state = content["detector"].get("type"), content["state"]
    settings = {cls.model_fields["type"].default: cls for cls in DETECTORS}.get(kind)
    if settings is None:
        raise ValueError(f"unknown detector {kind!r}")
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError("not all of its state are tensors")
    return DetectorCheckpoint(
        detector=settings.model_validate(content["detector"]),
        categories=tuple(Category(**c) for c in content["categories"]),
        input=InputSpec.model_validate(content["input"]),
        record=Record.model_validate(content["record"]),
        state=state,
    )
