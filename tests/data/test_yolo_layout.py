"""The meaning of the numbers in YOLO labels is inferred from the whole data set, or the labels are refused."""

from pathlib import Path

import numpy as np
import pytest
from coco_folder import finding
from yolo_folder import BOX, YoloFolder

from fgd_core.data.yolo_layout import infer_layout
from fgd_core.data.yolo_rows import read_row
from fgd_core.errors import DataError

CAT_PX = [4, 5, 14, 13]
"""`BOX` in pixels."""


@pytest.fixture
def folder(tmp_path: Path) -> YoloFolder:
    """Creates a data set with a validation image that shows a cat; the tests add training images."""
    folder = YoloFolder(tmp_path / "set")
    folder.add("9.png", at="images/val")
    return folder


def boxes_px(folder: YoloFolder) -> list[list[float]]:
    return [box for sample in folder.open().samples for box in np.round(sample.boxes_xyxy_px, 3).tolist()]


class TestPredictions:
    @pytest.mark.parametrize(
        "label",
        [
            f"{BOX} 0.93",
            f"{BOX} 17",
            f"{BOX} -0.7853",
            f"{BOX} 0.93 1",
            "1 0.1 0.2 0.5 0.2 0.5 0.8 0.97",
        ],
        ids=["confidence", "track id", "angle", "confidence and track id", "polygon and confidence"],
    )
    def test_are_refused_and_never_read_as_polygons(self, folder: YoloFolder, label: str) -> None:
        folder.add("1.png", label)
        folder.add("2.png", label.replace("0.2", "0.21"))
        with pytest.raises(DataError, match=r"label_with_extra_number: 2 .*a confidence, a track id, or an angle"):
            folder.open()

    def test_do_not_affect_other_labels_if_dropped(self, folder: YoloFolder) -> None:
        folder.add("1.png", f"{BOX}\n1 0.5 0.5 0.2 0.2 0.93")
        dataset = folder.open(on_bad="drop")
        assert finding(dataset, "label_with_extra_number").examples == ["1.txt, line 2: 1 0.5 0.5 0.2 0.2 0.93"]
        assert dataset.samples[0].boxes_xyxy_px.tolist() == [CAT_PX]


class TestKeypointsWithoutKptShape:
    def test_are_left_out_with_a_finding_if_certain(self, folder: YoloFolder) -> None:
        folder.add("1.png", f"{BOX} 0.2 0.25 2 0.3 0.35 1 0 0 0")
        folder.add("2.png", f"{BOX} 0.15 0.25 2 0.3 0.31 2 0.2 0.2 2")
        assert boxes_px(folder) == [CAT_PX, CAT_PX]
        found = finding(folder.open(), "keypoints_left_out")
        assert (found.action, found.count) == ("kept", 2)

    def test_of_two_numbers_are_recognised_by_lying_in_their_boxes(self, folder: YoloFolder) -> None:
        folder.add("1.png", f"{BOX} 0.15 0.25 0.3 0.25 0.25 0.3 0.15 0.35 0.3 0.35 0.2 0.31")
        folder.add("2.png", "1 0.7 0.7 0.2 0.3 0.65 0.65 0.75 0.65 0.7 0.7 0.65 0.75 0.75 0.75 0.7 0.8")
        assert len(boxes_px(folder)) == 2
        assert finding(folder.open(), "keypoints_left_out").count == 2

    @pytest.mark.parametrize(
        "labels",
        [
            "0 0.5 0.5 0.2 0.2 0.9 0.9 0.95 0.95\n1 0.3 0.3 0.2 0.2 0.1 0.1 0.9 0.05",
            "0 0.5 0.5 0.5 0.6 0.4 0.3 0.6 0.3",
            "0 0.4 0.4 0.6 0.4 0.5 0.6",
        ],
    )
    def test_that_may_be_polygons_are_refused_with_the_cure(self, folder: YoloFolder, labels: str) -> None:
        folder.add("1.png", labels)
        folder.add("9.png", labels, at="images/val")
        with pytest.raises(DataError, match=r"keypoints_or_polygon.*task: segment.*kpt_shape"):
            folder.open()

    def test_are_polygons_if_data_yaml_says_so(self, folder: YoloFolder) -> None:
        folder.add("1.png", "0 0.4 0.4 0.6 0.4 0.5 0.6")
        folder.document["task"] = "segment"
        assert boxes_px(folder) == [[16, 12, 24, 18]]

    def test_are_keypoints_if_data_yaml_says_so(self, folder: YoloFolder) -> None:
        folder.add("1.png", f"{BOX} 0.9 0.9 0.95 0.95")
        folder.document["kpt_shape"] = [2, 2]
        assert boxes_px(folder) == [CAT_PX]


def test_a_number_of_keypoints_that_differs_from_kpt_shape_is_refused(folder: YoloFolder) -> None:
    folder.document["kpt_shape"] = [2, 3]
    folder.add("1.png", f"{BOX} 0.2 0.25 2 0.3 0.35 2 0.3 0.35 2")
    with pytest.raises(DataError, match="other_num_keypoints"):
        folder.open()


def test_an_invalid_kpt_shape_is_refused(folder: YoloFolder) -> None:
    folder.document["kpt_shape"] = 17
    with pytest.raises(DataError, match=r"kpt_shape: \[17, 3\]"):
        folder.open()


class TestPolygons:
    def test_may_be_mixed_with_boxes(self, folder: YoloFolder) -> None:
        folder.add("1.png", f"{BOX}\n1 0.4 0.4 0.6 0.4 0.5 0.6")
        folder.add("9.png", at="images/val")
        assert boxes_px(folder) == [CAT_PX, [16, 12, 24, 18]]

    def test_of_four_corners_may_be_rotated_boxes(self, folder: YoloFolder) -> None:
        folder.add("1.png", "0 0.5 0.4 0.6 0.5 0.5 0.6 0.4 0.5")
        assert boxes_px(folder) == [[16, 12, 24, 18]]

    def test_are_recognised_from_the_other_split(self, folder: YoloFolder) -> None:
        folder.add("1.png", "0 0.4 0.4 0.6 0.4 0.5 0.6")
        folder.add("8.png", "0 0.4 0.4 0.6 0.4 0.6 0.6 0.5 0.7 0.4 0.6", at="images/val")
        assert boxes_px(folder) == [[16, 12, 24, 18]]


def _random_poses(count: int, *, num_keypoints: int) -> list[tuple[float, ...]]:
    rng = np.random.default_rng(0)
    sides = rng.uniform(0.02, 0.5, (count, 2))
    centres = rng.uniform(sides / 2, 1 - sides / 2)
    points = centres[:, None] + rng.uniform(-0.5, 0.5, (count, num_keypoints, 2)) * sides[:, None]
    return [tuple(row) for row in np.concatenate([centres, sides, points.reshape(count, -1)], axis=1).tolist()]


def _random_outlines(count: int, *, num_corners: int) -> list[tuple[float, ...]]:
    rng = np.random.default_rng(0)
    angles = np.sort(rng.uniform(0, 2 * np.pi, (count, num_corners)), axis=1)
    radii = rng.uniform(0.02, 0.3, (count, 1, 1)) * rng.uniform(0.6, 1, (count, num_corners, 1))
    centres = rng.uniform(0.3, 0.7, (count, 1, 2))
    points = centres + radii * np.stack([np.cos(angles), np.sin(angles)], axis=2)
    return [tuple(row) for row in points.reshape(count, -1).tolist()]


class TestManyRows:
    @pytest.mark.parametrize(
        ("num_keypoints", "long_rows"),
        [(1, "keypoints"), (2, "unclear"), (3, "keypoints"), (5, "keypoints"), (17, "keypoints")],
    )
    def test_of_keypoints_are_never_read_as_polygons(self, num_keypoints: int, long_rows: str) -> None:
        assert infer_layout(_random_poses(200, num_keypoints=num_keypoints)).long_rows == long_rows

    @pytest.mark.parametrize("num_corners", [3, 4, 5, 8, 40])
    def test_of_polygons_with_equal_lengths_are_never_read_as_keypoints(self, num_corners: int) -> None:
        assert infer_layout(_random_outlines(200, num_corners=num_corners)).long_rows == "polygon"

    @pytest.mark.timeout(60)
    def test_of_any_length_are_read_in_time(self) -> None:
        infer_layout(_random_outlines(3, num_corners=20_000))
        read_row("bird" + " 0.5" * 100_000, {"cat": 0})
        read_row("bird " + "1" * 100_000 + "x", {"cat": 0})
        read_row("bird " + ",." * 100_000, {"cat": 0})

    def test_of_keypoints_are_still_recognised_with_one_incomplete_row(self) -> None:
        rows = _random_poses(100, num_keypoints=4)
        layout = infer_layout([*rows, rows[0][:8]])
        assert layout.shape_of(rows[1]) == "box with keypoints"
        assert layout.shape_of(rows[0][:8]) == "other_num_keypoints"


class TestNumbers:
    @pytest.mark.parametrize(
        "label",
        [
            BOX.replace(".", ","),
            BOX.replace(" ", ","),
            BOX.replace(" ", ", "),
            BOX.replace(" ", ";"),
            BOX.replace(".", ",").replace(" ", ";"),
        ],
        ids=["decimal", "between numbers", "and spaces", "semicolons", "semicolons and decimal"],
    )
    def test_with_commas_are_read_and_reported(self, folder: YoloFolder, label: str) -> None:
        folder.add("1.png", label)
        assert boxes_px(folder) == [CAT_PX]
        assert finding(folder.open(), "comma_in_label").action == "repaired"

    def test_with_ambiguous_commas_are_malformed(self, folder: YoloFolder) -> None:
        folder.add("1.png", f"{BOX}\n0,5 0,5 0,4 0,4")
        with pytest.raises(DataError, match="malformed_label"):
            folder.open()

    def test_in_percent_are_all_refused_even_small_ones(self, folder: YoloFolder) -> None:
        folder.add("1.png", "0 50 50 40 40\n0 90 90 20 20\n0 0.5 0.6 0.9 0.9")
        with pytest.raises(DataError, match=r"not_normalised: 3 .*percent by 100"):
            folder.open()

    def test_are_all_pixels_if_half_of_them_are(self, folder: YoloFolder) -> None:
        folder.add("1.png", "0 32 24 20 15\n0 1 1 1 1")
        with pytest.raises(DataError, match=r"not_normalised: 2 "):
            folder.open()


class TestCorners:
    LABELS = "0 0.1 0.1 0.3 0.4\n1 0.6 0.5 0.9 0.8\n1 0.4 0.4 0.6 0.6"

    def test_are_refused_even_if_bad_labels_are_dropped(self, folder: YoloFolder) -> None:
        folder.add("1.png", self.LABELS)
        with pytest.raises(DataError, match=r"labels_as_corners: 3 .*x_centre"):
            folder.open(on_bad="drop")

    @pytest.mark.parametrize("other", [BOX, "0 0.9 0.9 0.3 0.3"])
    def test_are_sizes_if_a_single_box_shows_it(self, folder: YoloFolder, other: str) -> None:
        folder.add("1.png", f"{self.LABELS}\n{other}")
        assert folder.open().checked.num_boxes == 4


class TestClass:
    @pytest.mark.parametrize("names", [["cat", "dog"], ["big cat", "dog"], ["cat 2", "dog"]])
    def test_may_be_a_name(self, folder: YoloFolder, names: list[str]) -> None:
        folder.document["names"] = names
        folder.add("1.png", BOX.replace("0", names[0], 1))
        dataset = folder.open()
        assert dataset.samples[0].labels.tolist() == [0]
        assert dataset.samples[0].boxes_xyxy_px.tolist() == [CAT_PX]
        assert finding(dataset, "class_name_in_label").action == "repaired"

    def test_counted_from_one_is_refused_even_if_bad_labels_are_dropped(self, folder: YoloFolder) -> None:
        folder.add("1.png", "1 0.5 0.5 0.4 0.4\n2 0.3 0.3 0.2 0.2")
        with pytest.raises(DataError, match=r"shifted_category_ids: 1 .*subtract 1"):
            folder.open(on_bad="drop")

    def test_after_the_last_is_unknown_if_others_count_from_zero(self, folder: YoloFolder) -> None:
        folder.add("1.png", f"{BOX}\n2 0.3 0.3 0.2 0.2")
        found = [each.problem for each in folder.open(on_bad="drop").checked.findings]
        assert found == ["unknown_category"]
