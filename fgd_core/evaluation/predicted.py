"""Scores a model that predicts from images of any kind of file, such as an export."""

import numpy as np
import torch

from fgd_core.data.masks import encode
from fgd_core.data.samples import DetectionDataset, has_keypoints, has_masks
from fgd_core.evaluation.coco import coco_scores, keypoint_scores, mask_scores
from fgd_core.evaluation.inference import ImageDetections
from fgd_core.prediction.model import Model, Prediction
from fgd_core.spec.results import Scores
from fgd_core.stopping import stoppable


def score_model(model: Model, dataset: DetectionDataset, *, batch_size: int) -> Scores:
    """Score the boxes of a model, and its masks or keypoints if it and the data have these.

    Raises:
        Stopped: the run was asked to stop.
    """
    detections: dict[int, ImageDetections] = {}
    for start in stoppable(range(0, len(dataset.samples), batch_size)):
        samples = dataset.samples[start : start + batch_size]
        images = [dataset.load_image(start + index) for index in range(len(samples))]
        for sample, found in zip(samples, model.batch(images), strict=True):
            detections[sample.image_id] = _detections(found)
    scores = coco_scores(dataset, detections)
    if model.description.has_masks and has_masks(dataset.samples):
        scores = scores.model_copy(update={"masks": mask_scores(dataset, detections)})
    if model.description.has_keypoints and has_keypoints(dataset.samples):
        scores = scores.model_copy(update={"keypoints": keypoint_scores(dataset, detections)})
    return scores


def _detections(found: Prediction) -> ImageDetections:
    masks = None
    if found.masks is not None:
        height, width = found.masks.shape[1:]
        masks = encode((np.asfortranarray(mask) for mask in found.masks), (height, width))
    return ImageDetections(
        torch.from_numpy(found.boxes_xyxy_px),
        torch.from_numpy(found.scores),
        torch.from_numpy(found.labels),
        masks,
        None if found.keypoints is None else torch.from_numpy(found.keypoints),
    )
