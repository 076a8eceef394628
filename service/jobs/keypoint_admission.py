"""Refuses jobs that would learn keypoints from data without keypoints, or with another number of them."""

from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from fgd_core.spec.data import NUM_SHAPE_KEYPOINTS, Coco, Registered, Shapes, Voc, Yolo, files_of
from fgd_core.spec.detectors import KeypointRcnn
from fgd_core.spec.events import DataSetChecked
from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.views import ProblemReason


def keypoints_found(outcome: Mapping[str, JsonValue] | None) -> bool | None:
    """Return whether the stored check of a data set found keypoints to learn.

    Returns None if there is no check, or an older version made it: that version did not look for keypoints.
    """
    splits = DataSetChecked.model_validate(outcome).splits if outcome is not None else []
    of_train = [each for each in splits if each.split == "train" and "keypoints_fingerprint" in each.model_fields_set]
    return of_train[0].keypoints_fingerprint is not None if of_train else None


def keypoint_reasons(spec: JobSpec, *, found: bool | None = None) -> Iterator[ProblemReason]:
    """Yield why a detector that learns keypoints cannot learn them from data that is known before it is read.

    Args:
        found: whether the check of a registered data set found keypoints; None if that is unknown.
    """
    prefix, trained = ("base.", spec.base) if isinstance(spec, SweepSpec) else ("", spec)
    if not isinstance(trained, TrainSpec | DistillSpec):
        return
    loc, detector = ("detector", trained.detector) if isinstance(trained, TrainSpec) else ("student", trained.student)
    if not isinstance(detector, KeypointRcnn):
        return
    match files_of(trained.data):
        case Coco() if found is False and isinstance(trained.data, Registered):
            message = (
                f"{detector.type} learns keypoints, and the newest check found none in the training split of "
                f"{trained.data.name!r}; give its categories and annotations `keypoints` and check it again with "
                f"`fgd data check {trained.data.name}`, or use a detector that needs boxes only, such as faster_rcnn"
            )
            yield ProblemReason(loc=f"{prefix}{loc}.type", code="no_keypoints", message=message)
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
