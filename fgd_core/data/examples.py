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
    """Resize an example; see `transforms.resize`."""
    changed = _changed(example, lambda picture, boxes: transforms.resize(picture, boxes, spec))
    if changed.keypoints is not None:
        (height, width), (old_height, old_width) = changed.size_px, example.size_px
        moved = transforms.move_keypoints(changed.keypoints, (width / old_width, height / old_height))
        changed = changed._replace(keypoints=moved)
    if changed.masks is None:
        return changed
    return changed._replace(masks=transforms.resize_masks(changed.masks, changed.size_px))


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
