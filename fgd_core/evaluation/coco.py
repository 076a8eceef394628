"""Computes COCO's 12 numbers, AP per class and mask AP with pycocotools, on a ground truth built in memory."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from fgd_core.data.masks import ObjectMasks
from fgd_core.data.samples import DetectionDataset
from fgd_core.detectors.base import Detections
from fgd_core.evaluation.inference import ImageDetections
from fgd_core.evaluation.pycocotools_private import Annotation, StoppableEval, index_annotations
from fgd_core.spec.results import ClassScore, MaskScores, Scores

_Array: TypeAlias = Tensor | npt.NDArray[np.generic]
_Overlap: TypeAlias = Literal["bbox", "segm"]

MAX_DETECTIONS = (1, 10, 100)
"""The highest-scored detections of a class in an image that AR1, AR10 and AR100 count; AP uses the last."""

_ALL_AREAS, _MOST_DETECTIONS, _IOU_50 = 0, 2, 0
_SUMMARY = (
    "ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large",
    "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large",
)  # fmt: skip
"""The order of the numbers of COCOeval.summarize()."""


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


def match_detections(
    dataset: DetectionDataset, detections: Mapping[int, Detections | ImageDetections], overlap: _Overlap = "bbox"
) -> COCOeval:
    """Match detections with true boxes, without accumulating scores; arguments and errors as of `coco_scores`."""
    evaluation = StoppableEval(_ground_truth(dataset, overlap), _results(dataset, detections, overlap), overlap)
    evaluation.params.maxDets = list(MAX_DETECTIONS)
    evaluation.evaluate()
    return evaluation


def _summary(evaluation: COCOeval) -> dict[str, float | None]:
    evaluation.accumulate()
    evaluation.summarize()
    return {name: _known(value) for name, value in zip(_SUMMARY, evaluation.stats, strict=True)}


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
        masks = _segmentations(sample.masks, len(boxes), overlap, sample.image_id)
        columns = (boxes, sample.labels, sample.is_crowd, sample.areas_px2)
        rows = zip(*(column.tolist() for column in columns), masks, strict=True)
        annotations.extend(
            {
                # Numbered from 1: COCOeval reads a match with id 0 as no match.
                "id": number,
                "image_id": sample.image_id,
                "category_id": dataset.categories[label].id,
                "bbox": box,
                "area": area,
                "iscrowd": int(is_crowd),
                **mask,
            }
            for number, (box, label, is_crowd, area, mask) in enumerate(rows, start=len(annotations) + 1)
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
        masks = _segmentations(found.masks, len(boxes), overlap, image_id)
        # COCOeval puts a detection without a matched object into the area range of the detection's own area.
        areas = [
            float(run_lengths.area(mask["segmentation"])) if mask else width * height
            for mask, (width, height) in zip(masks, sides.tolist(), strict=True)
        ]
        rows = zip(np.hstack([corners, sides]).tolist(), areas, scores, labels, masks, strict=True)
        annotations.extend(
            {
                "id": number,
                "image_id": image_id,
                "category_id": dataset.categories[int(label)].id,
                "bbox": box,
                "area": area,
                "score": score,
                "iscrowd": 0,
                **mask,
            }
            for number, (box, area, score, label, mask) in enumerate(rows, start=len(annotations) + 1)
        )
    return _index(dataset, annotations)


def _segmentations(
    masks: ObjectMasks | Tensor | None, num_objects: int, overlap: _Overlap, image_id: int
) -> list[Annotation]:
    """Return the fields that each annotation of an image has besides its box: its mask, if masks are scored."""
    if overlap == "bbox":
        return [{}] * num_objects
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
