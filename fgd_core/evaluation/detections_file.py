"""Writes the detections of a whole split, so that the server can show those of several jobs on the same images.

The file is one .npz, read by `service.compare.detections`. I images, D detections, G true boxes without crowds:

    version, fingerprint, class_names (K,), image_ids (I,)
    file_names (I,), sizes (I, 2)     width and height in pixels
    starts (I + 1,)       rows starts[i] to starts[i + 1] are the detections of image i, best first
    boxes (D, 4)          xyxy in pixels of the image
    score (D,), label (D,)
    truth (D,)            index of the true box that was found at IoU 0.5, crowds not counted; or -1
    ignored (D,)          whether the detection lies in a crowd
    true_starts (I + 1,), true_boxes (G, 4), true_label (G,)
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fgd_core.data.samples import DetectionDataset
from fgd_core.evaluation.diagnosis.matching import MatchedImage
from fgd_core.spec.events import ArtifactSaved
from fgd_core.spec.worst_images import DETECTIONS, DETECTIONS_VERSION
from fgd_core.storage import write_atomically

MIN_SCORE = 0.05


def write_detections(dataset: DetectionDataset, images: Sequence[MatchedImage], folder: Path) -> ArtifactSaved:
    """Write the detections with a score of at least `MIN_SCORE` into `folder`.

    Args:
        images: in the order of the data set.
    Raises:
        StorageError: the file could not be written.
    """
    kept = [_above(image, MIN_SCORE) for image in images]
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "boxes": _joined([each.boxes_xyxy_px for each in kept]).reshape(-1, 4).astype(np.float32),
        "score": _joined([each.scores for each in kept]).astype(np.float32),
        "label": _joined([each.labels for each in kept]).astype(np.int32),
        "truth": _joined([each.truth for each in kept]).astype(np.int32),
        "ignored": _joined([each.is_ignored for each in kept]).astype(np.bool_),
        "starts": _starts([len(each.scores) for each in kept]),
        "true_boxes": _joined([each.true_boxes_xyxy_px for each in kept]).reshape(-1, 4).astype(np.float32),
        "true_label": _joined([each.true_labels for each in kept]).astype(np.int32),
        "true_starts": _starts([len(each.true_labels) for each in kept]),
    }
    arrays |= {
        "version": np.array(DETECTIONS_VERSION),
        "fingerprint": np.array(dataset.fingerprint),
        "class_names": np.array([category.name for category in dataset.categories], dtype=np.str_),
        "image_ids": np.array([sample.image_id for sample in dataset.samples], dtype=np.int64),
        "file_names": np.array([sample.file_name for sample in dataset.samples], dtype=np.str_),
        "sizes": np.array([(each.width, each.height) for each in dataset.samples], dtype=np.int32).reshape(-1, 2),
    }
    written = write_atomically(
        folder / DETECTIONS, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays)
    )
    return written.artifact("application/octet-stream")


def _above(image: MatchedImage, score: float) -> MatchedImage:
    """Leave out the detections with a lower score; all arrays (D, …) become shorter."""
    kept = image.scores >= score
    return image._replace(
        boxes_xyxy_px=image.boxes_xyxy_px[kept],
        scores=image.scores[kept],
        labels=image.labels[kept],
        truth=image.truth[kept],
        is_ignored=image.is_ignored[kept],
        iou=image.iou[kept],
    )


def _starts(counts: Sequence[int]) -> npt.NDArray[np.int64]:
    return np.cumsum([0, *counts], dtype=np.int64)


def _joined(parts: Sequence[npt.NDArray[np.generic]]) -> npt.NDArray[np.generic]:
    return np.concatenate(parts) if parts else np.zeros(0)
