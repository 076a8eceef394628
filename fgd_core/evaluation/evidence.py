"""Writes what a comparison needs from an evaluation, so that any resample of the images can be scored without boxes.

The file is one .npz, read by `service.compare.evidence`. K classes, I images, D detections, four area ranges, ten
overlaps (IoU 0.50 to 0.95):

    version, fingerprint, class_names (K,), image_ids (I,), areas (4,), overlaps (10,)
    starts (K + 1,)                  rows starts[k] to starts[k + 1] are the detections of class k, best first
    image (D,), score (D,)           image as an index into image_ids
    right (D, 5), ignored (D, 5)     40 bits a row: area by area, overlap by overlap. Neither bit: a false positive
    truth_starts (K + 1,)            like `starts`, for the images in which class k has true boxes:
    truth_image (G,), truth_count (G, 4)    the number of true boxes that count, for each area range

Before compression a detection takes 16 bytes and an image of a class 12: at most 8.2 MB for COCO's 5,000 images with
100 detections each, about 3 MB compressed.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pycocotools.cocoeval import COCOeval

from fgd_core.evaluation.pycocotools_private import ImageResult
from fgd_core.spec.comparison import EVIDENCE, EVIDENCE_VERSION
from fgd_core.spec.events import ArtifactSaved
from fgd_core.storage import write_atomically


def write_evidence(
    evaluation: COCOeval, *, fingerprint: str, class_names: Sequence[str], folder: Path
) -> ArtifactSaved:
    """Write the evidence file of an evaluation into `folder`.

    Args:
        evaluation: already evaluated.
        fingerprint: of the data set; only runs on the same data set can be compared.
        class_names: in the order of the evaluation's categories.
    Raises:
        StorageError: the file could not be written.
    """
    arrays = _arrays(evaluation, fingerprint, class_names)
    written = write_atomically(folder / EVIDENCE, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays))
    return written.artifact("application/octet-stream")


def _arrays(evaluation: COCOeval, fingerprint: str, class_names: Sequence[str]) -> dict[str, npt.NDArray[np.generic]]:
    params = evaluation.params
    image_ids = [int(image_id) for image_id in params.imgIds]
    index_of = {image_id: index for index, image_id in enumerate(image_ids)}
    of_image = np.uint16 if len(image_ids) <= np.iinfo(np.uint16).max else np.uint32
    detections, truths = [], []
    num_areas, num_images = len(params.areaRng), len(image_ids)
    for k in range(len(class_names)):
        per_area = [
            evaluation.evalImgs[(k * num_areas + area) * num_images :][:num_images] for area in range(num_areas)
        ]
        # An image without a true box or a detection of the class has no result, in any area range.
        images = [results for results in zip(*per_area, strict=True) if results[0] is not None]
        detections.append(_ranked(images, index_of, len(params.iouThrs)))
        truths.append(_counted(images, index_of, num_areas))
    return {
        "version": np.array(EVIDENCE_VERSION),
        "fingerprint": np.array(fingerprint),
        "class_names": np.array(class_names, dtype=np.str_),
        "image_ids": np.array(image_ids, dtype=np.int64),
        "areas": np.array(params.areaRngLbl, dtype=np.str_),
        "overlaps": np.array(params.iouThrs, dtype=np.float64),
        "starts": _starts(len(image) for image, *_ in detections),
        "image": np.concatenate([image for image, *_ in detections]).astype(of_image),
        "score": np.concatenate([score for _, score, *_ in detections]).astype(np.float32),
        "right": np.concatenate([right for *_, right, _ in detections]),
        "ignored": np.concatenate([ignored for *_, ignored in detections]),
        "truth_starts": _starts(len(image) for image, _ in truths),
        "truth_image": np.concatenate([image for image, _ in truths]).astype(of_image),
        "truth_count": np.concatenate([count for _, count in truths]).astype(np.uint16),
    }


def _ranked(
    images: Sequence[tuple[ImageResult, ...]], index_of: dict[int, int], num_overlaps: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return the detections of one class, best first: image, score, packed `right` bits, packed `ignored` bits."""
    counts = [len(results[0]["dtScores"]) for results in images]
    image = np.repeat(np.array([index_of[results[0]["image_id"]] for results in images], dtype=np.int64), counts)
    score = np.array([score for results in images for score in results[0]["dtScores"]], dtype=np.float64)
    # Stable, as in COCOeval, so equal scores keep the same order as there.
    order = np.argsort(-score, kind="stable")
    num_areas = len(images[0]) if images else 4
    shape = (len(score), num_areas, num_overlaps)
    right, ignored = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    if images:
        for area in range(num_areas):
            is_ignored = np.concatenate([results[area]["dtIgnore"] for results in images], axis=1).T.astype(np.bool_)
            matched = np.concatenate([results[area]["dtMatches"] for results in images], axis=1).T > 0
            right[:, area], ignored[:, area] = (matched & ~is_ignored)[order], is_ignored[order]
    return image[order], score[order], _packed(right), _packed(ignored)


def _counted(
    images: Sequence[tuple[ImageResult, ...]], index_of: dict[int, int], num_areas: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the images with true boxes of one class, and how many boxes count in each area range."""
    rows = [
        (index_of[results[0]["image_id"]], [int(np.count_nonzero(result["gtIgnore"] == 0)) for result in results])
        for results in images
    ]
    rows = [(image, count) for image, count in rows if any(count)]
    image = np.array([image for image, _ in rows], dtype=np.int64)
    return image, np.array([count for _, count in rows], dtype=np.int64).reshape(-1, num_areas)


def _packed(bits: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    return np.packbits(bits.reshape(len(bits), bits.shape[1] * bits.shape[2]), axis=1)


def _starts(lengths: Iterable[int]) -> npt.NDArray[np.int64]:
    return np.cumsum([0, *lengths], dtype=np.int64)
