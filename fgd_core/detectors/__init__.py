"""Builds detectors. To add a detector: a file here, a member of `spec.detectors.DetectorSpec`, a row below."""

from collections.abc import Callable, Mapping

import fgd_core.no_compiler  # noqa: F401  # before torchvision is imported
from fgd_core.detectors.base import Detector
from fgd_core.detectors.cascade_rcnn import CascadeMaskRcnn, CascadeRcnn
from fgd_core.detectors.faster_rcnn import FasterRcnn
from fgd_core.detectors.fcos import Fcos
from fgd_core.detectors.gfl import Gfl
from fgd_core.detectors.keypoint_rcnn import KeypointRcnn
from fgd_core.detectors.mask_rcnn import MaskRcnn
from fgd_core.detectors.parts.small_maps import use_float32_on_small_maps
from fgd_core.detectors.reppoints import RepPoints
from fgd_core.detectors.retinanet import RetinaNet
from fgd_core.detectors.solo import Solo
from fgd_core.spec import detectors as spec

# (the detector's spec, number of classes) -> the detector with random weights
DETECTORS: Mapping[type[spec.AnyDetector], Callable[..., Detector]] = {
    spec.RetinaNet: RetinaNet,
    spec.Fcos: Fcos,
    spec.Gfl: Gfl,
    spec.RepPoints: RepPoints,
    spec.FasterRcnn: FasterRcnn,
    spec.MaskRcnn: MaskRcnn,
    spec.KeypointRcnn: KeypointRcnn,
    spec.CascadeRcnn: CascadeRcnn,
    spec.CascadeMaskRcnn: CascadeMaskRcnn,
    spec.Solo: Solo,
}


def build_detector(settings: spec.AnyDetector, num_classes: int) -> Detector:
    """Build a detector with random weights from PyTorch's global generator."""
    return use_float32_on_small_maps(DETECTORS[type(settings)](settings, num_classes))
