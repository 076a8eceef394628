"""The 12 numbers of COCO, computed by hand for small cases and by pycocotools for real files."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fgd_core.data import open_dataset
from fgd_core.data.samples import Category, Sample, count, fingerprint
from fgd_core.data.shapes import ShapesDataset
from fgd_core.detectors.base import Detections
from fgd_core.evaluation.coco import coco_scores
from fgd_core.spec.data import Coco, CocoSplit, Shapes

NUMBERS = (
    "ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large",
    "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large",
)  # fmt: skip


class TwoClasses:
    """A data set of two classes; for each image, rows of (label, x1, y1, x2, y2, is_crowd)."""

    def __init__(self, *images: Sequence[tuple[int, float, float, float, float, bool]]) -> None:
        self.categories = (Category(id=0, name="cat"), Category(id=40, name="dog"))
        self.samples = [_sample(image_id, rows) for image_id, rows in enumerate(images, start=100)]
        self.fingerprint = fingerprint(self.categories, self.samples)
        self.checked = count("val", self.categories, self.samples, [])

    def load_image(self, index: int) -> torch.Tensor:
        raise AssertionError("scores need no pixels")


def _sample(image_id: int, rows: Sequence[tuple[int, float, float, float, float, bool]]) -> Sample:
    boxes = np.array([row[1:5] for row in rows], dtype=np.float32).reshape(-1, 4)
    return Sample(
        image_id=image_id,
        file_name=f"{image_id}.png",
        height=200,
        width=200,
        boxes_xyxy_px=boxes,
        labels=np.array([row[0] for row in rows], dtype=np.int64),
        is_crowd=np.array([row[5] for row in rows], dtype=np.bool_),
        areas_px2=((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).astype(np.float64),
    )


def _detections(*rows: tuple[int, float, float, float, float, float]) -> Detections:
    """Build detections from rows of (label, score, x1, y1, x2, y2)."""
    return Detections(
        boxes_xyxy_px=torch.tensor([row[2:] for row in rows]).reshape(-1, 4),
        scores=torch.tensor([row[1] for row in rows]),
        labels=torch.tensor([row[0] for row in rows], dtype=torch.int64),
    )


CAT = (0, 10, 10, 50, 50, False)
DOG = (1, 100, 100, 200, 200, False)


class TestByHand:
    def test_perfect_detections_score_one(self) -> None:
        dataset = ShapesDataset(Shapes(num_val=20), "val")
        found = {
            s.image_id: Detections(s.boxes_xyxy_px, np.linspace(1, 0.5, len(s.labels)), s.labels)
            for s in dataset.samples
        }
        scores = coco_scores(dataset, found)
        assert scores.ap == scores.ap50 == scores.ap75 == scores.ar100 == pytest.approx(1)
        assert {name: score.ap for name, score in scores.per_class.items()} == {
            category.name: pytest.approx(1) for category in dataset.categories
        }

    def test_no_detections_score_zero(self) -> None:
        scores = coco_scores(TwoClasses([CAT]), {})
        assert (scores.ap, scores.ap50, scores.ar100) == (0, 0, 0)

    def test_images_without_objects_matter_only_for_false_positives(self) -> None:
        dataset = TwoClasses([CAT], [])
        right = _detections((0, 0.5, 10, 10, 50, 50))
        assert coco_scores(dataset, {100: right, 101: _detections()}).ap == pytest.approx(1)
        # The false positive has the highest score, so precision is 1/2 at every recall.
        assert coco_scores(dataset, {100: right, 101: _detections((0, 0.9, 0, 0, 9, 9))}).ap == pytest.approx(0.5)

    def test_scores_without_objects_are_none(self) -> None:
        scores = coco_scores(TwoClasses([CAT]), {100: _detections((0, 1, 10, 10, 50, 50))})
        assert (scores.ap_medium, scores.ap_small, scores.ap_large) == (pytest.approx(1), None, None)
        assert scores.per_class["dog"].ap is None
        assert scores.per_class["dog"].num_boxes == 0
        assert scores.ap == pytest.approx(1)

    def test_an_overlap_of_0_6_counts_at_three_of_ten_thresholds(self) -> None:
        # 24 of 40 columns: IoU 0.6, found at 0.50, 0.55 and 0.60.
        scores = coco_scores(TwoClasses([CAT]), {100: _detections((0, 1, 10, 10, 34, 50))})
        assert (scores.ap, scores.ap50, scores.ap75) == (pytest.approx(0.3), pytest.approx(1), 0)

    def test_one_detection_of_two_objects_is_half_of_the_recall(self) -> None:
        dataset = TwoClasses([CAT, (0, 60, 60, 99, 99, False)])
        scores = coco_scores(dataset, {100: _detections((0, 1, 10, 10, 50, 50))})
        assert scores.ar100 == pytest.approx(0.5)
        assert scores.ap == pytest.approx(51 / 101)  # recall points 0.00 to 0.50 of 101

    def test_the_right_box_with_the_wrong_class_is_wrong(self) -> None:
        scores = coco_scores(
            TwoClasses([CAT, DOG]), {100: _detections((1, 1, 10, 10, 50, 50), (1, 0.5, 100, 100, 200, 200))}
        )
        assert scores.per_class["cat"].ap == 0
        assert scores.per_class["dog"].ap == pytest.approx(0.5)
        assert scores.ap == pytest.approx(0.25)

    def test_a_second_box_on_an_object_is_a_false_positive(self) -> None:
        dataset = TwoClasses([CAT], [CAT])
        twice = _detections((0, 1, 10, 10, 50, 50), (0, 0.9, 10, 10, 50, 50))
        # Right, wrong, right: precision 1 up to recall 0.5, then 2/3.
        scores = coco_scores(dataset, {100: twice, 101: _detections((0, 0.8, 10, 10, 50, 50))})
        assert scores.ap == pytest.approx((51 + 50 * 2 / 3) / 101)

    def test_detections_in_a_crowd_are_ignored(self) -> None:
        in_crowd = ((0, 0.9, 110, 110, 130, 130), (0, 0.8, 140, 140, 160, 160))
        found = {100: _detections(*in_crowd, (0, 0.5, 10, 10, 50, 50))}
        crowd = (0, 100, 100, 200, 200, True)
        assert coco_scores(TwoClasses([CAT, crowd]), found).ap == pytest.approx(1)
        assert coco_scores(TwoClasses([CAT]), found).ap == pytest.approx(1 / 3)

    def test_sizes_are_by_the_area_of_the_annotation(self) -> None:
        small, medium, large = (0, 0, 0, 20, 20, False), (0, 50, 50, 100, 100, False), (0, 100, 100, 200, 200, False)
        dataset = TwoClasses([small, medium, large])
        scores = coco_scores(dataset, {100: _detections((0, 1, 0, 0, 20, 20), (0, 1, 100, 100, 200, 200))})
        assert (scores.ap_small, scores.ap_medium, scores.ap_large) == (pytest.approx(1), 0, pytest.approx(1))

    def test_category_and_image_ids_may_be_zero(self) -> None:
        dataset = TwoClasses([CAT])  # category id 0
        dataset.samples[0] = _sample(0, [CAT])
        assert coco_scores(dataset, {0: _detections((0, 1, 10, 10, 50, 50))}).ap == pytest.approx(1)

    def test_unknown_images_and_arrays_of_unequal_length_are_refused(self) -> None:
        with pytest.raises(ValueError, match="55"):
            coco_scores(TwoClasses([CAT]), {55: _detections()})
        uneven = Detections(np.zeros((2, 4)), np.zeros(1), np.zeros(2, dtype=np.int64))
        with pytest.raises(ValueError, match="2 boxes, 1 scores"):
            coco_scores(TwoClasses([CAT]), {100: uneven})

    def test_nothing_is_printed(self, capsys: pytest.CaptureFixture[str]) -> None:
        coco_scores(TwoClasses([CAT]), {})
        assert capsys.readouterr().out == ""


class TestAgainstPycocotools:
    @pytest.mark.parametrize("name", ["bccd", "nuclei_small"])
    def test_all_numbers_are_equal_on_real_files(self, shared: Path, name: str) -> None:
        root = shared / "data" / name
        if not root.is_dir():
            pytest.skip(f"no data set at {root}")
        annotations = root / "annotations_val.json"
        part = CocoSplit(images=str(root / "images"), annotations=str(annotations))
        dataset = open_dataset(Coco(train=part, val=part), "val")
        found = _imperfect(dataset.samples, len(dataset.categories))

        truth = COCO(str(annotations))
        rows = [
            {"image_id": image_id, "category_id": dataset.categories[label].id, "bbox": box, "score": score}
            for image_id, one in found.items()
            for box, score, label in zip(_xywh(one), one.scores.tolist(), one.labels.tolist(), strict=True)
        ]
        direct = COCOeval(truth, truth.loadRes(rows), "bbox")
        direct.evaluate()
        direct.accumulate()
        direct.summarize()

        scores = coco_scores(dataset, found)
        ours = [getattr(scores, number) for number in NUMBERS]
        assert ours == [pytest.approx(value, abs=1e-12) if value >= 0 else None for value in direct.stats]
        assert 0.05 < ours[0] < 0.95
        precision = direct.eval["precision"][:, :, :, 0, 2]
        for place, category in enumerate(dataset.categories):
            assert scores.per_class[category.name].ap == pytest.approx(precision[:, :, place].mean())
            assert scores.per_class[category.name].ap50 == pytest.approx(precision[0, :, place].mean())
        assert sum(s.num_boxes for s in scores.per_class.values()) == len(
            json.loads(annotations.read_text())["annotations"]
        )


def _imperfect(samples: Sequence[Sample], num_classes: int) -> dict[int, Detections]:
    """Shift boxes, drop some, duplicate some and change some classes; many scores are equal."""
    rng = np.random.default_rng(0)
    found = {}
    for sample in samples[:-3]:
        picked = rng.integers(len(sample.labels), size=len(sample.labels))
        boxes = sample.boxes_xyxy_px[picked].astype(np.float64) + rng.integers(-4, 5, size=(len(picked), 4)) / 2
        labels = np.where(rng.random(len(picked)) < 0.9, sample.labels[picked], rng.integers(num_classes))
        found[sample.image_id] = Detections(boxes, rng.integers(1, 20, size=len(picked)) / 20, labels)
    return found


def _xywh(found: Detections) -> list[list[float]]:
    boxes = np.asarray(found.boxes_xyxy_px)
    return np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]).tolist()
