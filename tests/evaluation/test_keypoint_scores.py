"""Keypoint AP: computed by hand, and against pycocotools on files."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fgd_core.data import open_dataset
from fgd_core.data.samples import Category, DetectionDataset, Sample, count, fingerprint
from fgd_core.data.shapes import ShapesDataset
from fgd_core.evaluation.coco import coco_scores, keypoint_scores
from fgd_core.evaluation.inference import ImageDetections
from fgd_core.evaluation.samples import draw_samples
from fgd_core.spec.data import Coco, Shapes
from fgd_core.spec.results import KeypointScores
from tests.data.shapes_as_coco import to_coco

CAT, DOG = 0, 1
BOX = (50.0, 50.0, 150.0, 150.0)
"""An object of 100 x 100 px: with sigmas of 0.05, keypoints d px off have an OKS of exp(-d^2 / 200)."""


class Keyed:
    """A data set of one image, whose objects (label, keypoints) have the same box; dogs have no keypoints."""

    refusal = None

    def __init__(self, *rows: tuple[int, npt.NDArray[np.float32]], num_keypoints: int = 5) -> None:
        names = tuple(f"point {number}" for number in range(num_keypoints))
        self.categories = (Category(id=0, name="cat", keypoints=names), Category(id=40, name="dog"))
        self.samples = [
            Sample(
                image_id=100,
                file_name="100.png",
                height=200,
                width=200,
                boxes_xyxy_px=np.array([BOX] * len(rows), dtype=np.float32).reshape(-1, 4),
                labels=np.array([label for label, _ in rows], dtype=np.int64),
                is_crowd=np.zeros(len(rows), dtype=np.bool_),
                areas_px2=np.full(len(rows), 1e4),
                keypoints=np.array([points for _, points in rows], dtype=np.float32).reshape(-1, num_keypoints, 3),
            )
        ]
        self.fingerprint = fingerprint(self.categories, self.samples)
        self.checked = count("val", self.categories, self.samples, [])

    def load_image(self, index: int) -> torch.Tensor:
        return torch.zeros(3, 200, 200, dtype=torch.uint8)


def points(*, shift_px: float = 0, num_keypoints: int = 5, labelled: int = 5) -> npt.NDArray[np.float32]:
    """Return (K, 3) keypoints along the diagonal of the box, moved to the right; only the first ones are labelled."""
    places = np.linspace(60, 140, num_keypoints)
    found = np.stack([places + shift_px, places, np.full(num_keypoints, 2)], axis=1)
    found[labelled:] = 0
    return found.astype(np.float32)


def found(*rows: tuple[int, float, npt.NDArray[np.float32]]) -> dict[int, ImageDetections]:
    """Build detections of the image from rows of (label, score, keypoints)."""
    return {
        100: ImageDetections(
            torch.tensor([BOX] * len(rows)).reshape(-1, 4),
            torch.tensor([score for _, score, _ in rows]),
            torch.tensor([label for label, *_ in rows], dtype=torch.int64),
            keypoints=torch.from_numpy(np.array([keypoints for *_, keypoints in rows], dtype=np.float32)),
        )
    }


def perfect(dataset: DetectionDataset) -> dict[int, ImageDetections]:
    return {
        s.image_id: ImageDetections(
            torch.from_numpy(s.boxes_xyxy_px),
            torch.ones(len(s.labels)),
            torch.from_numpy(s.labels),
            keypoints=torch.from_numpy(s.keypoints),
        )
        for s in dataset.samples
        if s.keypoints is not None
    }


class TestByHand:
    def test_true_keypoints_score_one(self) -> None:
        dataset = ShapesDataset(Shapes(num_val=20), "val", with_keypoints=True)
        scores = keypoint_scores(dataset, perfect(dataset))
        assert scores.ap == scores.ap50 == scores.ap75 == pytest.approx(1)
        assert {name: score.ap for name, score in scores.per_class.items()} == {
            category.name: pytest.approx(1) for category in dataset.categories
        }

    @pytest.mark.parametrize(("oks", "thresholds"), [(0.97, 10), (0.62, 3), (0.49, 0)])
    def test_a_shift_counts_at_the_thresholds_below_its_oks(self, oks: float, thresholds: int) -> None:
        shift_px = float(np.sqrt(-200 * np.log(oks)))
        one = found((CAT, 1.0, points(shift_px=shift_px)))
        scores = keypoint_scores(Keyed((CAT, points())), one)
        assert scores.ap == pytest.approx(thresholds / 10)
        assert scores.ap_large == scores.ap and scores.ap_medium is None
        assert scores.sigmas == "0.05 for each of 5 keypoints"
        assert coco_scores(Keyed((CAT, points())), one).ap == pytest.approx(1)

    def test_only_labelled_keypoints_count(self) -> None:
        guessed = points()
        guessed[3:] = 9
        assert keypoint_scores(Keyed((CAT, points(labelled=3))), found((CAT, 1.0, guessed))).ap == pytest.approx(1)
        assert keypoint_scores(Keyed((CAT, points(labelled=4))), found((CAT, 1.0, guessed))).ap == pytest.approx(0.6)

    def test_objects_without_labelled_keypoints_are_ignored(self) -> None:
        dataset = Keyed((CAT, points()), (CAT, points(labelled=0)), (DOG, points(labelled=0)))
        scores = keypoint_scores(dataset, found((CAT, 0.9, points()), (DOG, 1.0, points())))
        assert scores.ap == scores.per_class["cat"].ap == pytest.approx(1)
        assert scores.per_class["dog"].ap is None

    def test_a_false_positive_before_the_right_one_halves_the_precision(self) -> None:
        guessed = found((CAT, 0.9, points(shift_px=40)), (CAT, 0.5, points()))
        assert keypoint_scores(Keyed((CAT, points())), guessed).ap == pytest.approx(0.5)

    def test_17_keypoints_use_the_sigmas_of_coco(self) -> None:
        true = points(num_keypoints=17, labelled=17)
        scores = keypoint_scores(Keyed((CAT, true), num_keypoints=17), found((CAT, 1.0, true)))
        assert scores.sigmas == "those of COCO's 17 keypoints" and scores.ap == pytest.approx(1)
        nose_only = true.copy()
        nose_only[1:] = 0
        moved = true.copy()
        # The nose has the sigma 0.026: 3 px off give exp(-9 / (8 * 0.026^2 * 1e4)) = 0.85.
        moved[0, 0] += 3
        one = keypoint_scores(Keyed((CAT, nose_only), num_keypoints=17), found((CAT, 1.0, moved)))
        assert one.ap == pytest.approx(0.7)

    def test_no_detections_score_zero(self) -> None:
        assert keypoint_scores(Keyed((CAT, points())), {}).ap == 0

    def test_detections_and_data_without_keypoints_are_refused(self) -> None:
        plain = found((CAT, 1.0, points()))[100]._replace(keypoints=None)
        with pytest.raises(ValueError, match="image 100: keypoint scores need keypoints for each of the 1 boxes"):
            keypoint_scores(Keyed((CAT, points())), {100: plain})
        without = ShapesDataset(Shapes(num_val=1), "val")
        with pytest.raises(ValueError, match="keypoint scores need keypoints"):
            keypoint_scores(without, {})


class TestAgainstPycocotools:
    def test_all_numbers_are_equal_on_files(self, tmp_path: Path) -> None:
        part = to_coco(Shapes(num_val=40), "val", tmp_path)
        dataset = open_dataset(Coco(train=part, val=part), "val", with_keypoints=True)
        guessed = {sample.image_id: imperfect(sample, seed) for seed, sample in enumerate(dataset.samples[:-3])}
        rows = [row for image_id, one in guessed.items() for row in rows_of(dataset, image_id, one)]
        truth = COCO(part.annotations)
        results = tmp_path / "results.json"
        results.write_text(json.dumps(rows))
        direct = COCOeval(truth, truth.loadRes(str(results)), "keypoints")
        direct.params.kpt_oks_sigmas = np.full(5, 0.05)
        direct.evaluate()
        direct.accumulate()
        direct.summarize()
        scores = keypoint_scores(dataset, guessed)
        names = [name for name in KeypointScores.model_fields if name.startswith("ap")]
        ours = [getattr(scores, name) for name in names]
        assert ours == [pytest.approx(value, abs=1e-12) if value >= 0 else None for value in direct.stats[:5]]
        assert 0.05 < ours[0] < 0.95


def imperfect(sample: Sample, seed: int) -> ImageDetections:
    """Shift keypoints, drop some objects and duplicate some; many scores are equal."""
    assert sample.keypoints is not None
    rng = np.random.default_rng(seed)
    picked = rng.integers(len(sample.labels), size=len(sample.labels))
    shift = rng.normal(scale=2, size=(len(picked), 5, 3)) * (1, 1, 0)
    return ImageDetections(
        torch.from_numpy(sample.boxes_xyxy_px[picked]),
        torch.from_numpy(rng.integers(1, 20, size=len(picked)) / 20),
        torch.from_numpy(sample.labels[picked]),
        keypoints=torch.from_numpy(sample.keypoints[picked] + shift),
    )


def rows_of(dataset: DetectionDataset, image_id: int, one: ImageDetections) -> list[dict[str, Any]]:
    assert one.keypoints is not None
    return [
        {"image_id": image_id, "category_id": dataset.categories[label].id, "keypoints": keypoints, "score": score}
        for label, keypoints, score in zip(
            one.labels.tolist(), one.keypoints.flatten(1).tolist(), one.scores.tolist(), strict=True
        )
    ]


def test_the_picture_shows_labelled_keypoints() -> None:
    dataset = Keyed((CAT, points(labelled=1)))
    seen = found((CAT, 0.9, points(shift_px=10)))
    pixels = np.asarray(Image.open(io.BytesIO(draw_samples(dataset, seen))))
    side = 256
    truth, below = pixels[4 : 4 + side], pixels[8 + side :]

    def shows(picture: npt.NDArray[np.uint8], place: Sequence[float]) -> bool:
        column, row = (round(each * side / 200) for each in place)
        return bool(picture[row, 4 + column].any())

    true, guessed = points(), points(shift_px=10)
    assert [shows(truth, place[:2]) for place in true] == [True, False, False, False, False]
    assert all(shows(below, place[:2]) for place in guessed)
