"""Pure functions on an image, its boxes and its masks."""

import torch
from torch import Tensor
from torch.nn import functional

from fgd_core.spec.data import InputSpec


def resized_size(height: int, width: int, spec: InputSpec) -> tuple[int, int]:
    """(height, width) at which the shorter side is `shorter_px`, or the longer `longer_px` if it would exceed it."""
    scale = min(spec.shorter_px / min(height, width), spec.longer_px / max(height, width))
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def resize(image: Tensor, boxes_xyxy_px: Tensor, spec: InputSpec) -> tuple[Tensor, Tensor]:
    """Resize with the ratio kept, bilinear with antialiasing.

    Args:
        image: (3, H, W) uint8.
        boxes_xyxy_px: (n, 4) float32.
    Returns:
        The image and its boxes, scaled by the sizes in whole pixels rather than by the ratio they were rounded from.
    """
    height, width = image.shape[-2:]
    size = resized_size(height, width, spec)
    if size == (height, width):
        return image, boxes_xyxy_px
    resized = functional.interpolate(image[None], size=size, mode="bilinear", antialias=True, align_corners=False)[0]
    x_scale, y_scale = size[1] / width, size[0] / height
    return resized, boxes_xyxy_px * torch.tensor([x_scale, y_scale, x_scale, y_scale])


def resize_masks(masks: Tensor, size_px: tuple[int, int]) -> Tensor:
    """Resize to the size that the image has got, taking for each pixel the one at its place.

    Args:
        masks: (n, H, W) uint8, 0 or 1.
        size_px: (height, width).
    """
    if masks.shape[-2:] == size_px:
        return masks
    # As torchvision's transform does; without antialiasing a mask stays one of zeros and ones.
    return functional.interpolate(masks[:, None], size=size_px, mode="nearest")[:, 0]


def flip_masks_horizontally(masks: Tensor) -> Tensor:
    return torch.from_numpy(masks.numpy()[:, :, ::-1].copy())


def flip_horizontally(image: Tensor, boxes_xyxy_px: Tensor) -> tuple[Tensor, Tensor]:
    """Mirror left and right: a box from x1 to x2 goes from W - x2 to W - x1."""
    width = image.shape[-1]
    x1, y1, x2, y2 = boxes_xyxy_px.unbind(-1)
    # By numpy: torch's flip splits even a small image over all cores, and waits milliseconds where they are busy.
    mirrored = torch.from_numpy(image.numpy()[:, :, ::-1].copy())
    return mirrored, torch.stack((width - x2, y1, width - x1, y2), dim=-1)
