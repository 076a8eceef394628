"""One image on its way into a batch: its pictures and its objects, which are changed together."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fgd_core.data import transforms
from fgd_core.data.pictures import Pictures
from fgd_core.data.samples import DetectionDataset
from fgd_core.spec.data import IMAGE, InputSpec

_SMALL_PX2 = 32**2
_MEAN_COLOUR = (124, 116, 104)
MIN_SIDE_PX = 2.0
"""Objects that a change cuts or shrinks to a narrower box are dropped."""


class Example(NamedTuple):
    """Holds the pictures of one image and its objects."""

    pictures: Mapping[str, Tensor]
    """By name, the image itself among them; each (3, H, W) uint8, all of one size."""
    boxes: Tensor
    """(n, 4) float32 xyxy in pixels, without crowd regions."""
    labels: Tensor
    """(n,) int64."""
    masks: Tensor | None
    """(n, H, W) uint8, 1 on the object; None without masks."""
    is_all_small: bool
    """Whether every box is smaller than 32x32 px in the original image; true without boxes."""
    keypoints: Tensor | None = None
    """(n, K, 3) float32: x and y in pixels, and visibility; None without keypoints."""

    @property
    def image(self) -> Tensor:
        """The image itself, (3, H, W) uint8."""
        return self.pictures[IMAGE]

    @property
    def size_px(self) -> tuple[int, int]:
        """(height, width)"""
        return self.image.shape[1], self.image.shape[2]

    def with_pictures(self, change: Callable[[Tensor], Tensor]) -> "Example":
        """Return the example with every picture changed: (3, H, W) uint8 to (3, H, W) uint8."""
        return self._replace(pictures={name: change(picture) for name, picture in self.pictures.items()})


def read_example(
    dataset: DetectionDataset, index: int, pictures: Mapping[str, Pictures], *, with_masks: bool
) -> Example:
    """Read one image with its objects, at its original size.

    Args:
        pictures: further pictures to read, by name.
    """
    sample = dataset.samples[index]
    is_object = ~sample.is_crowd
    boxes = torch.from_numpy(sample.boxes_xyxy_px[is_object])
    assert not with_masks or sample.masks is not None, "with_masks needs a data set with masks"
    return Example(
        pictures={IMAGE: dataset.load_image(index)} | {name: each.load(index) for name, each in pictures.items()},
        boxes=boxes,
        labels=torch.from_numpy(sample.labels[is_object]),
        masks=sample.masks.decode(is_object) if with_masks and sample.masks is not None else None,
        is_all_small=bool((_areas(boxes) < _SMALL_PX2).all()),
        keypoints=torch.from_numpy(sample.keypoints[is_object]) if sample.keypoints is not None else None,
    )


def resized(example: Example, spec: InputSpec) -> Example:
    """Resize an example; see `transforms.resized_size`."""
    return resized_to(example, transforms.resized_size(*example.size_px, spec))


def resized_to(example: Example, size_px: tuple[int, int]) -> Example:
    """Resize an example to (height, width)."""
    changed = _changed(example, lambda picture, boxes: transforms.resize(picture, boxes, size_px))
    if changed.keypoints is not None:
        (height, width), (old_height, old_width) = size_px, example.size_px
        moved = transforms.move_keypoints(changed.keypoints, (width / old_width, height / old_height))
        changed = changed._replace(keypoints=moved)
    if changed.masks is None:
        return changed
    return changed._replace(masks=transforms.resize_masks(changed.masks, size_px))


def flipped(example: Example, keypoint_order: Sequence[int] = ()) -> Example:
    """Mirror an example left to right.

    Args:
        keypoint_order: for each keypoint the one that takes its place; see `keypoints.mirrored_order`.
    """
    changed = _changed(example, transforms.flip_horizontally)
    if changed.keypoints is not None:
        mirrored = transforms.flip_keypoints_horizontally(changed.keypoints, changed.size_px[1], keypoint_order)
        changed = changed._replace(keypoints=mirrored)
    return (
        changed if changed.masks is None else changed._replace(masks=transforms.flip_masks_horizontally(changed.masks))
    )


def flipped_vertically(example: Example) -> Example:
    """Mirror an example without keypoints top to bottom."""
    assert example.keypoints is None, "the names of keypoints do not say what a vertical flip does to them"
    changed = _changed(example, transforms.flip_vertically)
    return changed if changed.masks is None else changed._replace(masks=transforms.flip_masks_vertically(changed.masks))


def cropped(example: Example, corner_px: tuple[int, int], size_px: tuple[int, int]) -> Example:
    """Cut a part out of an example. Boxes are clipped; objects outside the part are dropped.

    Args:
        corner_px: (row, column) of the part's upper left pixel.
        size_px: (height, width) of the part.
    """
    (top, left), (height, width) = corner_px, size_px
    moved = example.boxes - example.boxes.new_tensor([left, top, left, top])
    boxes = moved.clamp(min=0).minimum(moved.new_tensor([width, height, width, height]))
    kept = _areas(boxes) > 0
    rows, columns = slice(top, top + height), slice(left, left + width)
    masks, keypoints = example.masks, example.keypoints
    return example.with_pictures(lambda picture: picture[:, rows, columns])._replace(
        boxes=boxes[kept],
        labels=example.labels[kept],
        masks=None if masks is None else masks[kept][:, rows, columns].contiguous(),
        keypoints=None if keypoints is None else transforms.crop_keypoints(keypoints[kept], corner_px, size_px),
    )


class Placed(NamedTuple):
    """Says where in a larger image an example is; it lies inside."""

    example: Example
    top_px: int
    left_px: int


def composed(parts: Sequence[Placed], size_px: tuple[int, int]) -> Example:
    """Put examples beside each other into one image of (height, width); the rest has the mean colour.

    Args:
        parts: at least one; all have the same pictures. Later parts cover earlier ones, but not their objects.
    """
    pictures = {name: _filled(size_px) for name in parts[0].example.pictures}
    for part in parts:
        for name, picture in part.example.pictures.items():
            _covered(pictures[name], part)[:] = picture
    return united([_moved(part, size_px) for part in parts], pictures)


def united(examples: Sequence[Example], pictures: Mapping[str, Tensor]) -> Example:
    """Return an example with the objects of several examples, which have the size of the pictures, each (3, H, W)."""
    masks = [each.masks for each in examples if each.masks is not None]
    keypoints = [each.keypoints for each in examples if each.keypoints is not None]
    return Example(
        pictures=pictures,
        boxes=torch.cat([each.boxes for each in examples]),
        labels=torch.cat([each.labels for each in examples]),
        masks=torch.cat(masks) if masks else None,
        is_all_small=all(each.is_all_small for each in examples),
        keypoints=torch.cat(keypoints) if keypoints else None,
    )


def chosen(example: Example, is_chosen: Tensor) -> Example:
    """Return the example with some of its objects: those where `is_chosen` (n,) is True."""
    return example._replace(
        boxes=example.boxes[is_chosen],
        labels=example.labels[is_chosen],
        masks=None if example.masks is None else example.masks[is_chosen],
        keypoints=None if example.keypoints is None else example.keypoints[is_chosen],
    )


def without_slivers(example: Example) -> Example:
    """Drop objects of which a change has left less than a few pixels: a narrow box, or no pixel of the mask."""
    is_left = (example.boxes[:, 2:] - example.boxes[:, :2] >= MIN_SIDE_PX).all(1)
    if example.masks is not None:
        is_left &= example.masks.bool().flatten(1).any(1)
    return example if bool(is_left.all()) else chosen(example, is_left)


def _moved(part: Placed, size_px: tuple[int, int]) -> Example:
    """Move the objects of a part to their place in an image of (height, width); the pictures stay as they are."""
    example, top, left = part
    masks, keypoints = example.masks, example.keypoints
    if masks is not None:
        whole = masks.new_zeros(len(masks), *size_px)
        _covered(whole, part)[:] = masks
        masks = whole
    return example._replace(
        boxes=example.boxes + example.boxes.new_tensor([left, top, left, top]),
        masks=masks,
        keypoints=None if keypoints is None else transforms.move_keypoints(keypoints, (1, 1), (left, top)),
    )


def _covered(whole: Tensor, part: Placed) -> Tensor:
    """Return the view of (..., H, W) that a part covers: (..., h, w)."""
    height, width = part.example.size_px
    return whole[..., part.top_px : part.top_px + height, part.left_px : part.left_px + width]


def _filled(size_px: tuple[int, int]) -> Tensor:
    """Return a picture (3, H, W) uint8 of the mean colour, which is what padding is after normalisation."""
    return torch.tensor(_MEAN_COLOUR, dtype=torch.uint8)[:, None, None].repeat(1, *size_px)


def _changed(example: Example, change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Example:
    """Change all pictures and the boxes, but not the masks.

    Args:
        change: a picture (3, H, W) uint8 and boxes (n, 4) to both of them, changed.
    """
    found = {name: change(picture, example.boxes) for name, picture in example.pictures.items()}
    pictures = {name: picture for name, (picture, _) in found.items()}
    return example._replace(pictures=pictures, boxes=found[IMAGE][1])


def _areas(boxes: Tensor) -> Tensor:
    """Compute the areas of boxes: (n, 4) to (n,)."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
