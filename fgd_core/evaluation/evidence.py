"""What a comparison needs of an evaluation: enough to score any resample of its images without the boxes.

Written as one .npz, read by `service.compare.evidence`. K classes, I images, D detections, four ranges of areas, ten
overlaps (IoU 0.50 to 0.95):

    version, fingerprint, class_names (K,), image_ids (I,), areas (4,), overlaps (10,)
    starts (K + 1,)                  the detections of class k are the rows starts[k] to starts[k + 1], best first
    image (D,), score (D,)           image as an index into image_ids
    right (D, 5), ignored (D, 5)     40 bits a row: area by area, overlap by overlap. Neither bit: a false alarm
    truth_starts (K + 1,)            the same for the images in which class k has true boxes:
    truth_image (G,), truth_count (G, 4)    how many of them count, for each range of areas

16 bytes a detection before compression, and 12 for each image of a class: at most 8.2 MB for COCO's 5,000 images with
100 detections each; about 3 MB once compressed.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from pycocotools.cocoeval import COCOeval

from fgd_core.spec.comparison import EVIDENCE, EVIDENCE_VERSION
from fgd_core.spec.events import ArtifactSaved
from fgd_core.storage import write_atomically

_ImageResult: TypeAlias = dict[str, Any]
"""One of `COCOeval.evalImgs`."""


def write_evidence(
    evaluation: COCOeval, *, fingerprint: str, class_names: Sequence[str], folder: Path
) -> ArtifactSaved:
    """
    Args:
        evaluation: evaluated, with `class_names` in the order of its categories.
        fingerprint: of the data set; only runs on the same one can be compared.
    Raises:
        StorageError: the file could not be written.
    """
    arrays = _arrays(evaluation, fingerprint, class_names)
    written = write_atomically(folder / EVIDENCE, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays))
    return ArtifactSaved(
        name=EVIDENCE,
        uri=written.path.resolve().as_uri(),
        media_type="application/octet-stream",
        sha256=written.sha256,
        size_bytes=written.size_bytes,
    )


def _arrays(evaluation: COCOeval, fingerprint: str, class_names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    params = evaluation.params
    image_ids = [int(image_id) for image_id in params.imgIds]
    place = {image_id: index for index, image_id in enumerate(image_ids)}
    of_image = np.uint16 if len(image_ids) <= np.iinfo(np.uint16).max else np.uint32
    detections, truths = [], []
    num_areas, num_images = len(params.areaRng), len(image_ids)
    for k in range(len(class_names)):
        per_area = [
            evaluation.evalImgs[(k * num_areas + area) * num_images :][:num_images] for area in range(num_areas)
        ]
        # An image with neither a box nor a detection of the class has no result, in any range of areas.
        images = [results for results in zip(*per_area, strict=True) if results[0] is not None]
        detections.append(_ranked(images, place, len(params.iouThrs)))
        truths.append(_counted(images, place, num_areas))
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
    images: Sequence[tuple[_ImageResult, ...]], place: dict[int, int], num_overlaps: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """The detections of one class, best first: image, score, and the packed bits of `right` and of `ignored`."""
    counts = [len(results[0]["dtScores"]) for results in images]
    image = np.repeat(np.array([place[results[0]["image_id"]] for results in images], dtype=np.int64), counts)
    score = np.array([score for results in images for score in results[0]["dtScores"]], dtype=np.float64)
    # Stable, as COCOeval sorts: kept in this order, ties of scores need no more thought.
    order = np.argsort(-score, kind="stable")
    num_areas = len(images[0]) if images else 4
    shape = (len(score), num_areas, num_overlaps)
    right, ignored = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    if images:
        for area in range(num_areas):
            forgiven = np.concatenate([results[area]["dtIgnore"] for results in images], axis=1).T.astype(np.bool_)
            matched = np.concatenate([results[area]["dtMatches"] for results in images], axis=1).T > 0
            right[:, area], ignored[:, area] = (matched & ~forgiven)[order], forgiven[order]
    return image[order], score[order], _packed(right), _packed(ignored)


def _counted(
    images: Sequence[tuple[_ImageResult, ...]], place: dict[int, int], num_areas: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Images with true boxes of one class, and how many count in each range of areas."""
    rows = [
        (place[results[0]["image_id"]], [int(np.count_nonzero(result["gtIgnore"] == 0)) for result in results])
        for results in images
    ]
    rows = [(image, count) for image, count in rows if any(count)]
    image = np.array([image for image, _ in rows], dtype=np.int64)
    return image, np.array([count for _, count in rows], dtype=np.int64).reshape(-1, num_areas)


def _packed(bits: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    return np.packbits(bits.reshape(len(bits), bits.shape[1] * bits.shape[2]), axis=1)


def _starts(lengths: Iterable[int]) -> npt.NDArray[np.int64]:
    return np.cumsum([0, *lengths], dtype=np.int64)
