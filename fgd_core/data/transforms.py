"""Pure functions on an image, its boxes and its masks."""

import torch
from torch import Tensor
from torch.nn import functional

from fgd_core.spec.data import InputSpec


def resized_size(height: int, width: int, spec: InputSpec) -> tuple[int, int]:
    """Return the (height, width) in pixels that `resize` gives an image.

    The shorter side becomes `shorter_px`. If the longer side would then exceed `longer_px`, it becomes `longer_px`.
    """
    scale = min(spec.shorter_px / min(height, width), spec.longer_px / max(height, width))
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def resize(image: Tensor, boxes_xyxy_px: Tensor, spec: InputSpec) -> tuple[Tensor, Tensor]:
    """Resize an image and its boxes, keeping the aspect ratio; bilinear with antialiasing.

    Args:
        image: (3, H, W) uint8.
        boxes_xyxy_px: (n, 4) float32.
    Returns:
        The image (3, h, w) and its boxes (n, 4). The scale of the boxes is computed from both sizes in whole pixels,
        not from the ratio before rounding.
    """
    height, width = image.shape[-2:]
    size = resized_size(height, width, spec)
    if size == (height, width):
        return image, boxes_xyxy_px
    resized = functional.interpolate(image[None], size=size, mode="bilinear", antialias=True, align_corners=False)[0]
    x_scale, y_scale = size[1] / width, size[0] / height
    return resized, boxes_xyxy_px * torch.tensor([x_scale, y_scale, x_scale, y_scale])


def resize_masks(masks: Tensor, size_px: tuple[int, int]) -> Tensor:
    """Resize masks with nearest-neighbour sampling.

    Args:
        masks: (n, H, W) uint8, 0 or 1.
        size_px: (height, width) of the resized image.
    Returns:
        (n, height, width) uint8, 0 or 1.
    """
    if masks.shape[-2:] == size_px:
        return masks
    # The same as torchvision's transform. Without antialiasing, values stay 0 or 1.
    return functional.interpolate(masks[:, None], size=size_px, mode="nearest")[:, 0]


def flip_masks_horizontally(masks: Tensor) -> Tensor:
    """Mirror (n, H, W) masks left to right."""
    return torch.from_numpy(masks.numpy()[:, :, ::-1].copy())


def flip_horizontally(image: Tensor, boxes_xyxy_px: Tensor) -> tuple[Tensor, Tensor]:
    """Mirror a (3, H, W) image and its (n, 4) boxes left to right: x1 and x2 become W - x2 and W - x1."""
    width = image.shape[-1]
    x1, y1, x2, y2 = boxes_xyxy_px.unbind(-1)
    # numpy, not torch: torch's flip splits even a small image over all cores, and waits milliseconds for busy cores.
    mirrored = torch.from_numpy(image.numpy()[:, :, ::-1].copy())
    return mirrored, torch.stack((width - x2, y1, width - x1, y2), dim=-1)
