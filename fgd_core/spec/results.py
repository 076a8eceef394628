"""What a run comes to: scores, or an error."""

import traceback
from collections.abc import Mapping
from typing import Any

from fgd_core.errors import FgdError
from fgd_core.spec.base import Fact


class ErrorReport(Fact):
    """An error as it is stored and shown: see `fgd_core.errors`."""

    code: str
    message: str
    details: dict[str, Any] = {}
    retryable: bool = False
    traceback: str | None = None

    @classmethod
    def of(cls, error: Exception) -> "ErrorReport":
        """Describe an error; an error that is none of ours has the code `internal`."""
        known = error if isinstance(error, FgdError) else FgdError(f"{type(error).__name__}: {error}")
        return cls(
            code=known.code,
            message=known.message,
            details=known.details,
            retryable=known.retryable,
            traceback="".join(traceback.format_exception(error)) if error.__traceback__ is not None else None,
        )


class ClassScore(Fact):
    ap: float | None
    ap50: float | None
    num_boxes: int


class MaskScores(Fact):
    """How well masks fit: as `Scores`, with the overlap of masks in the place of that of boxes."""

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    per_class: dict[str, ClassScore] = {}


MASK_METRICS: Mapping[str, str] = {f"mask_{name}": name for name in MaskScores.model_fields if name != "per_class"}
"""What objectives of sweeps, columns and curves are called, and the field of `MaskScores` that each is."""


class Scores(Fact):
    """The 12 numbers of COCO, in [0, 1], and AP per class. None where there is nothing to score (pycocotools: -1)."""

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    ar1: float | None
    ar10: float | None
    ar100: float | None
    ar_small: float | None
    ar_medium: float | None
    ar_large: float | None
    per_class: dict[str, ClassScore] = {}
    masks: MaskScores | None = None
    """Of a detector with masks on data with masks. The best checkpoint is chosen by the AP of the boxes all the
    same."""


class Speed(Fact):
    """One image at a time through the network and its post-processing; reading left out."""

    latency_ms: float
    """Of an image: the median of repetitions over the same images."""
    spread: float
    """From the fastest repetition to the slowest, relative to the median."""
    repetitions: int
    load_average: float
    """Of the machine, over the minute until then."""
    machine: str
    """The name of the host."""
    disturbed_by: str | None
    """Why the speed cannot be held beside others; None where it was measured in a quiet moment."""


class RunResult(Fact):
    """What a run has to show at its end."""

    scores: Scores
    num_parameters: int
    images_per_s: float
    """Forward pass and post-processing on the run's device (a CPU with one thread), one image at a time; reading left
    out."""
    speed: Speed | None = None
    """How `images_per_s` was measured; None where an older version did."""
    num_images: int
    """Images that the scores rest on."""
    best_epoch: int | None = None
    train_s: float | None = None
    device: str
