"""The 12 numbers of COCO, AP per class and AP of masks, by pycocotools on a ground truth of our own making."""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pycocotools import coco, cocoeval
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from fgd_core.data.masks import ObjectMasks
from fgd_core.data.samples import DetectionDataset
from fgd_core.detectors.base import Detections
from fgd_core.evaluation.found import Found
from fgd_core.spec.results import ClassScore, MaskScores, Scores
from fgd_core.stopping import raise_if_stopped

_Array: TypeAlias = Tensor | npt.NDArray[Any]
_Overlap: TypeAlias = Literal["bbox", "segm"]

MAX_DETECTIONS = (1, 10, 100)
"""A class in an image, best first: what AR1, AR10 and AR100 are named after; AP takes the last."""

_ASKS_EVERY = 5_000
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


def coco_scores(dataset: DetectionDataset, detections: Mapping[int, Detections | Found]) -> Scores:
    """Score boxes on a whole split.

    Args:
        detections: by image id, in pixels of the original image; an absent image counts as one where nothing was found.
    Raises:
        ValueError: detections for an image that the data set does not have, or arrays of unequal length.
    """
    evaluation = matched(dataset, detections)
    return Scores(**_summary(evaluation), per_class=_per_class(evaluation, dataset))


def mask_scores(dataset: DetectionDataset, found: Mapping[int, Found]) -> MaskScores:
    """Score masks on a whole split; arguments and errors as of `coco_scores`.

    Raises:
        ValueError: the data set or what was found has no masks.
    """
    evaluation = _matched(dataset, found, "segm")
    summary = _summary(evaluation)
    numbers = {name: summary[name] for name in MaskScores.model_fields if name in summary}
    return MaskScores(**numbers, per_class=_per_class(evaluation, dataset))


def matched(dataset: DetectionDataset, detections: Mapping[int, Detections | Found]) -> COCOeval:
    """Detections matched with true boxes, not yet counted up; arguments and errors as of `coco_scores`."""
    return _matched(dataset, detections, "bbox")


def _matched(dataset: DetectionDataset, detections: Mapping[int, Detections | Found], overlap: _Overlap) -> COCOeval:
    evaluation = _StoppableEval(_ground_truth(dataset, overlap), _results(dataset, detections, overlap), overlap)
    evaluation.params.maxDets = list(MAX_DETECTIONS)
    evaluation.evaluate()
    return evaluation


class _StoppableEval(COCOeval):  # type: ignore[misc]
    """Asks now and then whether to stop; on 5,000 images of 80 classes it is called 2 million times."""

    _calls = 0

    def computeIoU(self, *arguments: int) -> Any:
        self._ask()
        return super().computeIoU(*arguments)

    def evaluateImg(self, *arguments: Any) -> Any:
        self._ask()
        return super().evaluateImg(*arguments)

    def _ask(self) -> None:
        self._calls += 1
        if self._calls % _ASKS_EVERY == 0:
            raise_if_stopped()


def _summary(evaluation: COCOeval) -> dict[str, float | None]:
    evaluation.accumulate()
    evaluation.summarize()
    return {name: _known(value) for name, value in zip(_SUMMARY, evaluation.stats, strict=True)}


def _per_class(evaluation: COCOeval, dataset: DetectionDataset) -> dict[str, ClassScore]:
    precision = evaluation.eval["precision"]  # (IoU, recall, class, area, max detections)
    of_class = precision[:, :, :, _ALL_AREAS, _MOST_DETECTIONS]
    return {
        category.name: ClassScore(
            ap=_mean(of_class[:, :, place]),
            ap50=_mean(of_class[_IOU_50, :, place]),
            num_boxes=dataset.checked.boxes_per_category[category.name],
        )
        for place, category in enumerate(dataset.categories)
    }


def _ground_truth(dataset: DetectionDataset, overlap: _Overlap) -> COCO:
    annotations: list[dict[str, object]] = []
    for sample in dataset.samples:
        boxes = sample.boxes_xyxy_px.astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        masks = _segmentations(sample.masks, len(boxes), overlap, sample.image_id)
        rows = zip(
            boxes.tolist(),
            sample.labels.tolist(),
            sample.is_crowd.tolist(),
            sample.areas_px2.tolist(),
            masks,
            strict=True,
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
                **mask,
            }
            for number, (box, label, is_crowd, area, mask) in enumerate(rows, start=len(annotations) + 1)
        )
    return _indexed(dataset, annotations)


def _results(dataset: DetectionDataset, detections: Mapping[int, Detections | Found], overlap: _Overlap) -> COCO:
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
        masks = _segmentations(found.masks, len(boxes), overlap, image_id)
        # A detection that meets no object counts where its own size belongs.
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
    return _indexed(dataset, annotations)


def _segmentations(
    masks: ObjectMasks | Tensor | None, num_objects: int, overlap: _Overlap, image_id: int
) -> list[dict[str, object]]:
    """What each annotation of an image says besides its box."""
    if overlap == "bbox":
        return [{}] * num_objects
    if not isinstance(masks, ObjectMasks) or len(masks) != num_objects:
        raise ValueError(f"image {image_id}: {num_objects} boxes need as many masks, as run lengths, to be scored by")
    return [{"segmentation": mask} for mask in masks.as_run_lengths()]


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
