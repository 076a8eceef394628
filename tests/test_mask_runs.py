"""Whole runs of a detector with masks, also on data without masks."""

import json
from pathlib import Path
from typing import Any

import pytest

from fgd_core.detectors.weights.checkpoint import read_checkpoint
from fgd_core.runs import execute
from fgd_core.spec.data import Shapes
from fgd_core.spec.events import DataChecked, Evaluated, MetricsLogged, Warned
from tests.data.shapes_as_coco import to_coco
from tests.library import TINY_DETECTOR, RecordingContext, evaluate_spec, train_spec, with_data, write_squares

MASKED: dict[str, Any] = {**TINY_DETECTOR, "type": "mask_rcnn", "anchor_base_size_px": 16, "rois_per_image": 32}
SOLO: dict[str, Any] = {**TINY_DETECTOR, "type": "solo", "num_grids": [8, 7, 6, 5, 4], "tower_depth": 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RecordingContext:
    """A run of Mask R-CNN on shapes, two epochs."""
    context = RecordingContext(tmp_path_factory.mktemp("run"))
    # All detections count: after two epochs their scores are low.
    spec = train_spec(detector={**MASKED, "score_threshold": 0.0}, training={"evaluate_every": 1})
    finished = execute(spec, context)
    assert finished.outcome == "succeeded", finished.error
    return context


def without_masks(folder: Path) -> dict[str, Any]:
    """Write shapes to disk, without segmentations."""
    parts = {}
    for split in ("train", "val"):
        part = to_coco(Shapes(num_train=8, num_val=4, image_size_px=64), split, folder)
        content = json.loads(Path(part.annotations).read_text())
        for annotation in content["annotations"]:
            del annotation["segmentation"]
        Path(part.annotations).write_text(json.dumps(content))
        parts[split] = part.model_dump()
    return {"type": "coco", **parts}


class TestRunWithMasks:
    def test_it_learns_masks_and_reports_their_ap_after_each_evaluation(self, run: RecordingContext) -> None:
        assert all("task/mask" in event.values for event in run.of(MetricsLogged))
        evaluations = run.of(Evaluated)
        assert len(evaluations) == 2
        for event in evaluations:
            assert event.scores.masks is not None and event.scores.masks.ap is not None
            assert list(event.scores.masks.per_class) == list(event.scores.per_class)

    def test_it_reports_the_fingerprint_of_the_masks(self, run: RecordingContext, tmp_path: Path) -> None:
        fingerprints = [event.masks_fingerprint for event in run.of(DataChecked)]
        assert None not in fingerprints and len(set(fingerprints)) == 2
        boxes = RecordingContext(tmp_path)
        execute(train_spec(), boxes)
        assert [event.masks_fingerprint for event in boxes.of(DataChecked)] == [None, None]
        assert all(event.scores.masks is None for event in boxes.of(Evaluated))

    def test_the_checkpoint_contains_the_scores_of_masks(self, run: RecordingContext) -> None:
        best, _ = read_checkpoint(run.job_dir / "checkpoints/best.pt")
        assert best.record.scores is not None and best.record.scores.masks is not None

    def test_an_evaluation_job_gives_the_same_scores(self, run: RecordingContext, tmp_path: Path) -> None:
        checkpoint = run.job_dir / "checkpoints/best.pt"
        best, _ = read_checkpoint(checkpoint)
        finished = execute(evaluate_spec(checkpoint), RecordingContext(tmp_path))
        assert finished.result is not None, finished.error
        assert finished.result.scores == best.record.scores


def test_solo_learns_masks_and_is_scored_by_them(tmp_path: Path) -> None:
    context = RecordingContext(tmp_path)
    finished = execute(train_spec(detector={**SOLO, "object_base_size_px": 24}), context)
    assert finished.result is not None, finished.error
    assert all({"task/mask", "task/classification"} <= event.values.keys() for event in context.of(MetricsLogged))
    assert all(event.scores.masks is not None for event in context.of(Evaluated))


class TestDataWithoutMasks:
    @pytest.mark.parametrize(
        "detector",
        [MASKED, {**MASKED, "type": "cascade_mask_rcnn"}, SOLO],
        ids=lambda detector: detector["type"],
    )
    def test_a_training_that_needs_masks_refuses_the_data(self, tmp_path: Path, detector: dict[str, Any]) -> None:
        kind = detector["type"]
        spec = with_data(train_spec(detector=detector), write_squares(tmp_path / "squares"))
        finished = execute(spec, RecordingContext(tmp_path / "run"))
        assert finished.error is not None and finished.error.code == "data"
        assert f"{kind} learns masks, and no object of the training split has one" in finished.error.message
        assert "faster_rcnn" in finished.error.message
        assert finished.error.details["detector"] == kind
        assert finished.error.details["data"]["train"]["annotations"].endswith("annotations.json")

    def test_boxes_are_scored_with_a_warning(self, run: RecordingContext, tmp_path: Path) -> None:
        context = RecordingContext(tmp_path / "run")
        spec = evaluate_spec(run.job_dir / "checkpoints/best.pt")
        finished = execute(with_data(spec, without_masks(tmp_path / "data")), context)
        assert finished.result is not None, finished.error
        assert finished.result.scores.ap is not None
        assert finished.result.scores.masks is None
        (warned,) = context.of(Warned)
        assert warned.code == "no_masks_to_score"
        assert "only the boxes of mask_rcnn are scored" in warned.message

    def test_a_detector_of_boxes_needs_no_masks(self, tmp_path: Path) -> None:
        context = RecordingContext(tmp_path / "run")
        finished = execute(with_data(train_spec(), without_masks(tmp_path / "data")), context)
        assert finished.outcome == "succeeded", finished.error
        assert not context.of(Warned)
