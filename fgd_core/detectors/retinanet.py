"""RetinaNet (arXiv:1708.02002), built from torchvision's parts.

Parameters, anchors, matching and losses are those of torchvision's `retinanet_resnet50_fpn` and `…_v2`, so that their
weights load. But anchors sit at the true strides, while torchvision's drift on P6 and P7 if the input is not divisible
by 128. The mmdetection convention differs where the code checks for it.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from fgd_core.data.targets import Targets
from fgd_core.detectors.base import Detections
from fgd_core.detectors.parts.anchors import Anchors
from fgd_core.detectors.parts.assignment import IGNORED, EveryBoxMatcher, count_positives, gather_positives
from fgd_core.detectors.parts.norms import group_norm
from fgd_core.detectors.parts.pyramid import Pyramid, PyramidDetector, Top
from fgd_core.detectors.parts.selection import select_detections
from fgd_core.detectors.parts.torchvision_private import BoxCoder, Matcher
from fgd_core.detectors.parts.towers import scale_init
from fgd_core.spec import detectors as spec

_STRIDES = (8, 16, 32, 64, 128)
_ANCHORS_PER_CELL = 9


class RetinaNet(PyramidDetector):
    """Detects boxes from anchors with the focal loss."""

    def __init__(self, settings: spec.RetinaNet, num_classes: int) -> None:
        super().__init__()
        self.settings = settings
        self.num_classes = num_classes
        self._follows_mmdetection = settings.convention == "mmdetection"
        self.backbone = Pyramid(settings.backbone, width=settings.fpn_width, strides=(8, 16, 32), top=_top(settings))
        self.levels = self.backbone.levels
        self.anchors = _anchors(settings)
        norm = group_norm if settings.version == "v2" or settings.head_norm == "group" else None
        self.head = RetinaNetHead(settings.fpn_width, _ANCHORS_PER_CELL, num_classes, norm_layer=norm)
        for tower in (self.head.classification_head.conv, self.head.regression_head.conv):
            scale_init(tower, settings.fpn_width)
        self._matcher = (
            EveryBoxMatcher(0.5, 0.4)
            if self._follows_mmdetection
            else Matcher(0.5, 0.4, allow_low_quality_matches=True)
        )
        self._coder = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))

    def losses(self, features: Sequence[Tensor], targets: Targets) -> dict[str, Tensor]:
        """Compute the terms of the loss.

        Args:
            features: for each level (N, C, H, W).
        """
        outputs = self.head(list(features))
        anchors = torch.cat(self.anchors.on(features))  # (A, 4)
        matches = self.anchors.match(
            self._matcher, features, anchors, targets, ignores_padding=self._follows_mmdetection
        )  # (N, A)
        positives = gather_positives(matches, targets)

        with torch.autocast(anchors.device.type, enabled=False):
            logits, deltas = outputs["cls_logits"].float(), outputs["bbox_regression"].float()
            weights = self._image_weights(matches)  # (N,)
            is_object = torch.zeros_like(logits)
            is_object[positives.image, positives.location, positives.labels] = 1
            focal = sigmoid_focal_loss(logits, is_object, alpha=0.25, gamma=2.0).sum(2)  # (N, A)
            classification = (focal.masked_fill(matches == IGNORED, 0).sum(1) * weights).sum()
            box_losses = self._box_loss(
                deltas[positives.image, positives.location], anchors[positives.location], positives.boxes
            )
            regression = (box_losses * weights[positives.image]).sum()
        return {"classification": classification, "box": regression}

    @torch.no_grad()
    def detect(self, features: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Detect the objects of each image.

        Args:
            features: for each level (N, C, H, W).
            image_sizes: for each image (height, width) in pixels, before padding.
        """
        outputs = self.head(list(features))
        anchors = self.anchors.on(features)
        counts = [len(level) for level in anchors]
        scores = outputs["cls_logits"].float().sigmoid().split(counts, dim=1)
        deltas = outputs["bbox_regression"].float().split(counts, dim=1)

        def decode(image: int, level: int, locations: Tensor) -> Tensor:
            boxes: Tensor = self._coder.decode_single(deltas[level][image][locations], anchors[level][locations])
            return boxes

        return [
            select_detections([level[image] for level in scores], partial(decode, image), size, self.settings)
            for image, size in enumerate(image_sizes)
        ]

    def _image_weights(self, matches: Tensor) -> Tensor:
        """Weigh the summed loss of each image (N,).

        The torchvision convention weighs all images equally; mmdetection's weighs all positive anchors of the batch
        equally.
        """
        if self._follows_mmdetection:
            return (1 / count_positives(matches)).expand(len(matches))
        return 1 / ((matches >= 0).sum(1).clamp(min=1) * len(matches))

    def _box_loss(self, deltas: Tensor, anchors: Tensor, target: Tensor) -> Tensor:
        """Compute the loss (n,) of deltas (n, 4) against target boxes (n, 4): 1 - GIoU in v2, else L1 of the deltas."""
        if self.settings.version == "v2":
            giou: Tensor = generalized_box_iou_loss(self._coder.decode_single(deltas, anchors), target)
            return giou
        encoded: Tensor = self._coder.encode_single(target, anchors)
        return (deltas - encoded).abs().sum(1)


def _top(settings: spec.RetinaNet) -> Top:
    if settings.convention == "mmdetection":
        return "C5 without ReLU"
    return "C5" if settings.version == "v2" else "P5"


def _anchors(settings: spec.RetinaNet) -> Anchors:
    are_rounded = settings.convention == "torchvision"
    bases = [settings.anchor_base_size_px * stride / _STRIDES[0] for stride in _STRIDES]
    sizes = [[base * 2 ** (octave / 3) for octave in range(3)] for base in bases]
    # torchvision rounds to whole pixels, and its weights were trained on these anchors.
    sizes = [[int(size) for size in level] for level in sizes] if are_rounded else sizes
    return Anchors(sizes, _STRIDES, are_rounded=are_rounded)
