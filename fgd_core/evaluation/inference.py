"""Runs a detector on every image of a validation split."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from fgd_core.data.loading import evaluation_batches
from fgd_core.data.masks import ObjectMasks
from fgd_core.data.samples import DetectionDataset
from fgd_core.detectors.base import Detections, Detector
from fgd_core.evaluation.pasting import paste
from fgd_core.ranks import gathered_on_first, world_size
from fgd_core.spec.data import InputSpec
from fgd_core.stopping import stoppable


class ImageDetections(NamedTuple):
    """Holds the detections of one image, highest score first: in pixels of the original image, on the CPU."""

    boxes_xyxy_px: Tensor
    """(n, 4)"""
    scores: Tensor
    """(n,) in [0, 1]"""
    labels: Tensor
    """(n,) int64, the index of the class"""
    masks: ObjectMasks | None = None
    """n masks of the image's size"""
    keypoints: Tensor | None = None
    """(n, K, 3) x, y, and a score"""


@torch.no_grad()
def detect_all(
    detector: Detector,
    dataset: DetectionDataset,
    input_spec: InputSpec,
    *,
    batch_size: int,
    device: torch.device,
    autocast_dtype: torch.dtype | None = None,
    with_masks: bool = False,
    loader_workers: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[int, ImageDetections]:
    """Detect the objects of every image; the results are by image id, in the data set's order.

    Several ranks share the batches, and rank 0 returns the detections of all of them; the others return nothing.

    Args:
        detector: on `device`, in eval mode.
        with_masks: resize the detector's masks to the image's size, as run lengths, so that the masks of a whole split
            fit into memory. Needs a detector with masks.
        loader_workers: number of processes that read images; 0 reads in this process.
        on_progress: called after each batch with the number of images done and of all images.
    Raises:
        Stopped: the run was asked to stop.
    """
    detected: dict[int, ImageDetections] = {}
    for batch in stoppable(evaluation_batches(dataset, input_spec, batch_size=batch_size, workers=loader_workers)):
        with torch.autocast(device.type, autocast_dtype, enabled=autocast_dtype is not None):
            features = detector.features(batch.to(device).images)
            detections = detector.detect(detector.predict(features, batch.image_sizes), batch.image_sizes)
        for image_id, one, resized, original in zip(
            batch.image_ids, detections, batch.image_sizes, batch.original_sizes, strict=True
        ):
            ratio = _ratio(resized, original)
            boxes, masks, keypoints = one.boxes_xyxy_px.cpu(), None, None
            if with_masks and one.masks is not None:
                masks = paste(one.masks, (boxes + detector.mask_offset_px) * ratio, original)
            if one.keypoints is not None:
                keypoints = one.keypoints.cpu() * torch.cat([ratio[:2], torch.ones(1)])
            detected[image_id] = ImageDetections(boxes * ratio, one.scores.cpu(), one.labels.cpu(), masks, keypoints)
        num_images = len(dataset.samples)
        on_progress(min(num_images, len(detected) * world_size()), num_images)
    found: dict[int, ImageDetections] = {}
    for part in gathered_on_first(detected):
        found |= part
    return {sample.image_id: found[sample.image_id] for sample in dataset.samples if found}


def in_original_pixels(detections: Detections, resized: tuple[int, int], original: tuple[int, int]) -> ImageDetections:
    """Move the boxes of one image to the CPU and to pixels of the original image; leaves out masks and keypoints.

    Args:
        resized, original: (height, width) in pixels.
    """
    boxes = detections.boxes_xyxy_px.cpu() * _ratio(resized, original)
    return ImageDetections(boxes, detections.scores.cpu(), detections.labels.cpu())


def _ratio(resized: tuple[int, int], original: tuple[int, int]) -> Tensor:
    """Return the pixels of the original image for each pixel of the resized one, for xyxy: (4,)."""
    return torch.tensor([original[1] / resized[1], original[0] / resized[0]] * 2)
