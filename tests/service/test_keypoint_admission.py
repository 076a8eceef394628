"""Jobs that cannot learn keypoints from their data are refused when they are submitted."""

from typing import Any

import pytest

from fgd_core.data import outlines
from fgd_core.spec.data import NUM_SHAPE_KEYPOINTS
from fgd_core.spec.jobs import JOB_SPEC
from service.jobs.keypoint_admission import keypoint_reasons, keypoints_found

YOLO = {"type": "yolo", "data_yaml": "/data/data.yaml"}
VOC = {"type": "voc", "folder": "/data"}
COCO = {"type": "coco", **{split: {"images": "/i", "annotations": "/a"} for split in ("train", "val")}}
DETECTOR = {"type": "keypoint_rcnn", "num_keypoints": 5}


def train(**fields: Any) -> dict[str, Any]:
    return {"kind": "train", "name": "n", "detector": DETECTOR, "data": {"type": "shapes"}, **fields}


def distill(**fields: Any) -> dict[str, Any]:
    teacher = {"checkpoint": "/teacher.pt"}
    job = {"kind": "distill", "name": "n", "teacher": teacher, "method": {"type": "embedding"}, "student": DETECTOR}
    return {**job, "data": {"type": "shapes"}, **fields}


def reasons(job: dict[str, Any]) -> list[tuple[str, str]]:
    return [(reason.loc, reason.code) for reason in keypoint_reasons(JOB_SPEC.validate_python(job))]


@pytest.mark.parametrize("data", [YOLO, VOC], ids=lambda data: data["type"])
def test_data_of_formats_without_keypoints_is_refused(data: dict[str, Any]) -> None:
    assert reasons(train(data=data)) == [("detector.type", "no_keypoints")]
    assert reasons(distill(data=data)) == [("student.type", "no_keypoints")]
    sweep = {
        "kind": "sweep",
        "name": "n",
        "base": train(data=data),
        "space": {"seed": {"type": "choice", "values": [1]}},
    }
    assert [loc for loc, _ in reasons(sweep)] == ["base.detector.type"]
    (reason,) = keypoint_reasons(JOB_SPEC.validate_python(train(data=data)))
    assert f"fgd reads none from {data['type']} data" in reason.message


def test_another_number_of_keypoints_than_that_of_the_shapes_is_refused() -> None:
    assert reasons(train(detector={"type": "keypoint_rcnn"})) == [("detector.num_keypoints", "other_num_keypoints")]
    assert len(outlines.KEYPOINTS) == NUM_SHAPE_KEYPOINTS


def outcome(*, keypoints: str | None) -> dict[str, Any]:
    """Return the stored check of a data set with a fingerprint of its keypoints."""
    split = {"num_images": 1, "num_images_without_boxes": 0, "num_boxes": 1, "num_crowd": 0, "boxes_per_category": {}}
    splits = [split | {"split": name, "keypoints_fingerprint": keypoints} for name in ("train", "val")]
    return {"kind": "data_set_checked", "splits": splits, "profiles": []}


class TestRegisteredData:
    def job(self) -> dict[str, Any]:
        named = {"type": "registered", "name": "people", "resolved": {"dataset_id": "1", "data": COCO}}
        return train(data=named, detector={"type": "keypoint_rcnn"})

    def reasons_after(self, check: dict[str, Any] | None) -> list[str]:
        spec = JOB_SPEC.validate_python(self.job())
        return [reason.message for reason in keypoint_reasons(spec, found=keypoints_found(check))]

    def test_whose_check_found_no_keypoints_is_refused_by_name(self) -> None:
        (message,) = self.reasons_after(outcome(keypoints=None))
        assert "found none in the training split of 'people'" in message and "fgd data check people" in message

    def test_whose_check_found_keypoints_is_accepted(self) -> None:
        assert self.reasons_after(outcome(keypoints="f" * 64)) == []

    def test_without_a_check_that_looked_for_keypoints_is_accepted(self) -> None:
        older = outcome(keypoints=None)
        for split in older["splits"]:
            del split["keypoints_fingerprint"]
        assert self.reasons_after(older) == self.reasons_after(None) == []


def test_data_that_may_have_keypoints_is_accepted() -> None:
    assert reasons(train()) == reasons(distill()) == []
    assert reasons(train(data=COCO, detector={"type": "keypoint_rcnn"})) == []


def test_a_detector_of_boxes_may_use_any_data() -> None:
    assert reasons(train(data=YOLO, detector={"type": "faster_rcnn"})) == []
    assert reasons(distill(data=VOC, student={"type": "mask_rcnn"})) == []
