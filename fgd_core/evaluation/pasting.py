"""Resizes the small masks that a detector predicts in its boxes to masks of the whole image."""

from torch import Tensor

from fgd_core.data.masks import ObjectMasks, encode
from fgd_core.mask_pasting import paste_mask


def paste(masks: Tensor, boxes_xyxy_px: Tensor, size_px: tuple[int, int]) -> ObjectMasks:
    """Stretch each mask bilinearly over its box; pixels of at least 0.5 belong to the object.

    A pixel gets the value of the mask at the pixel's centre, so fractions of box coordinates count. torchvision pastes
    at whole pixels, which lowers the AP of small objects: the true masks of `nuclei_small`, cropped at 28x28 and pasted
    back, have an AP of 0.68 there and of 1.00 here.

    Args:
        masks: (n, M, M) in [0, 1].
        boxes_xyxy_px: (n, 4) in pixels of the image.
        size_px: (height, width) of the image.
    """
    pairs = zip(masks.float().cpu().numpy(), boxes_xyxy_px.double().cpu().numpy(), strict=True)
    return encode((paste_mask(mask, box, size_px) for mask, box in pairs), size_px)
