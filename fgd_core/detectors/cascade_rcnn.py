"""Cascade R-CNN (arXiv:1712.00726) with and without masks, as in mmdetection."""

from fgd_core.detectors.parts.cascade import Cascade
from fgd_core.detectors.parts.proposals import ProposalLimits, ProposalNetwork
from fgd_core.detectors.parts.two_stage import TwoStageDetector, build_pyramid
from fgd_core.spec import detectors as spec


class CascadeRcnn(TwoStageDetector):
    """Detects boxes with three stages."""

    def __init__(self, settings: spec.CascadeRcnn | spec.CascadeMaskRcnn, num_classes: int) -> None:
        super().__init__()
        self.settings, self.num_classes = settings, num_classes
        self.backbone = build_pyramid(settings)
        self.levels = self.backbone.levels
        self.rpn = ProposalNetwork(
            settings, num_convs=1, box_beta=1 / 9, train_limits=ProposalLimits(pre_nms_per_level=2000, post_nms=2000)
        )
        self.roi_heads = Cascade(settings, num_classes, has_masks=self.has_masks)


class CascadeMaskRcnn(CascadeRcnn):
    """Detects boxes and masks with three stages."""

    has_masks = True
