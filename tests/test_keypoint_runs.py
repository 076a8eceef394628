"""Whole runs of a detector with keypoints, also on data without keypoints."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fgd_core.detectors.weights.checkpoint import read_checkpoint
from fgd_core.runs import execute
from fgd_core.spec.data import Shapes
from fgd_core.spec.events import DataChecked, Evaluated, MetricsLogged, Warned
from tests.data.shapes_as_coco import to_coco
from tests.library import TINY_DETECTOR, RecordingContext, evaluate_spec, train_spec, with_data

KEYED: dict[str, Any] = {
    **TINY_DETECTOR,
    "type": "keypoint_rcnn",
    "anchor_base_size_px": 16,
    "rois_per_image": 32,
    "num_keypoints": 5,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RecordingContext:
    """A run of Keypoint R-CNN on shapes, two epochs."""
    context = RecordingContext(tmp_path_factory.mktemp("run"))
    # All detections count: after two epochs their scores are low.
    spec = train_spec(detector={**KEYED, "score_threshold": 0.0}, training={"evaluate_every": 1})
    finished = execute(spec, context)
    assert finished.outcome == "succeeded", finished.error
    return context


def on_disk(folder: Path, change: Callable[[Any], None]) -> dict[str, Any]:
    """Write shapes to disk and change their annotation files."""
    parts = {}
    for split in ("train", "val"):
        part = to_coco(Shapes(num_train=8, num_val=4, image_size_px=64), split, folder)
        content = json.loads(Path(part.annotations).read_text())
        change(content)
        Path(part.annotations).write_text(json.dumps(content))
        parts[split] = part.model_dump()
    return {"type": "coco", **parts}


def drop_keypoints(content: Any) -> None:
    for entry in (*content["annotations"], *content["categories"]):
        del entry["keypoints"]


class TestRunWithKeypoints:
    def test_it_learns_keypoints(self, run: RecordingContext) -> None:
        assert all("task/keypoint" in event.values for event in run.of(MetricsLogged))

    def test_it_reports_the_ap_of_keypoints_after_each_evaluation(self, run: RecordingContext) -> None:
        evaluations = run.of(Evaluated)
        assert len(evaluations) == 2
        for event in evaluations:
            found = event.scores.keypoints
            assert found is not None and found.ap is not None and event.scores.masks is None
            assert list(found.per_class) == list(event.scores.per_class)
            assert found.sigmas == "0.05 for each of 5 keypoints"

    def test_an_evaluation_job_gives_the_same_scores(self, run: RecordingContext, tmp_path: Path) -> None:
        checkpoint = run.job_dir / "checkpoints/best.pt"
        best, _ = read_checkpoint(checkpoint)
        finished = execute(evaluate_spec(checkpoint), RecordingContext(tmp_path))
        assert finished.result is not None, finished.error
        assert finished.result.scores == best.record.scores
        assert finished.result.scores.keypoints is not None

    def test_it_reports_the_fingerprint_of_the_keypoints(self, run: RecordingContext) -> None:
        fingerprints = [event.keypoints_fingerprint for event in run.of(DataChecked)]
        assert None not in fingerprints and len(set(fingerprints)) == 2


class TestUnsuitedData:
    def test_without_keypoints_is_refused(self, tmp_path: Path) -> None:
        spec = with_data(train_spec(detector=KEYED), on_disk(tmp_path / "data", drop_keypoints))
        finished = execute(spec, RecordingContext(tmp_path / "run"))
        assert finished.error is not None and finished.error.code == "data"
        assert "keypoint_rcnn learns keypoints, and no object of the training split has one" in finished.error.message

    def test_with_another_number_of_keypoints_is_refused(self, tmp_path: Path) -> None:
        spec = with_data(
            train_spec(detector={**KEYED, "num_keypoints": 17}), on_disk(tmp_path / "data", lambda _: None)
        )
        finished = execute(spec, RecordingContext(tmp_path / "run"))
        assert finished.error is not None and finished.error.code == "data"
        assert "set num_keypoints to 5" in finished.error.message
        assert "centre, right, bottom, left, top" in finished.error.message

    def test_whose_splits_name_other_keypoints_is_refused(self, tmp_path: Path) -> None:
        splits = iter([["centre", "right", "bottom", "left", "top"], ["centre", "right", "bottom", "left", "tip"]])

        def rename(content: Any) -> None:
            names = next(splits)
            for category in content["categories"]:
                category["keypoints"] = names

        spec = with_data(train_spec(detector=KEYED), on_disk(tmp_path / "data", rename))
        finished = execute(spec, RecordingContext(tmp_path / "run"))
        assert finished.error is not None and finished.error.code == "data"
        assert "the same list of keypoints for each category" in finished.error.message
        assert finished.error.details["only_in_val"][0] == "1: circle, centre, right, bottom, left, tip"

    def test_without_keypoints_is_scored_by_boxes_with_a_warning(self, run: RecordingContext, tmp_path: Path) -> None:
        context = RecordingContext(tmp_path / "run")
        spec = evaluate_spec(run.job_dir / "checkpoints/best.pt")
        finished = execute(with_data(spec, on_disk(tmp_path / "data", drop_keypoints)), context)
        assert finished.result is not None, finished.error
        assert finished.result.scores.keypoints is None
        (warned,) = [event for event in context.of(Warned) if event.code == "no_keypoints_to_score"]
        assert "only the boxes of keypoint_rcnn are scored" in warned.message
