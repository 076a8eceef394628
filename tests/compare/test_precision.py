"""AP from what a run left, held against pycocotools."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fgd_core.data.samples import DetectionDataset
from fgd_core.data.shapes import ShapesDataset
from fgd_core.detectors.base import Detections
from fgd_core.errors import NotComparableError
from fgd_core.evaluation.coco import coco_scores
from fgd_core.spec.data import Shapes
from fgd_core.statistics.evidence import Evidence
from fgd_core.statistics.rows import SCORES
from service.compare.precision import overall, scores
from tests.compare.evaluations import DrawnDataset, detections, evidence


def all_once(found: Evidence) -> np.ndarray:
    return scores(found, np.ones((len(found.image_ids), 1)))


def assert_the_same(dataset: DetectionDataset, found: dict[int, Detections], left: Evidence) -> None:
    """All of COCO's APs, overall and per class, to 1e-12."""
    expected, ours = coco_scores(dataset, found), all_once(left)
    whole = overall(ours)[:, 0]
    for place, score in enumerate(SCORES):
        assert number(whole[place]) == pytest.approx(getattr(expected, score), abs=1e-12), score
    for place, (name, of_class) in enumerate(expected.per_class.items()):
        assert left.class_names[place] == name
        assert number(ours[0, place, 0]) == pytest.approx(of_class.ap, abs=1e-12)
        assert number(ours[1, place, 0]) == pytest.approx(of_class.ap50, abs=1e-12)
        assert left.of_class(place).num_boxes == of_class.num_boxes


def number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


class TestAgainstPycocotools:
    @given(seed=st.integers(0, 2**32), num_images=st.integers(1, 40), skill=st.floats(0, 1))
    @settings(max_examples=60, deadline=None)
    def test_random_detections_score_the_same(
        self, tmp_path_factory: pytest.TempPathFactory, seed: int, num_images: int, skill: float
    ) -> None:
        dataset = DrawnDataset(seed, num_images=num_images)
        found = detections(dataset, seed, skill=skill)
        assert_the_same(dataset, found, evidence(dataset, found, tmp_path_factory.mktemp("run")))

    def test_detections_on_shapes_score_the_same(self, tmp_path: Path) -> None:
        dataset = ShapesDataset(Shapes(num_val=60), "val")
        found = detections(dataset, 3, skill=0.8)
        left = evidence(dataset, found, tmp_path)
        assert left.fingerprint == dataset.fingerprint
        assert 0.05 < (number(overall(all_once(left))[0, 0]) or 0) < 0.95
        assert_the_same(dataset, found, left)

    def test_without_detections_ap_is_zero(self, tmp_path: Path) -> None:
        dataset = DrawnDataset(1)
        assert_the_same(dataset, {}, evidence(dataset, {}, tmp_path))

    @given(seed=st.integers(0, 2**32), data=st.data())
    @settings(max_examples=60, deadline=None)
    def test_an_image_of_weight_three_counts_as_three_images(
        self, tmp_path_factory: pytest.TempPathFactory, seed: int, data: st.DataObject
    ) -> None:
        """What the bootstrap rests on: pycocotools on the resampled images themselves, and in float32.

        Without ties: of those within an image, copies come in another order than one image that weighs more.
        """
        weights = data.draw(st.lists(st.integers(0, 3), min_size=15, max_size=15))
        once = DrawnDataset(seed, num_images=15)
        folder = tmp_path_factory.mktemp("run")
        left = evidence(once, detections(once, seed, ties=False), folder)
        repeated = DrawnDataset(seed, num_images=15, copies=weights)
        expected = coco_scores(repeated, detections(repeated, seed, ties=False))
        for exactness, dtype in ((1e-12, np.float64), (1e-5, np.float32)):
            ours = scores(left, np.array(weights, dtype=dtype)[:, None])
            whole = overall(ours)[:, 0]
            for place, score in enumerate(SCORES):
                assert number(whole[place]) == pytest.approx(getattr(expected, score), abs=exactness), score


class TestFile:
    def test_a_file_without_images_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(NotComparableError, match="a run"):
            evidence(DrawnDataset(1, num_images=0), {}, tmp_path)

    def test_it_needs_at_most_16_bytes_for_each_detection(self, tmp_path: Path) -> None:
        dataset = DrawnDataset(5, num_images=200)
        found = detections(dataset, 5)
        evidence(dataset, found, tmp_path)
        with np.load(tmp_path / "evaluation.npz") as stored:
            per_detection = sum(stored[name].itemsize for name in ("image", "score"))
            per_detection += stored["right"].shape[1] + stored["ignored"].shape[1]
            assert per_detection == 16
            assert len(stored["image"]) == sum(len(one.labels) for one in found.values())
