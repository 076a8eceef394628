"""Keypoint R-CNN (arXiv:1703.06870): Faster R-CNN with a keypoint branch.

The weights of torchvision's `keypointrcnn_resnet50_fpn` load.
"""

from functools import partial

from fgd_core.detectors.faster_rcnn import FasterRcnn
from fgd_core.detectors.parts.keypoint_heads import KeypointHeads
from fgd_core.detectors.parts.two_stage import keypoint_branch
from fgd_core.spec import detectors as spec


class KeypointRcnn(FasterRcnn):
    """Detects boxes and keypoints in two stages."""

    has_keypoints = True

    def __init__(self, settings: spec.KeypointRcnn, num_classes: int) -> None:
        super().__init__(settings, num_classes, partial(KeypointHeads, keypoints=keypoint_branch(settings)))
