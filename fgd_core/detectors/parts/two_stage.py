"""Builds detectors that first propose regions and then classify and refine each region."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

from fgd_core.batch_norm import BatchNorm2d
from fgd_core.data.targets import Targets
from fgd_core.detectors.base import Detections
from fgd_core.detectors.parts.proposals import AnchorSample, ProposalNetwork
from fgd_core.detectors.parts.pyramid import Pyramid, PyramidDetector
from fgd_core.detectors.parts.regions import BOX_SIZE, Branch, RegionHeads, StageOutputs
from fgd_core.outputs import RegionHead, RegionOutputs
from fgd_core.spec.detectors import KeypointRcnn, TwoStage


class RoiHeads(Protocol):
    """Classifies and refines proposals in one or more stages."""

    @property
    def first(self) -> RegionHeads:
        """The heads of the first stage."""
        ...

    def predict(self, maps: Sequence[Tensor], proposals: Sequence[Tensor], targets: Targets) -> list[StageOutputs]:
        """Sample for each stage, and run its heads on the sample.

        Args:
            maps: for each level (N, C, H, W).
            proposals: (n, 4) xyxy in pixels for each image.
        """
        ...

    def losses(self, stages: Sequence[StageOutputs], targets: Targets) -> dict[str, Tensor]:
        """Compute the terms of the heads' loss: name to scalar."""
        ...

    def detections(
        self, maps: Sequence[Tensor], proposals: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        """Detect from maps (N, C, H, W) and proposals (n, 4); arguments as of `predict`."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class TwoStageOutputs(RegionOutputs):
    """Holds the proposals, and with targets what both parts of the detector train on."""

    maps: Sequence[Tensor]
    """For each level (N, C, H, W): detections and their masks are computed from these."""
    anchors: AnchorSample | None = None
    """None if predicted without targets"""
    stages: Sequence[StageOutputs] = ()
    """Empty if predicted without targets"""


class TwoStageDetector(PyramidDetector[TwoStageOutputs]):
    """Runs a backbone, a proposal network and region heads.

    Subclasses set `settings`, `num_classes`, `backbone` with its `levels`, `rpn` and `roi_heads`.
    """

    rpn: ProposalNetwork
    roi_heads: RoiHeads

    def predict(
        self, features: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]], targets: Targets | None = None
    ) -> TwoStageOutputs:
        """Propose regions; with targets, also sample anchors and regions, and run the heads on the sample.

        Args:
            features: for each level (N, C, H, W).
            image_sizes: for each image (height, width) in pixels, before padding.
        Raises:
            DataError: the detector has masks or keypoints, and the targets have none.
        """
        proposals, anchors = self.rpn.predict(features, image_sizes, targets)
        if targets is None:
            return TwoStageOutputs(proposals=proposals, maps=features)
        stages = self.roi_heads.predict(features, proposals, targets)
        return TwoStageOutputs(
            proposals=proposals,
            regions=stages[0].regions,
            reading=stages[0].reading,
            maps=features,
            anchors=anchors,
            stages=stages,
        )

    def losses(self, out: TwoStageOutputs, targets: Targets) -> dict[str, Tensor]:
        """Compute the terms of the loss: name to scalar."""
        assert out.anchors is not None, "these outputs were predicted without targets"
        return self.rpn.losses(out.anchors) | self.roi_heads.losses(out.stages, targets)

    @torch.no_grad()
    def detect(self, out: TwoStageOutputs, image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Run the heads on all proposals (n, 4), and detect the objects of each image.

        Args:
            image_sizes: for each image (height, width) in pixels, before padding.
        """
        return self.roi_heads.detections(out.maps, out.proposals, image_sizes)

    @property
    def region_head(self) -> RegionHead:
        """The heads of the first stage."""
        return self.roi_heads.first


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
    head = FastRCNNConvFCHead((width, BOX_SIZE, BOX_SIZE), [width] * 4, [size], norm_layer=BatchNorm2d)
    return Branch(head, FastRCNNPredictor(size, num_logits))


def mask_branch(settings: TwoStage, num_masks: int, norm: Callable[[int], nn.Module] | None = None) -> Branch:
    """Build four convolutions, one that doubles the resolution, and a mask predictor for each class."""
    width = settings.fpn_width
    return Branch(MaskRCNNHeads(width, [width] * 4, 1, norm_layer=norm), MaskRCNNPredictor(width, width, num_masks))


def keypoint_branch(settings: KeypointRcnn) -> Branch:
    """Build eight convolutions, and a predictor of a heat map for each keypoint, four times as fine as its features."""
    width = settings.keypoint_width or 2 * settings.fpn_width
    head = KeypointRCNNHeads(settings.fpn_width, [width] * 8)
    return Branch(head, KeypointRCNNPredictor(width, settings.num_keypoints))


def _representation_size(settings: TwoStage) -> int:
    return settings.representation_size or 4 * settings.fpn_width
