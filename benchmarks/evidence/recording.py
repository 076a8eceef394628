"""Recordings of finished runs: a line of JSON each, which is written once and kept with the results."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from fgd_core.spec.results import Scores

RESULTS = Path(__file__).resolve().parent.parent / "results/evidence"


class Recording(BaseModel):
    """A finished run."""

    data: str
    arm: str
    seed: int
    epochs: int
    aps: list[float]
    """AP on the validation split after each epoch."""
    scores: Scores
    """Of the best epoch, which is the run's result."""
    best_epoch: int
    teacher_ap: float | None
    """None for a run without a teacher."""
    teacher_sha256: str | None
    num_parameters: int
    values: dict[str, list[float]]
    """Mean losses of each epoch, by name."""
    method: dict[str, Any] | None
    train_s: float
    """On a machine that also did other work, so only its order of magnitude counts."""
    finished_on: str


def recorded(data: str, folder: Path = RESULTS) -> Iterator[Recording]:
    """Yield the recordings of a data set, in the order in which the runs ended."""
    path = folder / f"{data}.jsonl"
    for line in path.read_text().splitlines() if path.exists() else ():
        yield Recording.model_validate_json(line)


def record(finished: Recording, folder: Path = RESULTS) -> None:
    """Append a run; it is on the disk when this returns."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{finished.data}.jsonl").open("a") as file:
        file.write(json.dumps(finished.model_dump(mode="json")) + "\n")
        file.flush()
        os.fsync(file.fileno())
