"""hotcoco and our matching, held equal to pycocotools on drawn evaluations: to the bit, not to a tolerance."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import hotcoco
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.cocoeval import Params

from fgd_core.data.masks import encode
from fgd_core.data.samples import Category, Sample, count, fingerprint
from fgd_core.evaluation import engine, hotcoco_engine, matches, pycocotools_engine
from fgd_core.evaluation.coco import coco_scores
from fgd_core.evaluation.columns import Columns, Overlap, columns_of
from fgd_core.evaluation.inference import ImageDetections
from fgd_core.evaluation.matches import Matches, match
from fgd_core.spec.results import Scores

SIDE_PX = 64
SEEDS = st.integers(0, 2**32 - 1)


class Drawn:
    """A small data set and detections with all that makes evaluators differ.

    Crowds, equal scores, equal boxes, the id 0, ids in no order, images without objects or detections, more than 100
    objects and detections of a class, boxes outside of the image or without area, areas on the edges of the ranges,
    detections in float32 and in float64.
    """

    refusal = None

    def __init__(self, seed: int, *, num_keypoints: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.num_keypoints = num_keypoints
        names = tuple(f"point {number}" for number in range(num_keypoints))
        ids = rng.choice(9, size=rng.integers(1, 4), replace=False)
        self.categories = tuple(Category(id=int(each), name=f"class {each}", keypoints=names) for each in sorted(ids))
        image_ids = rng.choice([0, 1, 5, 2**40, 7, 3], size=rng.integers(1, 6), replace=False)
        self.samples = [self._sample(rng, int(image_id)) for image_id in image_ids]
        self.fingerprint = fingerprint(self.categories, self.samples)
        self.checked = count("val", self.categories, self.samples, [])
        self.found = {s.image_id: self._detections(rng, s) for s in self.samples if rng.random() < 0.8}

    def load_image(self, index: int) -> torch.Tensor:
        raise AssertionError("scores need no pixels")

    def columns(self, overlap: Overlap) -> Columns:
        return columns_of(self, self.found, overlap)

    def _sample(self, rng: np.random.Generator, image_id: int) -> Sample:
        number = int(rng.choice([0, 1, 3, 6, 120], p=[0.2, 0.2, 0.3, 0.25, 0.05]))
        boxes = _boxes(rng, number).astype(np.float32)
        sides = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64)
        edges = rng.choice([0.0, 32.0**2, 96.0**2], size=number)
        return Sample(
            image_id=image_id,
            file_name=f"{image_id}.png",
            height=SIDE_PX,
            width=SIDE_PX,
            boxes_xyxy_px=boxes,
            labels=rng.integers(len(self.categories), size=number),
            is_crowd=rng.random(number) < 0.2,
            areas_px2=np.where(rng.random(number) < 0.3, edges, sides.prod(1)),
            masks=encode([_mask(rng) for _ in range(number)], (SIDE_PX, SIDE_PX)),
            keypoints=self._keypoints(rng, number).astype(np.float32),
        )

    def _keypoints(self, rng: np.random.Generator, number: int) -> npt.NDArray[np.float64]:
        places = rng.uniform(0, SIDE_PX, (number, self.num_keypoints, 2))
        seen = rng.integers(0, 3, (number, self.num_keypoints, 1)) * (rng.random((number, 1, 1)) < 0.8)
        return np.concatenate([places, seen], axis=2)

    def _detections(self, rng: np.random.Generator, sample: Sample) -> ImageDetections:
        number = int(rng.choice([0, 1, 4, 12, 130], p=[0.1, 0.2, 0.4, 0.25, 0.05]))
        labels = rng.integers(len(self.categories), size=number)
        boxes, keypoints = _boxes(rng, number), self._keypoints(rng, number)
        masks = [_mask(rng) for _ in range(number)]
        for place in np.flatnonzero(rng.random(number) < 0.7) if len(sample.labels) else ():
            near = int(rng.integers(len(sample.labels)))
            labels[place] = sample.labels[near]
            boxes[place] = sample.boxes_xyxy_px[near] + rng.choice([0, 1, 4]) * rng.normal(size=4)
            masks[place] = _shifted(sample.masks.decode()[near].numpy(), int(rng.integers(0, 4)))
            keypoints[place] = sample.keypoints[near]
            keypoints[place, :, :2] += rng.choice([0, 1, 4]) * rng.normal(size=(self.num_keypoints, 2))
        scores = np.where(rng.random(number) < 0.5, rng.integers(0, 4, number) / 4, rng.random(number))
        dtype = rng.choice([torch.float32, torch.float64])
        return ImageDetections(
            torch.from_numpy(boxes).to(dtype),
            torch.from_numpy(scores).to(dtype),
            torch.from_numpy(labels),
            encode(masks, (SIDE_PX, SIDE_PX)),
            torch.from_numpy(keypoints).to(dtype),
        )


def _boxes(rng: np.random.Generator, number: int) -> npt.NDArray[np.float64]:
    sides = np.exp(rng.uniform(0, 5, (number, 2))) * (rng.random((number, 1)) < 0.97)
    corners = rng.uniform(-10, SIDE_PX, (number, 2))
    return np.hstack([corners, corners + sides])


def _mask(rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """A block, which is empty now and then, with holes now and then."""
    mask = np.zeros((SIDE_PX, SIDE_PX), np.bool_)
    top, left = rng.integers(0, SIDE_PX, 2)
    height, width = rng.integers(0, SIDE_PX, 2)
    mask[top : top + height, left : left + width] = True
    return mask & (rng.random(mask.shape) < 0.9) if rng.random() < 0.3 else mask


def _shifted(mask: npt.NDArray[np.uint8], by_px: int) -> npt.NDArray[np.bool_]:
    return np.roll(mask, by_px, axis=1).astype(np.bool_)


class TestCurves:
    @pytest.mark.parametrize("overlap", ["bbox", "segm"])
    @given(seed=SEEDS)
    @settings(max_examples=80, deadline=None)
    def test_hotcoco_computes_what_pycocotools_computes(self, overlap: Overlap, seed: int) -> None:
        columns = Drawn(seed).columns(overlap)
        for ours, reference in zip(hotcoco_engine.curves(columns), pycocotools_engine.curves(columns), strict=True):
            np.testing.assert_array_equal(ours, reference)

    @pytest.mark.parametrize("num_keypoints", [17, 5])
    @given(seed=SEEDS)
    @settings(max_examples=40, deadline=None)
    def test_hotcoco_judges_keypoints_as_pycocotools_does(self, num_keypoints: int, seed: int) -> None:
        columns = Drawn(seed, num_keypoints=num_keypoints).columns("keypoints")
        for ours, reference in zip(hotcoco_engine.curves(columns), pycocotools_engine.curves(columns), strict=True):
            np.testing.assert_allclose(ours, reference, rtol=0, atol=1e-12)

    def test_the_engines_have_the_same_overlaps_areas_and_recalls(self) -> None:
        ours, reference = hotcoco.Params("bbox"), Params("bbox")
        assert ours.iou_thrs == reference.iouThrs.tolist() == matches.OVERLAPS.tolist()
        assert ours.rec_thrs == reference.recThrs.tolist()
        assert ours.area_rng == reference.areaRng == matches._AREAS_PX2.tolist()
        assert ours.max_dets == reference.maxDets and reference.maxDets[-1] == matches.MAX_DETECTIONS
        assert (*reference.areaRngLbl,) == matches.AREAS

    def test_without_hotcoco_pycocotools_computes_the_same_scores(self, monkeypatch: pytest.MonkeyPatch) -> None:
        drawn = Drawn(3)
        scores = coco_scores(drawn, drawn.found)
        monkeypatch.setattr(engine, "hotcoco_engine", None)
        assert coco_scores(drawn, drawn.found) == scores and scores.ap is not None

    def test_a_process_that_was_forked_after_an_evaluation_evaluates_as_well(self) -> None:
        """Without hotcoco: its threads are not in the copy, which would wait for them for ever."""
        drawn = Drawn(3)
        scores = coco_scores(drawn, drawn.found)
        with ProcessPoolExecutor(1, get_context("fork")) as pool:
            assert pool.submit(_scores_of, 3).result(60) == scores


def _scores_of(seed: int) -> Scores:
    drawn = Drawn(seed)
    return coco_scores(drawn, drawn.found)


class TestMatches:
    @given(seed=SEEDS, pairs_at_once=st.sampled_from([1, 30, 1_000_000]))
    @settings(max_examples=80, deadline=None)
    def test_each_detection_is_right_or_ignored_where_it_is_in_pycocotools(self, seed: int, pairs_at_once: int) -> None:
        columns = Drawn(seed).columns("bbox")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(matches, "_PAIRS_AT_ONCE", pairs_at_once)
            ours = match(columns)
        for name, own, expected in zip(Matches._fields, ours, reference_matches(columns), strict=True):
            np.testing.assert_array_equal(own, expected, err_msg=name)

    def test_a_box_without_a_place_finds_nothing(self) -> None:
        drawn = Drawn(3)
        broken = {
            image_id: found._replace(boxes_xyxy_px=torch.full_like(found.boxes_xyxy_px, np.nan))
            for image_id, found in drawn.found.items()
        }
        assert (coco_scores(drawn, broken).ap or 0) == 0 < (coco_scores(drawn, drawn.found).ap or 0)


def reference_matches(columns: Columns) -> Matches:
    """Read the matches from the results of pycocotools, class by class."""
    evaluation = pycocotools_engine.evaluated(columns)
    num_images, areas = len(columns.image_ids), len(matches.AREAS)
    found, truth = [], []
    order = np.lexsort((columns.truth.image, columns.truth.label))
    # The place of each true box, by its id from 1; without a true box -1.
    places = np.array([-1, *np.argsort(order)])
    for label in range(columns.num_classes):
        of_class = [evaluation.evalImgs[(label * areas + area) * num_images :][:num_images] for area in range(areas)]
        images = [each for each in zip(*of_class, strict=True) if each[0] is not None]
        found.append(_of_class(images))
        truth.append([(each[0]["image_id"], _true_boxes(each)) for each in images if any(_true_boxes(each))])
    rows = [row for each in truth for row in each]
    return Matches(
        image_ids=columns.image_ids,
        starts=np.cumsum([0, *(len(image) for image, *_ in found)]),
        image=np.concatenate([image for image, *_ in found]),
        scores=np.concatenate([scores for _, scores, *_ in found]),
        is_right=np.concatenate([right for _, _, right, *_ in found]),
        is_ignored=np.concatenate([ignored for *_, ignored, _ in found]),
        truth=places[np.concatenate([ids for *_, ids in found])],
        truth_starts=np.cumsum([0, *(len(each) for each in truth)]),
        truth_image=np.array([image for image, _ in rows], dtype=np.int64),
        truth_count=np.array([counts for _, counts in rows], dtype=np.int64).reshape(-1, areas),
    )


def _of_class(images: list[tuple[dict[str, object], ...]]) -> tuple[npt.NDArray[np.generic], ...]:
    image = np.array([each[0]["image_id"] for each in images for _ in each[0]["dtScores"]], dtype=np.int64)
    scores = np.array([score for each in images for score in each[0]["dtScores"]], dtype=np.float64)
    order = np.argsort(-scores, kind="mergesort")
    ignored = [_values(images, area, "dtIgnore") for area in range(len(matches.AREAS))]
    matched = [_values(images, area, "dtMatches") for area in range(len(matches.AREAS))]
    is_ignored, true_ids = np.stack(ignored, axis=1)[order] > 0, np.stack(matched, axis=1)[order]
    return image[order], scores[order], (true_ids > 0) & ~is_ignored, is_ignored, true_ids[:, 0, 0]


def _values(images: list[tuple[dict[str, object], ...]], area: int, name: str) -> npt.NDArray[np.int64]:
    """Return (D, T) of one area range."""
    parts = [np.asarray(each[area][name]) for each in images]
    return np.concatenate([np.zeros((len(matches.OVERLAPS), 0)), *parts], axis=1).T.astype(np.int64)


def _true_boxes(image: tuple[dict[str, object], ...]) -> list[int]:
    return [int(np.count_nonzero(each["gtIgnore"] == 0)) for each in image]
