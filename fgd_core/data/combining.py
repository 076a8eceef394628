"""Random changes that make one training image of several: mosaic, mixup and copy-paste."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fgd_core.data.examples import (
    Example,
    Placed,
    chosen,
    composed,
    cropped,
    resized_to,
    united,
    without_slivers,
)
from fgd_core.errors import DataError
from fgd_core.spec.augments import CopyPaste, MixUp, Mosaic
from fgd_core.spec.data import InputSpec

_HIDDEN = 1


class Draw(NamedTuple):
    """What a random change of an image draws from."""

    rng: np.random.Generator
    input_spec: InputSpec
    """How the image is resized; with multi-scale training, `shorter_px` is the size that was drawn."""
    another: Callable[[np.random.Generator], Example]
    """Draws another image of the training split, resized and flipped; the same state of the generator, the same one."""


def make_mosaic(settings: Mosaic, example: Example, draw: Draw) -> Example:
    """Show four images around a random point; see `Mosaic`."""
    if draw.rng.random() >= settings.probability:
        return example
    height, width = example.size_px
    row, column = (round(side * draw.rng.uniform(*settings.centre)) for side in (height, width))
    factor = draw.rng.uniform(*settings.scale)
    parts: list[Placed] = []
    for is_below, is_right in ((False, False), (False, True), (True, False), (True, True)):
        shown = draw.another(draw.rng) if parts else example
        free = (height - row if is_below else row, width - column if is_right else column)
        part = _next_to_centre(_scaled(shown, factor), free, (is_below, is_right))
        top = row if is_below else row - part.size_px[0]
        parts.append(Placed(part, top, column if is_right else column - part.size_px[1]))
    return without_slivers(composed(parts, (height, width)))


def mix_up(settings: MixUp, example: Example, draw: Draw) -> Example:
    """Blend an image with another one, and keep the objects of both; see `MixUp`."""
    if draw.rng.random() >= settings.probability:
        return example
    share = float(draw.rng.beta(settings.alpha, settings.alpha))
    other = _at_size(draw.another(draw.rng), example.size_px)
    pictures = {name: _blend(own, other.pictures[name], share) for name, own in example.pictures.items()}
    return without_slivers(united([example, other], pictures))


def copy_objects(settings: CopyPaste, example: Example, draw: Draw) -> Example:
    """Copy objects of another image onto an image; see `CopyPaste`.

    Raises:
        DataError: the objects have no masks.
    """
    if example.masks is None:
        raise DataError(
            "input.augment has copy_paste, which copies objects by their masks, but some objects of the training split "
            "have none; give the annotations a segmentation, or leave copy_paste out"
        )
    if draw.rng.random() >= settings.probability:
        return example
    other = without_slivers(_at_size(draw.another(draw.rng), example.size_px))
    copied = chosen(other, torch.from_numpy(draw.rng.random(len(other.labels)) < settings.share))
    if not len(copied.labels):
        return example
    assert copied.masks is not None, "all images of a split have masks, or none has"
    cover = copied.masks.bool().any(0)  # (H, W)
    pictures = {name: torch.where(cover, copied.pictures[name], own) for name, own in example.pictures.items()}
    return united([without_slivers(_covered(example, cover)), copied], pictures)


def _scaled(example: Example, factor: float) -> Example:
    return resized_to(example, (max(1, round(example.size_px[0] * factor)), max(1, round(example.size_px[1] * factor))))


def _next_to_centre(example: Example, free_px: tuple[int, int], is_after: tuple[bool, bool]) -> Example:
    """Cut the part of an image that fits into a quarter of a mosaic, at the corner that touches the centre.

    Args:
        free_px: (height, width) of the quarter.
        is_after: whether the quarter is below and right of the centre.
    """
    size = (min(example.size_px[0], free_px[0]), min(example.size_px[1], free_px[1]))
    top, left = (
        0 if after else whole - part for whole, part, after in zip(example.size_px, size, is_after, strict=True)
    )
    return cropped(example, (top, left), size)


def _at_size(example: Example, size_px: tuple[int, int]) -> Example:
    """Bring an image to (height, width) without resizing: cut it, or fill it, on the right and at the bottom."""
    part = cropped(example, (0, 0), (min(example.size_px[0], size_px[0]), min(example.size_px[1], size_px[1])))
    return composed([Placed(part, 0, 0)], size_px)


def _blend(one: Tensor, other: Tensor, share: float) -> Tensor:
    """Blend two pictures (3, H, W) uint8; `share` is that of the first."""
    return torch.from_numpy(np.rint(share * one.numpy() + (1 - share) * other.numpy()).astype(np.uint8))


def _covered(example: Example, cover: Tensor) -> Example:
    """Take the covered pixels from the objects of an example.

    Args:
        cover: (H, W) bool.
    """
    assert example.masks is not None, "only objects with masks can be covered"
    masks = example.masks * ~cover
    is_touched = (masks != example.masks).flatten(1).any(1)  # (n,)
    boxes = example.boxes.clone()
    for index in is_touched.nonzero()[:, 0].tolist():
        boxes[index] = _box_around(masks[index])
    return example._replace(masks=masks, boxes=boxes, keypoints=_hidden(example.keypoints, cover))


def _box_around(mask: Tensor) -> Tensor:
    """Return the box (4,) xyxy around a mask (H, W); zeros if it is empty."""
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    if not len(rows):
        return torch.zeros(4)
    return torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float()


def _hidden(keypoints: Tensor | None, cover: Tensor) -> Tensor | None:
    """Mark keypoints (n, K, 3) on covered pixels (H, W) as hidden, if they are labelled."""
    if keypoints is None:
        return None
    rows = keypoints[..., 1].long().clamp(0, cover.shape[0] - 1)
    columns = keypoints[..., 0].long().clamp(0, cover.shape[1] - 1)
    hidden = keypoints.clone()
    hidden[..., 2] = torch.where(cover[rows, columns], keypoints[..., 2].clamp(max=_HIDDEN), keypoints[..., 2])
    return hidden
