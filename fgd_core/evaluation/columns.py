"""Arranges the true objects and the detections of a split in columns, as an engine of COCO's evaluation reads them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from pycocotools import mask as run_lengths
from torch import Tensor

from fgd_core.data.keypoints import names_of_keypoints
from fgd_core.data.masks import ObjectMasks, RunLengths
from fgd_core.data.samples import DetectionDataset, Sample
from fgd_core.detectors.base import Detections
from fgd_core.evaluation.inference import ImageDetections

Floats: TypeAlias = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]
Found: TypeAlias = Mapping[int, Detections | ImageDetections]
"""Detections by image id, in pixels of the original image; an image without an entry has no detections."""
Overlap: TypeAlias = Literal["bbox", "segm", "keypoints"]
"""What decides whether a detection has found an object: the IoU of boxes, the IoU of masks, or the OKS of keypoints."""

_Scalar = TypeVar("_Scalar", bound=np.generic)

COCO_KEYPOINTS, UNIFORM_SIGMA = 17, 0.05
_MASKS_AT_ONCE = 255
"""pycocotools 2.0.11 cannot measure the areas of 256 masks at once: it counts them in 8 bits."""


class Objects(NamedTuple):
    """Holds the n true objects or the n detections of a split; those of an image stand in their own order."""

    image: Integers
    """(n,) place of the image in the order of image ids"""
    label: Integers
    """(n,)"""
    boxes_xywh_px: Floats
    """(n, 4)"""
    areas_px2: Floats
    """(n,) of the annotation; of a detection, of its mask, of the box around its keypoints, or of its box"""
    is_crowd: Flags
    """(n,) False for detections"""
    scores: Floats
    """(n,) 1 for true objects"""
    masks: list[RunLengths] | None
    keypoints: Floats | None
    """(n, K, 3) x, y, and visibility or score"""


class Columns(NamedTuple):
    """Holds what an engine compares."""

    image_ids: Integers
    """(I,) in rising order"""
    image_sizes_px: Sequence[tuple[int, int]]
    """(height, width) of each image, in the order of `image_ids`"""
    num_classes: int
    overlap: Overlap
    truth: Objects
    found: Objects

    @property
    def keypoint_sigmas(self) -> Floats | None:
        """(K,) the deviations by which OKS judges keypoints; None for COCO's own, which an engine has."""
        keypoints = self.truth.keypoints
        if keypoints is None or keypoints.shape[1] == COCO_KEYPOINTS:
            return None
        return np.full(keypoints.shape[1], UNIFORM_SIGMA)


class Curves(NamedTuple):
    """Holds what an engine computes; -1 where there is no true object. As of `COCOeval.eval`."""

    precision: Floats
    """(T, R, K, A, M): ten IoUs or OKS, 101 recalls, classes, area ranges, numbers of detections"""
    recall: Floats
    """(T, K, A, M)"""


def columns_of(dataset: DetectionDataset, detections: Found, overlap: Overlap) -> Columns:
    """Arrange a split and its detections.

    Raises:
        ValueError: detections for an image that the data set does not have, arrays of unequal length, or no masks or
            keypoints where they decide.
    """
    samples = sorted(dataset.samples, key=lambda sample: sample.image_id)
    unknown = sorted(detections.keys() - {sample.image_id for sample in samples})
    if unknown:
        raise ValueError(f"detections for images that the data set does not have: {unknown[:5]}")
    num_keypoints = len(names_of_keypoints(dataset.categories))
    found = {
        place: detections[sample.image_id] for place, sample in enumerate(samples) if sample.image_id in detections
    }
    return Columns(
        image_ids=np.array([sample.image_id for sample in samples], dtype=np.int64),
        image_sizes_px=[(sample.height, sample.width) for sample in samples],
        num_classes=len(dataset.categories),
        overlap=overlap,
        truth=_truth(samples, overlap, num_keypoints),
        found=_found(samples, found, overlap, num_keypoints),
    )


def as_annotations(objects: Objects) -> list[dict[str, object]]:
    """Return the objects as annotations of COCO, with the places of images and the labels as ids.

    Annotations are numbered from 1: COCOeval reads a match with id 0 as no match.
    """
    crowd = objects.is_crowd.astype(np.int64)
    columns = (objects.image, objects.label, objects.boxes_xywh_px, objects.areas_px2, crowd, objects.scores)
    names = ("image_id", "category_id", "bbox", "area", "iscrowd", "score")
    rows = zip(*(column.tolist() for column in columns), strict=True)
    annotations = [{"id": number, **dict(zip(names, row, strict=True))} for number, row in enumerate(rows, start=1)]
    if objects.masks is not None:
        return [each | {"segmentation": mask} for each, mask in zip(annotations, objects.masks, strict=True)]
    if objects.keypoints is not None:
        labelled = (objects.keypoints[..., 2] > 0).sum(1).tolist()
        triples = zip(annotations, objects.keypoints, labelled, strict=True)
        return [each | {"keypoints": own.ravel().tolist(), "num_keypoints": number} for each, own, number in triples]
    return annotations


def _truth(samples: Sequence[Sample], overlap: Overlap, num_keypoints: int) -> Objects:
    labels = [sample.labels for sample in samples]
    image = _places(enumerate(labels))
    return Objects(
        image=image,
        label=_joined(labels, np.int64),
        boxes_xywh_px=_xywh(_joined([sample.boxes_xyxy_px for sample in samples], np.float64).reshape(-1, 4)),
        areas_px2=_joined([sample.areas_px2 for sample in samples], np.float64),
        is_crowd=_joined([sample.is_crowd for sample in samples], np.bool_),
        scores=np.ones(len(image)),
        masks=_masks(enumerate(samples), samples) if overlap == "segm" else None,
        keypoints=_keypoints(enumerate(samples), samples, num_keypoints) if overlap == "keypoints" else None,
    )


def _found(
    samples: Sequence[Sample],
    detections: Mapping[int, Detections | ImageDetections],
    overlap: Overlap,
    num_keypoints: int,
) -> Objects:
    """Arrange the detections, which are given by the place of their image."""
    for place, each in detections.items():
        sizes = [len(each.boxes_xyxy_px), len(each.scores), len(each.labels)]
        if len(set(sizes)) > 1:
            image_id = samples[place].image_id
            raise ValueError("image {}: {} boxes, {} scores, {} labels".format(image_id, *sizes))
    labels = {place: _array(each.labels) for place, each in detections.items()}
    image = _places(labels.items())
    boxes = _joined([_array(each.boxes_xyxy_px) for each in detections.values()], np.float64).reshape(-1, 4)
    # A box without a place overlaps nothing; pycocotools would take NaN for a perfect overlap.
    boxes[~np.isfinite(boxes).all(1)] = 0
    boxes = _xywh(boxes)
    scores = _joined([_array(each.scores) for each in detections.values()], np.float64)
    masks = _masks(detections.items(), samples) if overlap == "segm" else None
    keypoints = _keypoints(detections.items(), samples, num_keypoints) if overlap == "keypoints" else None
    return Objects(
        image=image,
        label=_joined([*labels.values()], np.int64),
        boxes_xywh_px=boxes,
        areas_px2=_areas_px2(boxes, masks, keypoints),
        is_crowd=np.zeros(len(image), np.bool_),
        scores=np.nan_to_num(scores, nan=np.finfo(np.float64).min),
        masks=masks,
        keypoints=keypoints,
    )


def _areas_px2(boxes_xywh_px: Floats, masks: list[RunLengths] | None, keypoints: Floats | None) -> Floats:
    """Measure detections: COCOeval puts one without a matched object into the area range of its own area."""
    if masks is not None:
        parts = [masks[start : start + _MASKS_AT_ONCE] for start in range(0, len(masks), _MASKS_AT_ONCE)]
        return _joined([run_lengths.area(part) for part in parts], np.float64)
    sides = boxes_xywh_px[:, 2:]
    if keypoints is not None:
        sides = keypoints[..., :2].max(1) - keypoints[..., :2].min(1)
    return np.multiply(sides[:, 0], sides[:, 1])


def _masks(
    objects: Iterable[tuple[int, Sample | Detections | ImageDetections]], samples: Sequence[Sample]
) -> list[RunLengths]:
    """Return the mask of each object; `objects` are given by the place of their image."""
    found: list[RunLengths] = []
    for place, each in objects:
        if not isinstance(each.masks, ObjectMasks) or len(each.masks) != len(each.labels):
            raise ValueError(
                f"image {samples[place].image_id}: mask scores need a mask, as run lengths, for each of the "
                f"{len(each.labels)} boxes"
            )
        found += each.masks.as_run_lengths()
    return found


def _keypoints(
    objects: Iterable[tuple[int, Sample | Detections | ImageDetections]], samples: Sequence[Sample], num_keypoints: int
) -> Floats:
    """Return the keypoints of each object (n, K, 3); `objects` are given by the place of their image."""
    found = []
    for place, each in objects:
        if each.keypoints is None or len(each.keypoints) != len(each.labels):
            raise ValueError(
                f"image {samples[place].image_id}: keypoint scores need keypoints for each of the "
                f"{len(each.labels)} boxes"
            )
        found.append(_array(each.keypoints).reshape(-1, num_keypoints, 3))
    return np.concatenate([np.zeros((0, num_keypoints, 3)), *found])


def _places(labels: Iterable[tuple[int, npt.NDArray[np.generic]]]) -> Integers:
    """Return the place of the image for each object: (n,)."""
    pairs = [(place, len(own)) for place, own in labels]
    places, numbers = (np.array(column, dtype=np.int64) for column in (zip(*pairs, strict=True) if pairs else ([], [])))
    return np.repeat(places, numbers)


def _xywh(boxes_xyxy_px: Floats) -> Floats:
    """Return boxes (n, 4) by their first corner and their sides."""
    return np.hstack([boxes_xyxy_px[:, :2], boxes_xyxy_px[:, 2:] - boxes_xyxy_px[:, :2]])


def _joined(parts: Sequence[npt.NDArray[np.generic]], dtype: type[_Scalar]) -> npt.NDArray[_Scalar]:
    return np.concatenate(parts).astype(dtype) if parts else np.zeros(0, dtype)


def _array(values: Tensor | npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
