"""Faster R-CNN (arXiv:1506.01497) on a feature pyramid, built from torchvision's parts.

Parameters, anchors, sampling and losses are those of torchvision's `fasterrcnn_resnet50_fpn` and `…_v2`, so that their
weights load. But anchors and regions sit at the true strides, while torchvision's drift if the input is not divisible
by 64. The mmdetection convention differs where the code checks for it.
"""

from collections.abc import Callable

from fgd_core.batch_norm import BatchNorm2d
from fgd_core.detectors.parts.proposals import ProposalLimits, ProposalNetwork
from fgd_core.detectors.parts.regions import RegionHeads
from fgd_core.detectors.parts.two_stage import TwoStageDetector, box_branch, build_pyramid, convolved_box_branch
from fgd_core.spec import detectors as spec


class FasterRcnn(TwoStageDetector):
    """Detects boxes in two stages.

    Args:
        heads: builds the region heads; a subclass adds its branches.
    """

    def __init__(
        self, settings: spec.VersionedTwoStage, num_classes: int, heads: Callable[..., RegionHeads] = RegionHeads
    ) -> None:
        super().__init__()
        self.settings, self.num_classes = settings, num_classes
        is_second = settings.version == "v2"
        follows_mmdetection = settings.convention == "mmdetection"
        # mmdetection's box losses are L1.
        box_beta = 0.0 if follows_mmdetection else 1 / 9
        self.backbone = build_pyramid(settings, BatchNorm2d if is_second else None)
        self.levels = self.backbone.levels
        self.rpn = ProposalNetwork(
            settings,
            num_convs=2 if is_second else 1,
            box_beta=box_beta,
            train_limits=ProposalLimits(pre_nms_per_level=2000, post_nms=1000 if follows_mmdetection else 2000),
        )
        # torchvision also predicts a box for the background, which never trains.
        num_boxes = num_classes if follows_mmdetection else 1 + num_classes
        boxes = (
            convolved_box_branch(settings, 1 + num_classes)
            if is_second
            else box_branch(settings, 1 + num_classes, num_boxes)
        )
        self.roi_heads = heads(settings, num_classes, boxes, box_beta=box_beta)
