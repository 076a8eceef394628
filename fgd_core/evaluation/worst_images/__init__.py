"""Shows the images on which a detector errs most, beside what its teachers find there and where both look."""

import base64
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image

from fgd_core.data.loading import Batch, evaluation_batch
from fgd_core.data.samples import DetectionDataset, Sample
from fgd_core.detectors.base import Detector
from fgd_core.evaluation.diagnosis.matching import MatchedImage, match_image
from fgd_core.evaluation.inference import ImageDetections, in_original_pixels
from fgd_core.evaluation.worst_images.attention import Pyramid, attention_maps
from fgd_core.evaluation.worst_images.drawing import draw_boxes, draw_maps
from fgd_core.spec.data import InputSpec
from fgd_core.spec.events import ArtifactSaved
from fgd_core.spec.worst_images import MIN_SCORE, OWN, WORST_IMAGES, FoundBox, ShownImage, TrueBox, WorstImages
from fgd_core.stopping import stoppable
from fgd_core.storage import write_atomically

NUM_IMAGES = 8
_LONGER_PX = 480
_JPEG_QUALITY = 80


class ShownTeacher(NamedTuple):
    """Holds a teacher whose detections and maps are shown beside the student's."""

    name: str
    detector: Detector
    """On the run's device, in eval mode, at its input scale."""
    dataset: DetectionDataset
    """The validation split as the teacher sees it."""
    classes: Sequence[int | None]
    """For each class of the data the teacher's; None if the teacher lacks it."""


class Looking(NamedTuple):
    """Holds what every look at an image needs."""

    dataset: DetectionDataset
    input_spec: InputSpec
    device: torch.device
    autocast_dtype: torch.dtype | None


class _Seen(NamedTuple):
    """Holds what a detector makes of one image."""

    batch: Batch
    pyramid: Pyramid
    detections: ImageDetections


def worst(images: Sequence[MatchedImage], num_images: int = NUM_IMAGES) -> list[int]:
    """Return the indices of the images with the most errors, most first; images without an error are left out."""
    errors = [num_errors(image) for image in images]
    ranked = sorted(range(len(images)), key=lambda index: -errors[index])
    return [index for index in ranked[:num_images] if errors[index]]


def num_errors(image: MatchedImage) -> int:
    """Count the false positives and the missed objects of an image, at the score from which detections are shown."""
    shown = image.scores >= MIN_SCORE
    num_found = int((shown & image.is_right).sum())
    return int((shown & image.is_wrong).sum()) + len(image.true_labels) - num_found


def save_worst_images(
    looking: Looking,
    detector: Detector,
    teachers: Sequence[ShownTeacher],
    images: Sequence[MatchedImage],
    folder: Path,
) -> Iterator[ArtifactSaved]:
    """Write `worst_images.json`, `worst_images.png` and `attention.png` into `folder`; nothing without errors.

    Runs the networks on these images only; on one rank.

    Args:
        detector: on the device, in eval mode.
        images: the detector's matched detections, in the order of the data set.
    Raises:
        StorageError: a file could not be written.
        Stopped: the run was asked to stop.
    """
    shown = [_shown(looking, index, images[index], detector, teachers) for index in stoppable(worst(images))]
    if not shown:
        return
    content = WorstImages(fingerprint=looking.dataset.fingerprint, images=shown).model_dump_json().encode()
    yield _written(folder / WORST_IMAGES, content, "application/json")
    for name, draw in _PICTURES:
        yield _written(folder / name, draw(shown), "image/png")


_PICTURES: tuple[tuple[str, Callable[[Sequence[ShownImage]], bytes]], ...] = (
    ("worst_images.png", draw_boxes),
    ("attention.png", draw_maps),
)


def _written(path: Path, content: bytes, media_type: str) -> ArtifactSaved:
    return write_atomically(path, lambda file: file.write(content)).artifact(media_type)


def _shown(
    looking: Looking, index: int, own: MatchedImage, detector: Detector, teachers: Sequence[ShownTeacher]
) -> ShownImage:
    sample = looking.dataset.samples[index]
    names = [category.name for category in looking.dataset.categories]
    student = _look(looking, looking.dataset, detector, index)
    found, pyramids = {OWN: _found(own, names)}, {}
    for teacher in teachers:
        seen = _look(looking, teacher.dataset, teacher.detector, index)
        matched = match_image(sample, with_classes(seen.detections, teacher.classes))
        found[teacher.name], pyramids[teacher.name] = _found(matched, names), seen.pyramid
    return ShownImage(
        image_id=sample.image_id,
        file_name=sample.file_name,
        width=sample.width,
        height=sample.height,
        jpeg=_jpeg(looking.dataset, index),
        truth=_truth(sample, names),
        found=found,
        maps=attention_maps(student.batch, student.pyramid, pyramids),
    )


@torch.no_grad()
def _look(looking: Looking, dataset: DetectionDataset, detector: Detector, index: int) -> _Seen:
    batch = evaluation_batch(dataset, [index], looking.input_spec)
    with torch.autocast(looking.device.type, looking.autocast_dtype, enabled=looking.autocast_dtype is not None):
        features = detector.features(batch.to(looking.device).images)
        (found,) = detector.detect(detector.predict(features, batch.image_sizes), batch.image_sizes)
    detections = in_original_pixels(found, batch.image_sizes[0], batch.original_sizes[0])
    return _Seen(
        batch, Pyramid([level.float().cpu() for level in features], detector.levels, detector.scale), detections
    )


def with_classes(detections: ImageDetections, classes: Sequence[int | None]) -> ImageDetections:
    """Give detections the labels of the data; those of classes that the data lacks are left out.

    Args:
        classes: for each class of the data the detector's; None if the detector lacks it.
    """
    of_data = {given: own for own, given in enumerate(classes) if given is not None}
    kept = torch.tensor([int(label) in of_data for label in detections.labels], dtype=torch.bool)
    labels = torch.tensor([of_data[int(label)] for label in detections.labels[kept]], dtype=torch.int64)
    return ImageDetections(detections.boxes_xyxy_px[kept], detections.scores[kept], labels)


def _truth(sample: Sample, names: Sequence[str]) -> list[TrueBox]:
    boxes, labels = sample.boxes_xyxy_px[~sample.is_crowd].tolist(), sample.labels[~sample.is_crowd]
    return [TrueBox(box_xyxy_px=tuple(box), label=names[label]) for box, label in zip(boxes, labels, strict=True)]


def _found(image: MatchedImage, names: Sequence[str]) -> list[FoundBox]:
    rows = zip(image.boxes_xyxy_px.tolist(), image.labels, image.scores, image.truth, image.is_ignored, strict=True)
    return [
        FoundBox(
            box_xyxy_px=tuple(box),
            label=names[label],
            score=float(score),
            truth=int(truth),
            is_ignored=bool(is_ignored),
        )
        for box, label, score, truth, is_ignored in rows
        if score >= MIN_SCORE
    ]


def _jpeg(dataset: DetectionDataset, index: int) -> str:
    image = Image.fromarray(dataset.load_image(index).permute(1, 2, 0).numpy())
    image.thumbnail((_LONGER_PX, _LONGER_PX))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_JPEG_QUALITY)
    return base64.b64encode(file.getvalue()).decode()
