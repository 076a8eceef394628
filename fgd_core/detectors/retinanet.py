"""RetinaNet (arXiv:1708.02002), built from torchvision's parts.

Parameters, anchors, matching and losses are those of torchvision's `retinanet_resnet50_fpn` and `…_v2`, so that their
weights load. But anchors sit at the true strides, while torchvision's drift on P6 and P7 if the input is not divisible
by 128. The mmdetection convention differs where the code checks for it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torchvision.models.detection.retinanet import RetinaNetHead

from fgd_core.boxes import giou_loss
from fgd_core.data.targets import Targets
from fgd_core.detectors.parts.anchors import Anchors
from fgd_core.detectors.parts.assignment import BestAnchorMatcher, EveryBoxMatcher, count_positives, objects_at
from fgd_core.detectors.parts.box_coding import BoxCoder
from fgd_core.detectors.parts.dense import TowerDetector
from fgd_core.detectors.parts.focal import focal_losses
from fgd_core.detectors.parts.grid import grids_of
from fgd_core.detectors.parts.norms import group_norm
from fgd_core.detectors.parts.pyramid import Pyramid, Top
from fgd_core.detectors.parts.towers import Tower, scale_init
from fgd_core.outputs import DenseOutputs
from fgd_core.ranks import divisor
from fgd_core.spec import detectors as spec

_STRIDES = (8, 16, 32, 64, 128)
_ANCHORS_PER_CELL = 9


@dataclass(frozen=True, eq=False, kw_only=True)
class RetinaNetOutputs(DenseOutputs):
    """Holds the outputs at all anchors."""

    all_logits: Tensor
    """(N, A, K); `logits` are views of it"""
    deltas: Tensor
    """(N, A, 4) corrections of the anchors"""
    anchors: Tensor
    """(A, 4) xyxy in pixels"""
    coder: BoxCoder

    def boxes(self) -> Tensor:
        """Decode the box of every anchor: (N, A, 4)."""
        return self.coder.decode(self.deltas.float(), self.anchors)

    def boxes_at(self, image: int, level: int, locations: Tensor) -> Tensor:
        """Decode the boxes of anchors (n,) of a level: (n, 4)."""
        locations = locations + sum(self.counts[:level])
        return self.coder.decode(self.deltas[image, locations].float(), self.anchors[locations])


class RetinaNet(TowerDetector[RetinaNetOutputs]):
    """Detects boxes from anchors with the focal loss."""

    settings: spec.RetinaNet

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
        self._matcher = (EveryBoxMatcher if self._follows_mmdetection else BestAnchorMatcher)(0.5, 0.4)
        self._coder = BoxCoder()

    @property
    def towers(self) -> tuple[Tower, Tower]:
        """The convolutions before the predictors of classes and of boxes."""
        return self.head.classification_head.conv, self.head.regression_head.conv

    def read(
        self, like: Sequence[Tensor], class_maps: Iterable[Tensor], box_maps: Iterable[Tensor]
    ) -> RetinaNetOutputs:
        """Run the predictors on the last maps (N, C, H, W) of the towers."""
        classify, locate = self.head.classification_head.cls_logits, self.head.regression_head.bbox_reg
        logits = torch.cat([_by_anchor(classify(maps), self.num_classes) for maps in class_maps], dim=1)
        deltas = torch.cat([_by_anchor(locate(maps), 4) for maps in box_maps], dim=1)
        grids = grids_of(like)
        return RetinaNetOutputs(
            logits=logits.split_with_sizes([h * w * _ANCHORS_PER_CELL for h, w in grids], dim=1),
            grids=grids,
            anchors_per_cell=_ANCHORS_PER_CELL,
            all_logits=logits,
            deltas=deltas,
            anchors=self.anchors.joined_on(like),
            coder=self._coder,
        )

    def assign(self, out: RetinaNetOutputs, features: Sequence[Tensor], targets: Targets) -> RetinaNetOutputs:
        """Add the matches of the anchors on maps (N, C, H, W)."""
        matches = self.anchors.match(
            self._matcher, features, out.anchors, targets, ignores_padding=self._follows_mmdetection
        )
        return replace(out, matches=matches)

    def losses(self, out: RetinaNetOutputs, targets: Targets) -> dict[str, Tensor]:
        """Compute the terms of the loss: name to scalar."""
        objects = objects_at(out.assigned, targets, otherwise=out.anchors)
        with torch.autocast(out.anchors.device.type, enabled=False):
            weights = self._image_weights(out.assigned)  # (N,)
            classification = focal_losses(out.all_logits, objects.classes)  # (N, A)
            box = self._box_loss(out.deltas.float(), out.anchors, objects.boxes).masked_fill(~objects.exist, 0)
        return {name: (own.sum(1) * weights).sum() for name, own in (("classification", classification), ("box", box))}

    def scores(self, out: RetinaNetOutputs) -> Sequence[Tensor]:
        """Compute the scores: for each level (N, a, K) in [0, 1]."""
        return out.all_logits.float().sigmoid().split_with_sizes(out.counts, dim=1)

    def _image_weights(self, matches: Tensor) -> Tensor:
        """Weigh the summed loss of each image (N,).

        The torchvision convention weighs all images equally; mmdetection's weighs all positive anchors of the batch
        equally.
        """
        if self._follows_mmdetection:
            return (1 / divisor(count_positives(matches))).expand(len(matches))
        return 1 / ((matches >= 0).sum(1).clamp(min=1) * len(matches))

    def _box_loss(self, deltas: Tensor, anchors: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of deltas (N, A, 4) of anchors (A, 4) against target boxes (N, A, 4): (N, A).

        1 - GIoU in v2, else L1 of the deltas.
        """
        if self.settings.version == "v2":
            return giou_loss(self._coder.decode(deltas, anchors), target)
        return (deltas - self._coder.encode(target, anchors)).abs().sum(2)


def _by_anchor(maps: Tensor, size: int) -> Tensor:
    """Rearrange (N, anchors of a cell x size, H, W) to (N, H W anchors of a cell, size)."""
    num_images, _, height, width = maps.shape
    return maps.view(num_images, -1, size, height, width).permute(0, 3, 4, 1, 2).reshape(num_images, -1, size)


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
