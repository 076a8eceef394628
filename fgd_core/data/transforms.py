"""Pure functions on an image, its boxes, its masks and its keypoints."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from fgd_core.spec.data import InputSpec


def resized_size(height: int, width: int, spec: InputSpec) -> tuple[int, int]:
    """Return the (height, width) in pixels that an image has after resizing, which keeps its aspect ratio.

    The shorter side becomes `shorter_px`. If the longer side would then exceed `longer_px`, it becomes `longer_px`.
    """
    scale = min(spec.shorter_px / min(height, width), spec.longer_px / max(height, width))
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def resize(image: Tensor, boxes_xyxy_px: Tensor, size_px: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Resize an image and its boxes; bilinear with antialiasing.

    Args:
        image: (3, H, W) uint8.
        boxes_xyxy_px: (n, 4) float32.
        size_px: (h, w) of the resized image.
    Returns:
        The image (3, h, w) and its boxes (n, 4). The scale of the boxes is computed from both sizes in whole pixels,
        not from the ratio before rounding.
    """
    height, width = image.shape[-2:]
    if size_px == (height, width):
        return image, boxes_xyxy_px
    resized = functional.interpolate(image[None], size=size_px, mode="bilinear", antialias=True, align_corners=False)[0]
    x_scale, y_scale = size_px[1] / width, size_px[0] / height
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


def flip_masks_vertically(masks: Tensor) -> Tensor:
    """Mirror (n, H, W) masks top to bottom."""
    return torch.from_numpy(masks.numpy()[:, ::-1].copy())


def flip_vertically(image: Tensor, boxes_xyxy_px: Tensor) -> tuple[Tensor, Tensor]:
    """Mirror a (3, H, W) image and its (n, 4) boxes top to bottom: y1 and y2 become H - y2 and H - y1."""
    height = image.shape[-2]
    x1, y1, x2, y2 = boxes_xyxy_px.unbind(-1)
    return flip_masks_vertically(image), torch.stack((x1, height - y2, x2, height - y1), dim=-1)


def move_keypoints(
    keypoints: Tensor, scale_xy: tuple[float, float], shift_xy_px: tuple[float, float] = (0, 0)
) -> Tensor:
    """Scale and then shift keypoints (n, K, 3) of x, y and visibility; those that are not labelled stay at 0, 0."""
    moved = keypoints * keypoints.new_tensor([*scale_xy, 1]) + keypoints.new_tensor([*shift_xy_px, 0])
    return moved * (keypoints[..., 2:] > 0)


def flip_keypoints_horizontally(keypoints: Tensor, width_px: int, order: Sequence[int]) -> Tensor:
    """Mirror keypoints left to right: x becomes W - x, and a left eye becomes a right eye.

    Args:
        keypoints: (n, K, 3) x, y and visibility.
        order: for each of the K keypoints the one that takes its place; see `keypoints.mirrored_order`.
    Returns:
        (n, K, 3). Keypoints that are not labelled stay at 0, 0.
    """
    x, y, visibility = keypoints[:, list(order)].unbind(-1)
    return torch.stack((torch.where(visibility > 0, width_px - x, x), y, visibility), dim=-1)


def crop_keypoints(keypoints: Tensor, corner_px: tuple[int, int], size_px: tuple[int, int]) -> Tensor:
    """Move keypoints into a part of the image; those outside of it become 0, 0, not labelled.

    Args:
        keypoints: (n, K, 3) x, y and visibility.
        corner_px: (row, column) of the part's upper left pixel.
        size_px: (height, width) of the part.
    Returns:
        (n, K, 3)
    """
    (top, left), (height, width) = corner_px, size_px
    moved = move_keypoints(keypoints, (1, 1), (-left, -top))
    x, y, visibility = moved.unbind(-1)
    is_inside = (visibility > 0) & (x >= 0) & (x <= width) & (y >= 0) & (y <= height)
    return moved * is_inside[..., None]
