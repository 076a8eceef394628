"""Adversarial images: small changes that raise the teacher's classification loss."""

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor

from fgd_core.data.targets import Targets
from fgd_core.detectors import build_detector
from fgd_core.detectors.base import Detector
from fgd_core.spec.derivations import Adversarial
from fgd_core.spec.detectors import DetectorSpec
from fgd_core.training.adversarial import adversarial_change, class_loss, diversified
from tests.library import TINY_DETECTOR

DETECTOR: TypeAdapter[DetectorSpec] = TypeAdapter(DetectorSpec)
KINDS = ("retinanet", "fcos", "gfl", "reppoints", "faster_rcnn", "mask_rcnn", "cascade_rcnn", "cascade_mask_rcnn")
SIZE = (64, 96)
BOXES = torch.tensor([[8.0, 8, 40, 48], [50, 20, 90, 60]])


def detector(kind: str) -> Detector:
    torch.manual_seed(0)
    found = build_detector(DETECTOR.validate_python(TINY_DETECTOR | {"type": kind}), 3)
    return found.eval().requires_grad_(requires_grad=False)


def image() -> Tensor:
    """Return two bright rectangles on noise, (1, 3, H, W)."""
    pixels = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(1)) * 0.3
    for x1, y1, x2, y2 in BOXES.int().tolist():
        pixels[:, :, y1:y2, x1:x2] += 2
    return pixels


def targets() -> Targets:
    masks = torch.zeros(2, *SIZE, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, BOXES.int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = 1
    return Targets([BOXES], [torch.tensor([0, 2])], [SIZE], [masks])


def changed(teacher: Detector, seed: int = 0, **fields: Any) -> Tensor:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(seed)
    return adversarial_change(teacher, image(), targets(), Adversarial(**fields), generator)


class TestChange:
    @pytest.mark.parametrize("kind", KINDS)
    def test_raises_the_loss_and_stays_within_its_bounds(self, kind: str) -> None:
        teacher, clean = detector(kind), image()
        change = changed(teacher)
        channels = clean.amax((0, 2, 3)) - clean.amin((0, 2, 3))
        assert change.abs().max() <= Adversarial().eps * channels.max() + 1e-6
        changed_channels = (clean + change).amax((0, 2, 3)), (clean + change).amin((0, 2, 3))
        assert (changed_channels[0] <= clean.amax((0, 2, 3)) + 1e-6).all()
        assert (changed_channels[1] >= clean.amin((0, 2, 3)) - 1e-6).all()
        with torch.no_grad():
            torch.manual_seed(1)
            before = class_loss(teacher, clean, targets())
            torch.manual_seed(1)
            after = class_loss(teacher, clean + change, targets())
        assert after > before
        assert all(each.grad is None for each in teacher.parameters())

    def test_is_a_pure_function_of_its_generator(self) -> None:
        teacher = detector("retinanet")
        first, again, other = (changed(teacher, seed, resize_probability=1) for seed in (3, 3, 4))
        assert torch.equal(first, again) and not torch.equal(first, other)

    def test_of_an_image_of_one_colour_is_nothing(self) -> None:
        teacher, plain = detector("retinanet"), torch.ones(1, 3, *SIZE)
        change = adversarial_change(teacher, plain, targets(), Adversarial(), torch.Generator())
        assert not change.any()

    def test_one_step_is_the_sign_of_the_gradient(self) -> None:
        teacher, clean = detector("retinanet"), image().requires_grad_()
        (gradient,) = torch.autograd.grad(class_loss(teacher, clean, targets()), clean)
        change = changed(teacher, steps=1, resize_probability=0)
        inside = (clean > clean.amin((2, 3), keepdim=True) + 1) & (clean < clean.amax((2, 3), keepdim=True) - 1)
        moved = inside & (gradient != 0)
        assert moved.any() and torch.equal(change[moved].sign(), gradient[moved].sign())


class TestDiversified:
    def test_boxes_and_masks_follow_the_image(self) -> None:
        given = targets()
        assert given.masks is not None
        shown = given.masks[0][:, None].float().expand(-1, 3, -1, -1)
        for seed in range(10):
            generator = torch.Generator().manual_seed(seed)
            settings = Adversarial(resize_probability=1, smallest_size=0.5)
            pictures, found = diversified(shown, given, settings, generator)
            assert pictures.shape == shown.shape and found.masks is not None
            for picture, mask, box in zip(pictures, found.masks[0], found.boxes[0], strict=True):
                rows, columns = (picture[0] > 0.5).any(1).nonzero(), (picture[0] > 0.5).any(0).nonzero()
                seen = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()
                assert (seen - box).abs().max() <= 1
                assert (mask.float() - (picture[0] > 0.5).float()).abs().mean() < 0.05

    def test_happens_with_the_given_probability(self) -> None:
        generator = torch.Generator().manual_seed(0)
        settings = Adversarial(resize_probability=0.3)
        same = [diversified(clean := image(), targets(), settings, generator)[0] is clean for _ in range(300)]
        assert 180 <= sum(same) <= 240
