"""Compares the detections of an exported file with those of PyTorch."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from fgd_core.errors import ExportDiffersError
from fgd_core.export.checkpoint_engine import CheckpointEngine
from fgd_core.prediction.model import Engine, RawDetections
from fgd_core.prediction.pixels import ImageBatch
from fgd_core.spec.exports import ExportDescription

TOLERANCE = 1e-4
"""How far a score, a mask, or a coordinate relative to the longer side of its image may differ. float32 has 24 bits,
and the runtimes add in another order."""
_PIXEL = 1.0
"""A keypoint is at the pixel of the highest value, and which of two neighbours with nearly equal values that is, is
chance."""


def compare(exported: Engine, eager: CheckpointEngine, batches: Iterable[ImageBatch]) -> float:
    """Compare detections; return the largest difference.

    Raises:
        ExportDiffersError: it is above TOLERANCE, or a detection is missing.
    """
    largest = 0.0
    for batch in batches:
        pairs = zip(exported.detect(batch), eager.detect(batch), batch.sizes.tolist(), strict=True)
        for index, (found, wanted, size) in enumerate(pairs):
            difference = largest_difference(found, wanted, eager.description, side_px=max(size))
            if difference > TOLERANCE:
                raise ExportDiffersError(
                    f"the exported file differs from PyTorch by {difference:.2g}, and {TOLERANCE} is allowed; try "
                    "another format, or report the detector",
                    detector=exported.description.detector,
                    image=index,
                    num_found=len(found.scores),
                    num_wanted=len(wanted.scores),
                )
            largest = max(largest, difference)
    return largest


def largest_difference(
    found: RawDetections, wanted: RawDetections, description: ExportDescription, *, side_px: int
) -> float:
    """Return the largest difference between the detections of an image; infinite if one has no partner.

    Detections of nearly equal scores may change places, so each is compared with its nearest partner. At the score
    threshold, and at the limit of detections, which of two with nearly equal scores is kept is chance, so such a
    detection needs no partner.
    """
    floor = _floor(found, wanted, description)
    return max(_farthest(wanted, found, floor, side_px), _farthest(found, wanted, floor, side_px))


def _floor(found: RawDetections, wanted: RawDetections, description: ExportDescription) -> float:
    """Return the score at which it is chance whether a detection is kept."""
    full = [each.scores for each in (found, wanted) if len(each.scores) >= description.max_detections]
    return max([description.score_threshold, *(float(scores.min()) for scores in full)])


def _farthest(one: RawDetections, other: RawDetections, floor: float, side_px: int) -> float:
    """Return the largest distance of a detection of `one` to its nearest detection in `other`.

    Args:
        floor: a detection with about this score, or a lower one, needs no partner.
    """
    if not len(one.scores):
        return 0.0
    is_at_limit = one.scores <= floor + TOLERANCE
    if not len(other.scores):
        return 0.0 if bool(is_at_limit.all()) else np.inf
    distances = _distances(one, other, side_px)
    nearest = distances.min(1)
    nearest[is_at_limit & (nearest > TOLERANCE)] = 0
    return float(nearest.max())


def _distances(one: RawDetections, other: RawDetections, side_px: int) -> npt.NDArray[np.float64]:
    """Compute the distances (n, m) of all pairs; infinite between classes."""
    parts = [
        np.abs(one.scores[:, None].astype(np.float64) - other.scores),
        np.abs(one.boxes[:, None].astype(np.float64) - other.boxes).max(2) / side_px,
        np.where(one.labels[:, None] == other.labels, 0.0, np.inf),
    ]
    parts += [_mask_distances(one.masks, other.masks)] if one.masks is not None and other.masks is not None else []
    if one.keypoints is not None and other.keypoints is not None:
        parts.append(_keypoint_distances(one.keypoints, other.keypoints, side_px))
    distances: npt.NDArray[np.float64] = np.maximum.reduce(parts)
    return distances


def _mask_distances(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Compute the mean absolute difference of all pairs of masks (n, M, M) and (m, M, M): (n, m)."""
    rows: Sequence[npt.NDArray[np.float64]] = [np.abs(mask - other).mean((1, 2)) for mask in one]
    return np.stack(rows)


def _keypoint_distances(
    one: npt.NDArray[np.float32], other: npt.NDArray[np.float32], side_px: int
) -> npt.NDArray[np.float64]:
    """Compute the largest difference of a keypoint of all pairs of objects (n, K, 3) and (m, K, 3): (n, m).

    Scores have no limits, so they are compared relative to their size where it is above 1.
    """
    difference = np.abs(one[:, None].astype(np.float64) - other)  # (n, m, K, 3)
    places = (difference[..., :2].max(3) - _PIXEL).clip(0) / side_px
    scores = difference[..., 2] / np.maximum(np.abs(one[:, None, :, 2]), 1)
    return np.maximum(places, scores).max(2)  # type: ignore[no-any-return]
