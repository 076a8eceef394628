"""Makes adversarial images with DI-FGSM (arXiv:1803.06978) and momentum (arXiv:1710.06081).

As in the authors' code of arXiv:2209.09841: each step adds `step_size` times the sign of the accumulated gradient, each
gradient divided by its L1 norm; the change stays within `eps`, and each channel within the image's own smallest and
largest value; both sizes are multiplied by the largest range of a channel. The boxes follow the random resizing, which
they do not in the authors' code.
"""

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from fgd_core.data.targets import Targets
from fgd_core.data.transforms import move_keypoints
from fgd_core.detectors.base import Detector
from fgd_core.spec.derivations import Adversarial


def adversarial_change(
    detector: Detector,
    image: Tensor,
    targets: Targets,
    settings: Adversarial,
    generator: torch.Generator,
    *,
    pad_to_px: int = 32,
) -> Tensor:
    """Compute a small change of an image that raises a detector's classification loss.

    Args:
        detector: in eval mode, with frozen weights.
        image: (1, 3, H, W), normalised, without padding.
        targets: the objects of this image.
        generator: on the CPU; draws the random resizing.
        pad_to_px: the detector sees the image padded with zeros to a multiple of this.
    Returns:
        (1, 3, H, W), at most `eps` times the largest range of a channel.
    """
    low, high = image.amin((2, 3), keepdim=True), image.amax((2, 3), keepdim=True)
    unit = (high - low).max()
    limit, step = settings.eps * unit, settings.step_size * unit
    change, momentum = torch.zeros_like(image), torch.zeros_like(image)
    for _ in range(settings.steps):
        seen = (image + change).requires_grad_()
        shown, objects = diversified(seen, targets, settings, generator)
        loss = class_loss(detector, padded(shown, pad_to_px), objects)
        (gradient,) = torch.autograd.grad(loss, seen)
        momentum = settings.momentum * momentum + gradient / gradient.abs().sum().clamp(min=torch.finfo().tiny)
        change = (change + step * momentum.sign()).clamp(-limit, limit)
        change = (image + change).clamp(low, high) - image
    return change


def padded(images: Tensor, pad_to_px: int) -> Tensor:
    """Pad images (N, 3, H, W) with zeros right and below, so that both sides are multiples of `pad_to_px`."""
    return pad(images, (0, -images.shape[3] % pad_to_px, 0, -images.shape[2] % pad_to_px))


def class_loss(detector: Detector, images: Tensor, targets: Targets) -> Tensor:
    """Compute the sum () of a detector's classification losses on padded images (N, 3, H, W)."""
    features = detector.features(images)
    terms = detector.losses(detector.predict(features, targets.image_sizes, targets), targets)
    return torch.stack([value for name, value in terms.items() if name.endswith("classification")]).sum()


def diversified(
    image: Tensor, targets: Targets, settings: Adversarial, generator: torch.Generator
) -> tuple[Tensor, Targets]:
    """Show an image smaller, at a random place on the mean colour, with probability `resize_probability`.

    Args:
        image: (1, 3, H, W), normalised.
        targets: of this image; boxes, masks and keypoints follow.
        generator: draws the choice, the size and the place; on the CPU.
    """
    draw = torch.rand(4, generator=generator)
    if draw[0] >= settings.resize_probability:
        return image, targets
    height, width = image.shape[2:]
    scale = settings.smallest_size + (1 - settings.smallest_size) * draw[1].item()
    size = max(1, int(height * scale)), max(1, int(width * scale))
    top, left = (int(draw[2] * (height - size[0] + 1)), int(draw[3] * (width - size[1] + 1)))
    around = (left, width - size[1] - left, top, height - size[0] - top)
    smaller = pad(interpolate(image, size=size, mode="bilinear", align_corners=False), around)
    ratio = image.new_tensor([size[1] / width, size[0] / height] * 2)
    boxes = [own * ratio + own.new_tensor([left, top, left, top]) for own in targets.boxes]
    masks, keypoints = targets.masks, targets.keypoints
    if masks is not None:
        masks = [pad(interpolate(own[None], size=size, mode="nearest")[0], around) for own in masks]
    if keypoints is not None:
        scale_xy = (size[1] / width, size[0] / height)
        keypoints = [move_keypoints(own, scale_xy, (left, top)) for own in keypoints]
    return smaller, targets._replace(boxes=boxes, masks=masks, keypoints=keypoints)
