"""Refuses jobs that would learn keypoints from data without keypoints, or with another number of them."""

from collections.abc import Iterator

from fgd_core.spec.data import NUM_SHAPE_KEYPOINTS, Shapes, Voc, Yolo, files_of
from fgd_core.spec.detectors import KeypointRcnn
from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.views import ProblemReason


def keypoint_reasons(spec: JobSpec) -> Iterator[ProblemReason]:
    """Yield why a detector that learns keypoints cannot learn them from data that is known before it is read."""
    prefix, trained = ("base.", spec.base) if isinstance(spec, SweepSpec) else ("", spec)
    if not isinstance(trained, TrainSpec | DistillSpec):
        return
    loc, detector = ("detector", trained.detector) if isinstance(trained, TrainSpec) else ("student", trained.student)
    if not isinstance(detector, KeypointRcnn):
        return
    match files_of(trained.data):
        case Voc() | Yolo() as files:
            message = (
                f"{detector.type} learns keypoints, and fgd reads none from {files.type} data; convert the data to "
                "COCO format with keypoints, or use a detector that needs boxes only, such as faster_rcnn"
            )
            yield ProblemReason(loc=f"{prefix}{loc}.type", code="no_keypoints", message=message)
        case Shapes() if detector.num_keypoints != NUM_SHAPE_KEYPOINTS:
            message = (
                f"num_keypoints is {detector.num_keypoints}, and the objects of shapes have {NUM_SHAPE_KEYPOINTS} "
                f"keypoints; set it to {NUM_SHAPE_KEYPOINTS}"
            )
            yield ProblemReason(loc=f"{prefix}{loc}.num_keypoints", code="other_num_keypoints", message=message)
