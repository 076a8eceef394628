"""Run a detector over a validation split: what it finds, what that is worth, and how fast it is."""

import time
from collections.abc import Callable

import torch

from fgd_core.data.loading import evaluation_batches
from fgd_core.data.samples import DetectionDataset
from fgd_core.detectors.base import Detector
from fgd_core.evaluation.found import Found
from fgd_core.evaluation.pasting import paste
from fgd_core.spec.data import InputSpec

_SPEED_WARMUP_IMAGES = 5
_SPEED_IMAGES = 50
_SPEED_LIMIT_S = 10.0


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
    """
    found: dict[int, Found] = {}
    for batch in evaluation_batches(dataset, input_spec, batch_size=batch_size):
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


@torch.no_grad()
def images_per_second(
    detector: Detector, dataset: DetectionDataset, input_spec: InputSpec, *, device: torch.device
) -> float:
    """Images a second through network and post-processing, one at a time, reading and resizing left out.

    Measured on up to 50 images after a warm-up, and for at most 10 s. On a CPU with one thread, whatever the run has,
    so that the figures of jobs with different resources can be held side by side.
    """
    batches = []
    for batch in evaluation_batches(dataset, input_spec, batch_size=1):
        batches.append(batch.to(device))
        if len(batches) == _SPEED_WARMUP_IMAGES + _SPEED_IMAGES:
            break

    def run(some: list[int]) -> int:
        done = 0
        deadline_s = time.perf_counter() + _SPEED_LIMIT_S
        for index in some:
            detector.detect(detector.features(batches[index].images), batches[index].image_sizes)
            done += 1
            if time.perf_counter() > deadline_s:
                break
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return done

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        warmup = min(_SPEED_WARMUP_IMAGES, len(batches) - 1)
        run(list(range(warmup)))
        started_s = time.perf_counter()
        done = run(list(range(warmup, len(batches))))
        return done / (time.perf_counter() - started_s)
    finally:
        torch.set_num_threads(threads)
