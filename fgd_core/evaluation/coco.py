"""Computes COCO's 12 numbers, AP per class, mask AP and keypoint AP with pycocotools, without files."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from fgd_core.data.keypoints import names_of_keypoints
from fgd_core.data.masks import ObjectMasks
from fgd_core.data.samples import DetectionDataset, Sample
from fgd_core.detectors.base import Detections
from fgd_core.evaluation.inference import ImageDetections
from fgd_core.evaluation.pycocotools_private import Annotation, StoppableEval, index_annotations
from fgd_core.spec.results import ClassScore, KeypointScores, MaskScores, Scores

_Array: TypeAlias = Tensor | npt.NDArray[np.generic]
_Overlap: TypeAlias = Literal["bbox", "segm", "keypoints"]

MAX_DETECTIONS = (1, 10, 100)
"""The highest-scored detections of a class in an image that AR1, AR10 and AR100 count; AP uses the last."""

_ALL_AREAS, _MOST_DETECTIONS, _IOU_50 = 0, -1, 0
_SUMMARY = (
    "ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large",
    "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large",
)  # fmt: skip
"""The order of the numbers of COCOeval.summarize()."""
_KEYPOINT_SUMMARY = ("ap", "ap50", "ap75", "ap_medium", "ap_large", "ar", "ar50", "ar75", "ar_medium", "ar_large")
_COCO_KEYPOINTS, _UNIFORM_SIGMA = 17, 0.05


def coco_scores(dataset: DetectionDataset, detections: Mapping[int, Detections | ImageDetections]) -> Scores:
    """Score boxes on a whole split.

    Args:
        detections: by image id, in pixels of the original image; an image without an entry has no detections.
    Raises:
        ValueError: detections for an image that the data set does not have, or arrays of unequal length.
    """
    evaluation = match_detections(dataset, detections)
    return Scores(**_summary(evaluation), per_class=_per_class(evaluation, dataset))


def mask_scores(dataset: DetectionDataset, detections: Mapping[int, ImageDetections]) -> MaskScores:
    """Score masks on a whole split; arguments and errors as of `coco_scores`.

    Raises:
        ValueError: the data set or the detections have no masks.
    """
    evaluation = match_detections(dataset, detections, "segm")
    summary = _summary(evaluation)
    numbers = {name: summary[name] for name in MaskScores.model_fields if name in summary}
    return MaskScores(**numbers, per_class=_per_class(evaluation, dataset))


def keypoint_scores(dataset: DetectionDataset, detections: Mapping[int, ImageDetections]) -> KeypointScores:
    """Score keypoints on a whole split by their OKS; arguments and errors as of `coco_scores`.

    For 17 keypoints, OKS uses COCO's sigmas; else 0.05 for each keypoint, because sigmas are measured by annotating the
    same images several times, which few data sets did.

    Raises:
        ValueError: the data set or the detections have no keypoints.
    """
    evaluation = match_detections(dataset, detections, "keypoints")
    summary = _summary(evaluation, _KEYPOINT_SUMMARY)
    numbers = {name: summary[name] for name in KeypointScores.model_fields if name in summary}
    num_keypoints = len(names_of_keypoints(dataset.categories))
    sigmas = f"{_UNIFORM_SIGMA} for each of {num_keypoints} keypoints"
    if num_keypoints == _COCO_KEYPOINTS:
        sigmas = "those of COCO's 17 keypoints"
    return KeypointScores(**numbers, per_class=_per_class(evaluation, dataset), sigmas=sigmas)


def match_detections(
    dataset: DetectionDataset, detections: Mapping[int, Detections | ImageDetections], overlap: _Overlap = "bbox"
) -> COCOeval:
    """Match detections with true boxes, without accumulating scores; arguments and errors as of `coco_scores`."""
    evaluation = StoppableEval(_ground_truth(dataset, overlap), _results(dataset, detections, overlap), overlap)
    num_keypoints = len(names_of_keypoints(dataset.categories))
    if overlap != "keypoints":
        evaluation.params.maxDets = list(MAX_DETECTIONS)
    elif num_keypoints != _COCO_KEYPOINTS:
        evaluation.params.kpt_oks_sigmas = np.full(num_keypoints, _UNIFORM_SIGMA)
    evaluation.evaluate()
    return evaluation


def _summary(evaluation: COCOeval, names: Sequence[str] = _SUMMARY) -> dict[str, float | None]:
    evaluation.accumulate()
    evaluation.summarize()
    return {name: _known(value) for name, value in zip(names, evaluation.stats, strict=True)}


def _per_class(evaluation: COCOeval, dataset: DetectionDataset) -> dict[str, ClassScore]:
    precision = evaluation.eval["precision"]  # (IoU, recall, class, area, max detections)
    of_class = precision[:, :, :, _ALL_AREAS, _MOST_DETECTIONS]
    return {
        category.name: ClassScore(
            ap=_mean(of_class[:, :, index]),
            ap50=_mean(of_class[_IOU_50, :, index]),
            num_boxes=dataset.checked.boxes_per_category[category.name],
        )
        for index, category in enumerate(dataset.categories)
    }


def _ground_truth(dataset: DetectionDataset, overlap: _Overlap) -> COCO:
    annotations: list[Annotation] = []
    for sample in dataset.samples:
        boxes = sample.boxes_xyxy_px.astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        parts = _parts(sample, len(boxes), overlap, sample.image_id)
        columns = (boxes, sample.labels, sample.is_crowd, sample.areas_px2)
        rows = zip(*(column.tolist() for column in columns), parts, strict=True)
        annotations.extend(
            {
                # Numbered from 1: COCOeval reads a match with id 0 as no match.
                "id": number,
                "image_id": sample.image_id,
                "category_id": dataset.categories[label].id,
                "bbox": box,
                "area": area,
                "iscrowd": int(is_crowd),
                **part,
            }
            for number, (box, label, is_crowd, area, part) in enumerate(rows, start=len(annotations) + 1)
        )
    return _index(dataset, annotations)


def _results(
    dataset: DetectionDataset, detections: Mapping[int, Detections | ImageDetections], overlap: _Overlap
) -> COCO:
    unknown = sorted(detections.keys() - {sample.image_id for sample in dataset.samples})
    if unknown:
        raise ValueError(f"detections for images that the data set does not have: {unknown[:5]}")
    annotations: list[Annotation] = []
    for image_id, found in detections.items():
        boxes = _array(found.boxes_xyxy_px).reshape(-1, 4)
        scores, labels = _array(found.scores).tolist(), _array(found.labels).tolist()
        if not len(boxes) == len(scores) == len(labels):
            raise ValueError(f"image {image_id}: {len(boxes)} boxes, {len(scores)} scores, {len(labels)} labels")
        corners, sides = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
        parts = _parts(found, len(boxes), overlap, image_id)
        # COCOeval puts a detection without a matched object into the area range of the detection's own area.
        areas = [_area_px2(part, width * height) for part, (width, height) in zip(parts, sides.tolist(), strict=True)]
        rows = zip(np.hstack([corners, sides]).tolist(), areas, scores, labels, parts, strict=True)
        annotations.extend(
            {
                "id": number,
                "image_id": image_id,
                "category_id": dataset.categories[int(label)].id,
                "bbox": box,
                "area": area,
                "score": score,
                "iscrowd": 0,
                **part,
            }
            for number, (box, area, score, label, part) in enumerate(rows, start=len(annotations) + 1)
        )
    return _index(dataset, annotations)


def _parts(
    objects: Sample | Detections | ImageDetections, num_objects: int, overlap: _Overlap, image_id: int
) -> list[Annotation]:
    """Return the fields that each annotation of an image has besides its box: its mask or its keypoints, if these are
    scored."""
    match overlap:
        case "bbox":
            return [{}] * num_objects
        case "segm":
            return _segmentations(objects.masks, num_objects, image_id)
        case "keypoints":
            return _keypoints(objects.keypoints, num_objects, image_id)


def _keypoints(keypoints: _Array | None, num_objects: int, image_id: int) -> list[Annotation]:
    """Return for each object its keypoints (K, 3) as one list, and how many of them are labelled."""
    if keypoints is None or len(keypoints) != num_objects:
        raise ValueError(f"image {image_id}: keypoint scores need keypoints for each of the {num_objects} boxes")
    return [
        {"keypoints": own.ravel().tolist(), "num_keypoints": int((own[:, 2] > 0).sum())} for own in _array(keypoints)
    ]


def _area_px2(part: Annotation, of_box_px2: float) -> float:
    """Return the area of a detection, as pycocotools measures it: of its mask, of the box around its keypoints, or of
    its box."""
    if "segmentation" in part:
        return float(run_lengths.area(part["segmentation"]))
    if "keypoints" in part:
        places = np.array(part["keypoints"], dtype=np.float64).reshape(-1, 3)[:, :2]
        return float(np.ptp(places, axis=0).prod())
    return of_box_px2


def _segmentations(masks: ObjectMasks | Tensor | None, num_objects: int, image_id: int) -> list[Annotation]:
    """Return the mask of each object."""
    if not isinstance(masks, ObjectMasks) or len(masks) != num_objects:
        raise ValueError(
            f"image {image_id}: mask scores need a mask, as run lengths, for each of the {num_objects} boxes"
        )
    return [{"segmentation": mask} for mask in masks.as_run_lengths()]


def _index(dataset: DetectionDataset, annotations: list[Annotation]) -> COCO:
    return index_annotations(
        [{"id": s.image_id, "height": s.height, "width": s.width} for s in dataset.samples],
        [{"id": category.id, "name": category.name} for category in dataset.categories],
        annotations,
    )


def _array(values: _Array) -> npt.NDArray[np.float64]:
    if isinstance(values, Tensor):
        values = values.detach().cpu().double().numpy()
    return np.asarray(values, dtype=np.float64)


def _mean(precision: npt.NDArray[np.float64]) -> float | None:
    valid = precision[precision > -1]
    return float(valid.mean()) if len(valid) else None


def _known(value: float) -> float | None:
    return None if value < 0 else float(value)
