"""The diagnosis of detections: hand-made cases with known numbers, and agreement with pycocotools."""

import numpy as np
import pytest
import torch

from fgd_core.data.samples import Sample
from fgd_core.evaluation.coco import coco_scores, match_detections
from fgd_core.evaluation.diagnosis import by_object_count, diagnose, precision_curves
from fgd_core.evaluation.diagnosis.calibration import measure_calibration
from fgd_core.evaluation.diagnosis.confusion import count_confusions
from fgd_core.evaluation.diagnosis.errors import KINDS, judge, kinds_of_error
from fgd_core.evaluation.diagnosis.matching import MatchedImage, match_image, match_images, overlaps
from fgd_core.evaluation.inference import ImageDetections
from fgd_core.spec.diagnosis import Errors
from tests.compare.evaluations import DrawnDataset, as_images, detections

Box = tuple[float, float, float, float]
Found = tuple[Box, float, int]
"""Box, score, label."""
OBJECT: Box = (0, 0, 100, 100)
ELSEWHERE: Box = (300, 300, 380, 380)
OFF: Box = (0, 0, 100, 40)
"""Overlaps OBJECT by 0.4."""
GOOD: Box = (0, 0, 100, 80)
"""Overlaps OBJECT by 0.8."""
CAT, DOG = 0, 1


def image(true: list[tuple[Box, int]], found: list[Found], *, crowd: tuple[bool, ...] | None = None) -> MatchedImage:
    boxes = np.array([box for box, _ in true], dtype=np.float32).reshape(-1, 4)
    sample = Sample(
        image_id=1,
        file_name="1.png",
        height=400,
        width=400,
        boxes_xyxy_px=boxes,
        labels=np.array([label for _, label in true], dtype=np.int64),
        is_crowd=np.array(crowd or [False] * len(true), dtype=np.bool_),
        areas_px2=np.ones(len(true)),
    )
    return match_image(
        sample,
        ImageDetections(
            torch.tensor([box for box, _, _ in found]).reshape(-1, 4),
            torch.tensor([score for _, score, _ in found]),
            torch.tensor([label for _, _, label in found], dtype=torch.int64),
        ),
    )


def errors(*images: MatchedImage, num_classes: int = 2) -> dict[str, Errors]:
    return {each.kind: each for each in kinds_of_error(images, num_classes)[1]}


def kinds(of: MatchedImage) -> list[str | None]:
    return [KINDS[code] if code >= 0 else None for code in judge(of).kinds]


class TestKindsOfError:
    @pytest.mark.parametrize(
        ("found", "kind"),
        [
            ((GOOD, 0.9, DOG), "classification"),
            ((OFF, 0.9, CAT), "localisation"),
            ((OFF, 0.9, DOG), "both"),
            ((ELSEWHERE, 0.9, CAT), "background"),
        ],
    )
    def test_a_single_wrong_detection_has_the_kind_of_tide(self, found: Found, kind: str) -> None:
        assert kinds(image([(OBJECT, CAT)], [found])) == [kind]

    def test_a_second_detection_of_an_object_is_a_duplicate_also_if_its_box_is_better(self) -> None:
        assert kinds(image([(OBJECT, CAT)], [(OBJECT, 0.6, CAT), (GOOD, 0.9, CAT)])) == [None, "duplicate"]

    def test_an_object_with_a_wrong_box_or_class_near_it_is_not_missed(self) -> None:
        near = image([(OBJECT, CAT), (ELSEWHERE, CAT)], [(OFF, 0.9, CAT)])
        assert judge(near).is_missed.tolist() == [False, True]

    def test_a_detection_in_a_crowd_of_its_class_is_no_error(self) -> None:
        crowd = image([(OBJECT, CAT)], [(GOOD, 0.9, CAT), (GOOD, 0.8, DOG)], crowd=(True,))
        assert kinds(crowd) == [None, "background"]
        assert errors(crowd)["missed"].count == 0

    def test_a_corrected_class_gains_what_the_object_was_worth(self) -> None:
        # Of two cats one is found as a dog: AP50 of cats is 51 / 101 and becomes 1. There are no dogs.
        one = image([(OBJECT, CAT), (ELSEWHERE, CAT)], [(OBJECT, 0.5, DOG), (ELSEWHERE, 0.9, CAT)])
        assert errors(one)["classification"].gain == pytest.approx(1 - 51 / 101)
        assert errors(one)["background"].gain == 0

    def test_a_corrected_place_gains_only_once(self) -> None:
        twice = image([(OBJECT, CAT)], [(OFF, 0.9, CAT), (OFF, 0.8, CAT)])
        found = errors(twice)["localisation"]
        assert (found.count, found.gain) == (2, 1.0)

    def test_false_alarms_gain_when_they_are_left_out(self) -> None:
        # The false alarm comes first: precision is 1/2 at every recall.
        alarm = image([(OBJECT, CAT)], [(ELSEWHERE, 0.9, CAT), (OBJECT, 0.5, CAT)])
        assert errors(alarm)["background"].gain == pytest.approx(0.5)

    def test_a_missed_object_gains_when_it_need_not_be_found(self) -> None:
        missed = image([(OBJECT, CAT), (ELSEWHERE, CAT)], [(OBJECT, 0.9, CAT)])
        assert errors(missed)["missed"].gain == pytest.approx(1 - 51 / 101)

    def test_nothing_to_find_and_nothing_found_have_no_gain(self) -> None:
        assert {each.gain for each in errors(image([], [])).values()} == {None}
        assert {each.gain for each in errors(image([], [(OBJECT, 0.9, CAT)])).values()} == {None}


class TestConfusion:
    def test_each_pair_of_classes_is_counted(self) -> None:
        one = image(
            [(OBJECT, CAT), (ELSEWHERE, DOG)],
            [(GOOD, 0.9, DOG), ((200, 0, 250, 50), 0.8, CAT), (ELSEWHERE, 0.2, DOG)],
        )
        cells = {(each.true, each.found): each.count for each in count_confusions([one], ["cat", "dog"]).cells}
        assert cells == {("cat", "dog"): 1, (None, "cat"): 1, ("dog", None): 1}

    def test_rare_confusions_of_many_classes_are_summed_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fgd_core.evaluation.diagnosis.confusion.MAX_CELLS", 1)
        one = image([(OBJECT, CAT)], [(OBJECT, 0.9, DOG), (ELSEWHERE, 0.9, DOG), (ELSEWHERE, 0.8, DOG)])
        found = count_confusions([one], ["cat", "dog"])
        assert [(each.true, each.found, each.count) for each in found.cells] == [(None, "dog", 2)]
        assert found.num_left_out == 1


class TestCalibration:
    def test_the_error_is_the_mean_gap_between_score_and_precision(self) -> None:
        # Scores 0.92 and 0.96: half of them right; 0.25: wrong. Gaps 0.44 and 0.25.
        one = image([(OBJECT, CAT)], [(OBJECT, 0.92, CAT), (ELSEWHERE, 0.96, CAT), (OFF, 0.25, CAT), (OFF, 0.01, CAT)])
        found = measure_calibration([one])
        assert found.error == pytest.approx((2 * 0.44 + 0.25) / 3)
        assert found.brier == pytest.approx((0.08**2 + 0.96**2 + 0.25**2) / 3)
        assert [(each.low, each.count) for each in found.bins if each.count] == [(0.2, 1), (0.9, 2)]

    def test_without_detections_nothing_is_measured(self) -> None:
        assert measure_calibration([image([(OBJECT, CAT)], [])]).error is None


class TestAgainstPycocotools:
    @pytest.mark.parametrize("seed", range(4))
    def test_ap_agrees_on_random_evaluations(self, seed: int) -> None:
        dataset = DrawnDataset(seed, num_images=30)
        found = as_images(detections(dataset, seed, ties=False))
        scores = coco_scores(dataset, found)
        evaluation = match_detections(dataset, found)
        ap50, _ = kinds_of_error(match_images(dataset.samples, found), len(dataset.categories))
        assert ap50 == pytest.approx(scores.ap50, abs=1e-9)
        mean = {curve.iou: np.mean(curve.precision) for curve in precision_curves(evaluation)}
        assert mean[0.5] == pytest.approx(scores.ap50, abs=1e-4)
        assert mean[0.75] == pytest.approx(scores.ap75, abs=1e-4)
        assert mean[None] == pytest.approx(scores.ap, abs=1e-4)

    def test_the_groups_by_object_count_have_the_ap_of_their_images(self) -> None:
        dataset = DrawnDataset(3, num_images=30)
        found = as_images(detections(dataset, 3, ties=False))
        groups = by_object_count(dataset, match_detections(dataset, found))
        assert sum(group.num_images for group in groups) == 30
        assert sum(group.num_boxes for group in groups) == dataset.checked.num_boxes
        own = DrawnDataset(3, num_images=30)
        own.samples = [sample for sample in own.samples if (~sample.is_crowd).sum() in (2, 3)]
        ids = {sample.image_id for sample in own.samples}
        alone = coco_scores(own, {key: value for key, value in found.items() if key in ids})
        (group,) = (each for each in groups if each.fewest == 2)
        assert group.ap == pytest.approx(alone.ap, abs=1e-9)

    def test_a_split_without_objects_has_a_diagnosis(self) -> None:
        dataset = DrawnDataset(0, num_images=2)
        dataset.samples = [
            Sample(**{**vars(each), **dict.fromkeys(("labels", "is_crowd", "areas_px2"), np.zeros(0, np.int64))}
                   | {"boxes_xyxy_px": np.zeros((0, 4), np.float32), "is_crowd": np.zeros(0, np.bool_)})
            for each in dataset.samples
        ]  # fmt: skip
        nothing = ImageDetections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
        found = {sample.image_id: nothing for sample in dataset.samples}
        diagnosis = diagnose(dataset, match_images(dataset.samples, found), match_detections(dataset, found))
        assert (diagnosis.ap50, diagnosis.curves, diagnosis.in_words()) == (None, [], "none")


def test_overlaps_with_a_crowd_are_relative_to_the_detection() -> None:
    small, large = np.array([[0.0, 0, 10, 10]]), np.array([[0.0, 0, 100, 100]])
    assert overlaps(small, large)[0, 0] == pytest.approx(0.01)
    assert overlaps(small, large, with_regions=True)[0, 0] == 1
