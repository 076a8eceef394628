"""Results of a run: scores, or an error."""

import traceback
from collections.abc import Mapping
from typing import Any

from fgd_core.errors import FgdError
from fgd_core.spec.base import Fact


class ErrorReport(Fact):
    """An error as it is stored and shown; see `fgd_core.errors`."""

    code: str
    message: str
    details: dict[str, Any] = {}
    retryable: bool = False
    traceback: str | None = None

    @classmethod
    def of(cls, error: Exception) -> "ErrorReport":
        """Describe an error; an error of another library has the code `internal`."""
        known = error if isinstance(error, FgdError) else FgdError(f"{type(error).__name__}: {error}")
        return cls(
            code=known.code,
            message=known.message,
            details=known.details,
            retryable=known.retryable,
            traceback="".join(traceback.format_exception(error)) if error.__traceback__ is not None else None,
        )


class ClassScore(Fact):
    """Scores of one class, in [0, 1]; None if the class has no true boxes."""

    ap: float | None
    ap50: float | None
    num_boxes: int


class MaskScores(Fact):
    """COCO scores of masks, in [0, 1]: as `Scores`, with the overlap of masks in place of boxes."""

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    per_class: dict[str, ClassScore] = {}


MASK_METRICS: Mapping[str, str] = {f"mask_{name}": name for name in MaskScores.model_fields if name != "per_class"}
"""Names of mask scores in objectives, tables and curves, and the field of `MaskScores` that each name stands for."""


class Scores(Fact):
    """The 12 COCO scores of boxes, in [0, 1], and the AP of each class.

    None means that there is nothing to score; pycocotools shows -1.
    """

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
    """Only for a detector with masks on data with masks. The best checkpoint is still chosen by the AP of boxes."""


class Speed(Fact):
    """Speed of the network and its post-processing, one image at a time, without reading the image."""

    latency_ms: float
    """Milliseconds for one image: the median of several repetitions over the same images."""
    spread: float
    """(slowest - fastest repetition) / median."""
    repetitions: int
    load_average: float
    """Load average of the machine over the last minute before the measurement."""
    machine: str
    """Name of the host."""
    disturbed_by: str | None
    """Why the speed is not comparable with others; None if the machine was quiet during the measurement."""


class RunResult(Fact):
    """The result of a successful run."""

    scores: Scores
    num_parameters: int
    images_per_s: float
    """Images per second, one at a time: forward pass and post-processing on the run's device (on a CPU with one
    thread), without reading the image."""
    speed: Speed | None = None
    """How `images_per_s` was measured; None in results of older versions."""
    num_images: int
    """Number of images that were scored."""
    best_epoch: int | None = None
    train_s: float | None = None
    device: str
