"""Run a detector over a validation split: what it finds."""

from collections.abc import Callable

import torch

from fgd_core.data.loading import evaluation_batches
from fgd_core.data.samples import DetectionDataset
from fgd_core.detectors.base import Detector
from fgd_core.evaluation.found import Found
from fgd_core.evaluation.pasting import paste
from fgd_core.spec.data import InputSpec
from fgd_core.stopping import stoppable


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
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[int, Found]:
    """Detections for every image, by image id, in pixels of the original image.

    Args:
        detector: on `device`, in eval mode.
        with_masks: bring the detector's masks to the image's size; as run lengths, so that those of a whole split have
            room. Needs a detector that has masks.
        on_progress: called after each batch with images done and images in all.
    Raises:
        Stopped: the run has been asked to stop.
    """
    found: dict[int, Found] = {}
    for batch in stoppable(evaluation_batches(dataset, input_spec, batch_size=batch_size)):
        with torch.autocast(device.type, autocast_dtype, enabled=autocast_dtype is not None):
            features = detector.features(batch.images.to(device))
            detections = detector.detect(features, batch.image_sizes)
        for image_id, one, resized, original in zip(
            batch.image_ids, detections, batch.image_sizes, batch.original_sizes, strict=True
        ):
            ratio = torch.tensor([original[1] / resized[1], original[0] / resized[0]] * 2)
            boxes, masks = one.boxes_xyxy_px.cpu(), None
            if with_masks and one.masks is not None:
                masks = paste(one.masks, (boxes + detector.mask_offset_px) * ratio, original)
            found[image_id] = Found(boxes * ratio, one.scores.cpu(), one.labels.cpu(), masks)
        on_progress(len(found), len(dataset.samples))
    return found
