"""The 12 numbers of COCO and AP per class, by pycocotools on a ground truth of our own making."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from pycocotools import coco, cocoeval
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from fgd_core.data.samples import DetectionDataset
from fgd_core.detectors.base import Detections
from fgd_core.spec.results import ClassScore, Scores

_Array: TypeAlias = Tensor | npt.NDArray[Any]

MAX_DETECTIONS = (1, 10, 100)
"""A class in an image, best first: what AR1, AR10 and AR100 are named after; AP takes the last."""

_ALL_AREAS, _MOST_DETECTIONS, _IOU_50 = 0, 2, 0
_SUMMARY = (
    "ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large",
    "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large",
)  # fmt: skip
"""As COCOeval.summarize() orders its numbers."""

# pycocotools prints as it goes. Redirecting stdout would swallow what other threads write meanwhile, a progress bar's
# among them; a name in a module's globals hides the built-in from that module alone.
for _module in (coco, cocoeval):
    vars(_module)["print"] = lambda *_args, **_options: None


def coco_scores(dataset: DetectionDataset, detections: Mapping[int, Detections]) -> Scores:
    """Score detections on a whole split.

    Args:
        detections: by image id, in pixels of the original image; an absent image counts as one where nothing was found.
    Raises:
        ValueError: detections for an image that the data set does not have, or arrays of unequal length.
    """
    evaluation = matched(dataset, detections)
    evaluation.accumulate()
    evaluation.summarize()
    precision = evaluation.eval["precision"]  # (IoU, recall, class, area, max detections)
    of_class = precision[:, :, :, _ALL_AREAS, _MOST_DETECTIONS]
    summary = {name: _known(value) for name, value in zip(_SUMMARY, evaluation.stats, strict=True)}
    return Scores(
        **summary,
        per_class={
            category.name: ClassScore(
                ap=_mean(of_class[:, :, place]),
                ap50=_mean(of_class[_IOU_50, :, place]),
                num_boxes=dataset.checked.boxes_per_category[category.name],
            )
            for place, category in enumerate(dataset.categories)
        },
    )


def matched(dataset: DetectionDataset, detections: Mapping[int, Detections]) -> COCOeval:
    """Detections matched with true boxes, not yet counted up; arguments and errors as of `coco_scores`."""
    evaluation = COCOeval(_ground_truth(dataset), _results(dataset, detections), "bbox")
    evaluation.params.maxDets = list(MAX_DETECTIONS)
    evaluation.evaluate()
    return evaluation


def _ground_truth(dataset: DetectionDataset) -> COCO:
    annotations: list[dict[str, object]] = []
    for sample in dataset.samples:
        boxes = sample.boxes_xyxy_px.astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        rows = zip(
            boxes.tolist(), sample.labels.tolist(), sample.is_crowd.tolist(), sample.areas_px2.tolist(), strict=True
        )
        annotations.extend(
            {
                # From 1: COCOeval reads a match with id 0 as no match.
                "id": number,
                "image_id": sample.image_id,
                "category_id": dataset.categories[label].id,
                "bbox": box,
                "area": area,
                "iscrowd": int(is_crowd),
            }
            for number, (box, label, is_crowd, area) in enumerate(rows, start=len(annotations) + 1)
        )
    return _indexed(dataset, annotations)


def _results(dataset: DetectionDataset, detections: Mapping[int, Detections]) -> COCO:
    unknown = sorted(detections.keys() - {sample.image_id for sample in dataset.samples})
    if unknown:
        raise ValueError(f"detections for images that the data set does not have: {unknown[:5]}")
    annotations: list[dict[str, object]] = []
    for image_id, found in detections.items():
        boxes = _array(found.boxes_xyxy_px).reshape(-1, 4)
        scores, labels = _array(found.scores).tolist(), _array(found.labels).tolist()
        if not len(boxes) == len(scores) == len(labels):
            raise ValueError(f"image {image_id}: {len(boxes)} boxes, {len(scores)} scores, {len(labels)} labels")
        corners, sides = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
        areas = (sides[:, 0] * sides[:, 1]).tolist()
        rows = zip(np.hstack([corners, sides]).tolist(), areas, scores, labels, strict=True)
        annotations.extend(
            {
                "id": number,
                "image_id": image_id,
                "category_id": dataset.categories[int(label)].id,
                "bbox": box,
                "area": area,
                "score": score,
                "iscrowd": 0,
            }
            for number, (box, area, score, label) in enumerate(rows, start=len(annotations) + 1)
        )
    return _indexed(dataset, annotations)


def _indexed(dataset: DetectionDataset, annotations: list[dict[str, object]]) -> COCO:
    indexed = COCO()
    indexed.dataset = {
        "images": [{"id": s.image_id, "height": s.height, "width": s.width} for s in dataset.samples],
        "categories": [{"id": category.id, "name": category.name} for category in dataset.categories],
        "annotations": annotations,
    }
    indexed.createIndex()
    return indexed


def _array(values: _Array) -> npt.NDArray[np.float64]:
    if isinstance(values, Tensor):
        values = values.detach().cpu().double().numpy()
    return np.asarray(values, dtype=np.float64)


def _mean(precision: npt.NDArray[np.float64]) -> float | None:
    valid = precision[precision > -1]
    return float(valid.mean()) if len(valid) else None


def _known(value: float) -> float | None:
    return None if value < 0 else float(value)
