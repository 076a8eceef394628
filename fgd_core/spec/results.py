"""Results of a run: scores, or an error."""

import traceback
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

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


class KeypointScores(Fact):
    """COCO scores of keypoints, in [0, 1]: as `Scores`, with the object keypoint similarity (OKS) in place of IoU.

    COCO has no score of small objects here.
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_medium: float | None
    ap_large: float | None
    per_class: dict[str, ClassScore] = {}
    sigmas: str
    """In words: how far, relative to the size of its object, a keypoint may lie off its place."""


Part: TypeAlias = Literal["masks", "keypoints"]
"""What a detector may find besides boxes."""
PART_NAMES: Mapping[Part, str] = {"masks": "mask", "keypoints": "keypoint"}
"""How the names of scores begin: mask AP, keypoint AP."""


class PartMetric(NamedTuple):
    """The place of a score in `Scores`."""

    part: Part
    name: str
    """The field of `MaskScores` or `KeypointScores`."""


_NO_SCORES = ("per_class", "sigmas")
PART_METRICS: Mapping[str, PartMetric] = {
    **{f"mask_{name}": PartMetric("masks", name) for name in MaskScores.model_fields if name not in _NO_SCORES},
    **{
        f"keypoint_{name}": PartMetric("keypoints", name)
        for name in KeypointScores.model_fields
        if name not in _NO_SCORES
    },
}
"""Names of the scores of masks and keypoints in objectives, tables and curves: `mask_ap`, `keypoint_ap50`."""


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
    keypoints: KeypointScores | None = None
    """Only for a detector with keypoints on data with keypoints; likewise."""

    def parts(self) -> Mapping[Part, MaskScores | KeypointScores]:
        """Return the scores of masks and of keypoints, those that there are."""
        found: dict[Part, MaskScores | KeypointScores | None] = {"masks": self.masks, "keypoints": self.keypoints}
        return {part: scores for part, scores in found.items() if scores is not None}


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


class AlteredScores(Fact):
    """What a detector finds in mildly altered copies of the images: means over the copies.

    0 is best for the last two, which compare each copy with its image over all true boxes, at IoU 0.5.
    """

    num_copies: int
    ap: float | None
    """AP on the copies, in [0, 1]; None if there is nothing to score."""
    score_change: float
    """Mean absolute difference of the scores with which a true box is found, in [0, 1]; a missed box has score 0."""
    flips: float
    """Share of the true boxes that are found in only one of the two, in [0, 1], at each class's score with the best F1
    on the images."""


EndReason: TypeAlias = Literal["early_stop", "wall_time", "gpu_time"]
"""Why a training ended before its last epoch: evaluations had no gain, or a part of its budget was spent."""
TrainedWeights: TypeAlias = Literal["last_step", "ema", "mean"]
"""Which weights of a training: those of a step, their moving average, or the mean of the last evaluated epochs."""


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
    altered: AlteredScores | None = None
    """None unless the run was to evaluate altered copies of the images."""
    more_scores: dict[str, Scores] = {}
    """Of an evaluation on several data sets: the scores on `more_data`, by name."""
    best_epoch: int | None = None
    train_s: float | None = None
    weights: TrainedWeights | None = None
    """Which weights the result has; None without a training."""
    ended_by: EndReason | None = None
    """Why the training ended before its last epoch; None if it did not."""
    skipped_steps: int = 0
    """Steps that changed no weights, because their loss or gradient was not finite."""
    device: str
