"""A picture of what a detector finds: images with the true boxes above and the detected ones below."""

import io
from collections.abc import Mapping

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torchvision.utils import draw_bounding_boxes, make_grid

from fgd_core.data.samples import DetectionDataset
from fgd_core.detectors.base import Detections

_SIDE_PX = 256
_MIN_SCORE = 0.3
# Distinct hues that stay readable on photographs; classes beyond take them again.
_COLOURS = (
    "#e6194b",
    "#3cb44b",
    "#ffe119",
    "#4363d8",
    "#f58231",
    "#42d4f4",
    "#f032e6",
    "#bfef45",
    "#fabed4",
    "#469990",
)


def draw_samples(dataset: DetectionDataset, detections: Mapping[int, Detections], num_images: int = 6) -> bytes:
    """A PNG of two rows, truth above and detections with a score of at least 0.3 below, spread over the split."""
    chosen = np.linspace(0, len(dataset.samples) - 1, min(num_images, len(dataset.samples))).round().astype(int)
    truths, founds = [], []
    for index in chosen:
        sample = dataset.samples[int(index)]
        image = dataset.load_image(int(index))
        truths.append(_draw(dataset, image, torch.from_numpy(sample.boxes_xyxy_px), torch.from_numpy(sample.labels)))
        found = detections[sample.image_id]
        keep = found.scores >= _MIN_SCORE
        founds.append(_draw(dataset, image, found.boxes_xyxy_px[keep], found.labels[keep], found.scores[keep].tolist()))
    grid = make_grid(torch.stack([*truths, *founds]), nrow=len(chosen), padding=4, pad_value=255)
    file = io.BytesIO()
    Image.fromarray(grid.permute(1, 2, 0).numpy()).save(file, "PNG", optimize=True)
    return file.getvalue()


def _draw(
    dataset: DetectionDataset, image: Tensor, boxes: Tensor, labels: Tensor, scores: list[float] | None = None
) -> Tensor:
    """(3, _SIDE_PX, _SIDE_PX) uint8: the image letterboxed into a square, with its boxes."""
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
    drawn: Tensor = draw_bounding_boxes(canvas, boxes * ratio, captions, colors=colours, width=2)
    return drawn
