"""Draws sample pictures of a split: the annotations, and below them the detections."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional
from torchvision.utils import draw_segmentation_masks, make_grid

from fgd_core.data.examples import Example
from fgd_core.data.samples import DetectionDataset
from fgd_core.data.training_examples import Place, TrainingExamples
from fgd_core.data.transforms import resize_masks
from fgd_core.evaluation.inference import ImageDetections
from fgd_core.stopping import stoppable

_SIDE_PX = 256
_COLUMNS = 4
_MIN_SCORE = 0.3
_MASK_OPACITY = 0.4
_LINE_PX = 2
_KEYPOINT_RADIUS_PX = 3
# Distinct hues that stay readable on photographs; further classes reuse them.
_COLOURS = (
    "#e6194b", "#3cb44b", "#ffe119", "#4363d8", "#f58231", "#42d4f4", "#f032e6", "#bfef45", "#fabed4", "#469990",
)  # fmt: skip


def drawn_images(dataset: DetectionDataset, num_images: int = 6) -> list[int]:
    """Return the indices of the images that `draw_samples` draws: spread evenly over the split."""
    last = len(dataset.samples) - 1
    return [int(index) for index in np.linspace(0, last, min(num_images, last + 1)).round()]


def draw_samples(dataset: DetectionDataset, detections: Mapping[int, ImageDetections], num_images: int = 6) -> bytes:
    """Draw a PNG of two rows, annotations above and detections with a score of at least 0.3 below.

    Draws boxes, and masks and keypoints if there are any.
    """
    chosen = drawn_images(dataset, num_images)
    detected = []
    for index in stoppable(chosen):
        one = detections[dataset.samples[index].image_id]
        keep = one.scores >= _MIN_SCORE
        detected.append(
            _draw(
                dataset,
                dataset.load_image(index),
                one.boxes_xyxy_px[keep],
                one.labels[keep],
                scores=one.scores[keep].tolist(),
                masks=one.masks.decode(keep.numpy()) if one.masks is not None else None,
                keypoints=one.keypoints[keep][..., :2] if one.keypoints is not None else None,
            )
        )
    return _png([*(_draw_annotated(dataset, index) for index in chosen), *detected], columns=len(chosen))


def draw_annotations(dataset: DetectionDataset, num_images: int) -> bytes:
    """Draw a PNG of images, spread evenly over the split, with their annotations."""
    chosen = stoppable(drawn_images(dataset, num_images))
    return _png([_draw_annotated(dataset, index) for index in chosen], columns=_COLUMNS)


def draw_augmented(
    dataset: DetectionDataset, examples: TrainingExamples, num_images: int, *, columns: int = 4
) -> bytes:
    """Draw a PNG of images, spread evenly over the split, as the first epoch shows them with their objects.

    Args:
        examples: of the same split.
    """
    chosen = stoppable(drawn_images(dataset, num_images))
    return _png([_draw_example(dataset, examples.at(Place(0, index))) for index in chosen], columns=_COLUMNS)


def _draw_example(dataset: DetectionDataset, example: Example) -> Tensor:
    """Draw an example: (3, _SIDE_PX, _SIDE_PX) uint8."""
    keypoints = _labelled_places(example.keypoints) if example.keypoints is not None else None
    return _draw(dataset, example.image, example.boxes, example.labels, masks=example.masks, keypoints=keypoints)


def _draw_annotated(dataset: DetectionDataset, index: int) -> Tensor:
    """Draw an image with its annotations: (3, _SIDE_PX, _SIDE_PX) uint8."""
    sample = dataset.samples[index]
    boxes, labels = torch.from_numpy(sample.boxes_xyxy_px), torch.from_numpy(sample.labels)
    masks = sample.masks.decode() if sample.masks is not None else None
    keypoints = _labelled_places(torch.from_numpy(sample.keypoints)) if sample.keypoints is not None else None
    return _draw(dataset, dataset.load_image(index), boxes, labels, masks=masks, keypoints=keypoints)


def _labelled_places(keypoints: Tensor) -> Tensor:
    """Return x and y (n, K, 2) of keypoints (n, K, 3); those that are not labelled lie outside of the image."""
    return torch.where(keypoints[..., 2:] > 0, keypoints[..., :2], -_SIDE_PX)


def _png(pictures: Sequence[Tensor], *, columns: int) -> bytes:
    """Join pictures (3, H, W) uint8 in a grid."""
    grid = make_grid(torch.stack([*pictures]), nrow=columns, padding=4, pad_value=255)
    file = io.BytesIO()
    Image.fromarray(grid.permute(1, 2, 0).numpy()).save(file, "PNG", compress_level=4)
    return file.getvalue()


def _draw(
    dataset: DetectionDataset,
    image: Tensor,
    boxes: Tensor,
    labels: Tensor,
    *,
    scores: list[float] | None = None,
    masks: Tensor | None = None,
    keypoints: Tensor | None = None,
) -> Tensor:
    """Draw the image, letterboxed into a square, with its boxes, masks and keypoints: (3, _SIDE_PX, _SIDE_PX) uint8.

    Args:
        keypoints: (n, K, 2) x and y in pixels of the image.
    """
    height, width = image.shape[1:]
    ratio = _SIDE_PX / max(height, width)
    size = (max(1, round(height * ratio)), max(1, round(width * ratio)))
    resized = functional.interpolate(image[None].float(), size, mode="bilinear", antialias=True)[0].byte()
    canvas = torch.full((3, _SIDE_PX, _SIDE_PX), 255, dtype=torch.uint8)
    canvas[:, : size[0], : size[1]] = resized
    if len(boxes) == 0:
        return canvas
    names = [dataset.categories[int(label)].name for label in labels]
    captions = names if scores is None else [f"{name} {score:.2f}" for name, score in zip(names, scores, strict=True)]
    colours = [_COLOURS[int(label) % len(_COLOURS)] for label in labels]
    if masks is not None:
        placed = torch.zeros(len(masks), _SIDE_PX, _SIDE_PX, dtype=torch.bool)
        placed[:, : size[0], : size[1]] = resize_masks(masks, size) > 0
        # A pixel shows the best mask that covers it; torchvision draws no mask where several overlap.
        placed &= placed.cumsum(0) == 1
        canvas = draw_segmentation_masks(canvas, placed, alpha=_MASK_OPACITY, colors=colours)
    drawn = _draw_boxes(canvas, boxes * ratio, captions, colours)
    return drawn if keypoints is None else _draw_keypoints(drawn, keypoints * ratio, colours)


def _draw_boxes(canvas: Tensor, boxes: Tensor, captions: Sequence[str], colours: Sequence[str]) -> Tensor:
    """Draw boxes (N, 4) xyxy in pixels with their captions on a picture (3, H, W) uint8.

    torchvision's function draws the same, but loads PyTorch's compiler (see `fgd_core.no_compiler`).
    """
    picture = Image.fromarray(canvas.permute(1, 2, 0).contiguous().numpy())
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default()
    for (left, top, right, bottom), caption, colour in zip(boxes.int().tolist(), captions, colours, strict=True):
        draw.rectangle((left, top, right, bottom), width=_LINE_PX, outline=colour)
        draw.text((left + _LINE_PX + 1, top + _LINE_PX + 1), caption, fill=colour, font=font)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def _draw_keypoints(canvas: Tensor, keypoints: Tensor, colours: Sequence[str]) -> Tensor:
    """Draw keypoints (n, K, 2), x and y in pixels, as dots on a picture (3, H, W) uint8."""
    picture = Image.fromarray(canvas.permute(1, 2, 0).contiguous().numpy())
    draw, radius = ImageDraw.Draw(picture), _KEYPOINT_RADIUS_PX
    for places, colour in zip(keypoints.tolist(), colours, strict=True):
        for x, y in places:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)
