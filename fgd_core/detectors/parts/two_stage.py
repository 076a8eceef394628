"""Builds detectors that first propose regions and then classify and refine each region."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

from fgd_core.data.targets import Targets
from fgd_core.detectors.base import Detections
from fgd_core.detectors.parts.proposals import ProposalNetwork
from fgd_core.detectors.parts.pyramid import Pyramid, PyramidDetector
from fgd_core.detectors.parts.regions import BOX_SIZE, Branch
from fgd_core.spec.detectors import TwoStage


class RoiHeads(Protocol):
    """Classifies and refines proposals."""

    def losses(self, maps: Sequence[Tensor], proposals: Sequence[Tensor], targets: Targets) -> dict[str, Tensor]:
        """Compute the terms of the heads' loss.

        Args:
            maps: for each level (N, C, H, W).
            proposals: (n, 4) xyxy in pixels for each image.
        """
        ...

    def detections(
        self, maps: Sequence[Tensor], proposals: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        """Detect from maps (N, C, H, W) and proposals (n, 4); arguments as of `losses`."""
        ...


class TwoStageDetector(PyramidDetector):
    """Runs a backbone, a proposal network and region heads.

    Subclasses set `settings`, `num_classes`, `backbone` with its `levels`, `rpn` and `roi_heads`.
    """

    rpn: ProposalNetwork
    roi_heads: RoiHeads

    def losses(self, features: Sequence[Tensor], targets: Targets) -> dict[str, Tensor]:
        """Compute the terms of the loss.

        Args:
            features: for each level (N, C, H, W).
        """
        rpn_losses, proposals = self.rpn.losses(features, targets)
        return rpn_losses | self.roi_heads.losses(features, proposals, targets)

    @torch.no_grad()
    def detect(self, features: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Detect the objects of each image.

        Args:
            features: for each level (N, C, H, W).
            image_sizes: for each image (height, width) in pixels, before padding.
        """
        proposals = self.rpn.proposals(features, image_sizes)
        return self.roi_heads.detections(features, proposals, image_sizes)


def build_pyramid(settings: TwoStage, norm: Callable[[int], nn.Module] | None = None) -> Pyramid:
    """Build P2 to P5, and P6, which only proposals use."""
    return Pyramid(settings.backbone, width=settings.fpn_width, strides=(4, 8, 16, 32), top="pool", norm=norm)


def box_branch(settings: TwoStage, num_logits: int, num_boxes: int) -> Branch:
    """Build two fully connected layers, then the class and box predictors.

    Args:
        num_boxes: boxes predicted for a region: one for each class, or one.
    """
    size = _representation_size(settings)
    head = TwoMLPHead(settings.fpn_width * BOX_SIZE**2, size)
    predictor = FastRCNNPredictor(size, num_logits)
    predictor.bbox_pred = nn.Linear(size, 4 * num_boxes)
    if settings.convention == "mmdetection":
        for layer in (head.fc6, head.fc7):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        for layer, std in ((predictor.cls_score, 0.01), (predictor.bbox_pred, 0.001)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)
    return Branch(head, predictor)


def convolved_box_branch(settings: TwoStage, num_logits: int) -> Branch:
    """Build four convolutions with batch norm and one fully connected layer, as in torchvision's second versions."""
    width, size = settings.fpn_width, _representation_size(settings)
    head = FastRCNNConvFCHead((width, BOX_SIZE, BOX_SIZE), [width] * 4, [size], norm_layer=nn.BatchNorm2d)
    return Branch(head, FastRCNNPredictor(size, num_logits))


def mask_branch(settings: TwoStage, num_masks: int, norm: Callable[[int], nn.Module] | None = None) -> Branch:
    """Build four convolutions, one that doubles the resolution, and a mask predictor for each class."""
    width = settings.fpn_width
    return Branch(MaskRCNNHeads(width, [width] * 4, 1, norm_layer=norm), MaskRCNNPredictor(width, width, num_masks))


def _representation_size(settings: TwoStage) -> int:
    return settings.representation_size or 4 * settings.fpn_width
