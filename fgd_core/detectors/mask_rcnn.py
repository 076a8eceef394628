"""Mask R-CNN (arXiv:1703.06870): Faster R-CNN with a mask branch.

The weights of torchvision's `maskrcnn_resnet50_fpn` and `…_v2` load.
"""

from functools import partial

from fgd_core.batch_norm import BatchNorm2d
from fgd_core.detectors.faster_rcnn import FasterRcnn
from fgd_core.detectors.parts.regions import RegionHeads
from fgd_core.detectors.parts.two_stage import mask_branch
from fgd_core.spec import detectors as spec


class MaskRcnn(FasterRcnn):
    """Detects boxes and masks in two stages."""

    has_masks = True

    def __init__(self, settings: spec.MaskRcnn, num_classes: int) -> None:
        # torchvision also predicts a mask for the background, which never trains.
        num_masks = num_classes if settings.convention == "mmdetection" else 1 + num_classes
        norm = BatchNorm2d if settings.version == "v2" else None
        super().__init__(settings, num_classes, partial(RegionHeads, masks=mask_branch(settings, num_masks, norm)))
        self.mask_offset_px = 0.0 if settings.convention == "mmdetection" else 0.5
