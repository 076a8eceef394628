"""Keypoints: reading and checking COCO files, drawing them with the shapes, and moving them with the image."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fgd_core.data import open_dataset, outlines
from fgd_core.data.augments import crop_randomly
from fgd_core.data.combining import Draw
from fgd_core.data.examples import Example, cropped, flipped, read_example, resized
from fgd_core.data.keypoints import mirrored_order, names_of_keypoints
from fgd_core.data.loading import TrainLoader, evaluation_batches
from fgd_core.data.pictures import picture_folder
from fgd_core.data.samples import has_keypoints
from fgd_core.data.shapes import ShapesDataset
from fgd_core.data.transforms import crop_keypoints, flip_keypoints_horizontally, move_keypoints
from fgd_core.errors import DataError
from fgd_core.spec.augments import RandomCrop
from fgd_core.spec.data import DEPTH, Coco, InputSpec, Shapes
from tests.data.coco_folder import CocoFolder, finding
from tests.data.shapes_as_coco import to_coco

NAMES = ["nose", "left_eye", "right_eye"]
POINTS = [9, 9, 2, 6, 7, 1, 0, 0, 0]
"""A visible nose, a hidden left eye, and a right eye that is not labelled."""


@pytest.fixture
def folder(tmp_path: Path) -> CocoFolder:
    """Returns a data set of one image (40 x 30 px) with one cat, which has keypoints; dogs have none."""
    folder = CocoFolder(tmp_path)
    folder.categories[0] |= {"keypoints": NAMES, "skeleton": [[1, 2], [1, 3]]}
    folder.add_image()
    folder.add_box(keypoints=POINTS, num_keypoints=2)
    return folder


def problems(folder: CocoFolder) -> dict[str, str]:
    """Return the problems of the data set with keypoints, and what is done about each."""
    return {each.problem: each.action for each in folder.open("drop", with_keypoints=True).checked.findings}


def keypoints_of(folder: CocoFolder) -> list[list[list[float]]]:
    (sample,) = folder.open("drop", with_keypoints=True).samples
    assert sample.keypoints is not None
    listed: list[list[list[float]]] = sample.keypoints.tolist()
    return listed


class TestCocoFile:
    def test_gives_names_and_points(self, folder: CocoFolder) -> None:
        folder.add_box(category_id=2)
        dataset = folder.open(with_keypoints=True)
        assert [category.keypoints for category in dataset.categories] == [tuple(NAMES), ()]
        assert keypoints_of(folder) == [[[9, 9, 2], [6, 7, 1], [0, 0, 0]], [[0, 0, 0]] * 3]
        assert has_keypoints(dataset.samples)
        assert dataset.checked.findings == []

    def test_is_read_without_keypoints_unless_asked(self, folder: CocoFolder) -> None:
        folder.annotations[0]["keypoints"] = "nonsense"
        folder.categories[0]["keypoints"] = 3
        dataset = folder.open()
        assert [category.keypoints for category in dataset.categories] == [(), ()]
        assert dataset.samples[0].keypoints is None
        assert dataset.checked.findings == []
        assert dataset.checked.keypoints_fingerprint is None

    def test_without_keypoints_gives_samples_without(self, folder: CocoFolder) -> None:
        del folder.categories[0]["keypoints"], folder.annotations[0]["keypoints"]
        dataset = folder.open(with_keypoints=True)
        assert dataset.samples[0].keypoints is None
        assert not has_keypoints(dataset.samples)
        assert dataset.checked.findings == []

    def test_has_the_same_fingerprint_with_and_without_keypoints(self, folder: CocoFolder) -> None:
        with_keypoints = folder.open(with_keypoints=True)
        assert folder.open().fingerprint == with_keypoints.fingerprint
        folder.annotations[0]["keypoints"] = [8, *POINTS[1:]]
        moved = folder.open(with_keypoints=True)
        assert moved.fingerprint == with_keypoints.fingerprint
        assert moved.checked.keypoints_fingerprint != with_keypoints.checked.keypoints_fingerprint

    @pytest.mark.parametrize(
        "points",
        [
            POINTS[:-1],
            [*POINTS, 0, 0, 0],
            [9, 9, 3, *POINTS[3:]],
            [9, 9, 0.5, *POINTS[3:]],
            [9, None, 2, *POINTS[3:]],
            [float("nan"), 9, 2, *POINTS[3:]],
            "9 9 2",
            {"nose": [9, 9]},
        ],
    )
    def test_with_malformed_points_loses_the_object_or_is_refused(self, folder: CocoFolder, points: Any) -> None:
        folder.annotations[0]["keypoints"] = points
        folder.add_box(bbox=(20, 5, 10, 8), keypoints=POINTS)
        with pytest.raises(DataError, match=r"malformed_keypoints: 1 .*annotation 1 in 1\.png"):
            folder.open(with_keypoints=True)
        dataset = folder.open("drop", with_keypoints=True, with_masks=True)
        assert dataset.samples[0].boxes_xyxy_px.tolist() == [[20, 5, 30, 13]]
        assert len(keypoints_of(folder)) == 1
        assert folder.open().checked.num_boxes == 2

    def test_loses_the_masks_of_objects_with_malformed_points(self, folder: CocoFolder) -> None:
        folder.annotations[0] |= {"keypoints": [1], "segmentation": [[4, 5, 14, 5, 14, 13, 4, 13]]}
        folder.add_box(bbox=(20, 5, 10, 8), keypoints=POINTS, segmentation=[[20, 5, 30, 5, 30, 13, 20, 13]])
        (sample,) = folder.open("drop", with_keypoints=True, with_masks=True).samples
        assert sample.masks is not None
        (mask,) = sample.masks.decode()
        assert mask[5:13, 20:30].all() and mask.sum() == 80

    @pytest.mark.parametrize("point", [(-1, 9), (41, 9), (9, -0.5), (9, 31)])
    def test_loses_points_outside_of_the_image(self, folder: CocoFolder, point: tuple[float, float]) -> None:
        folder.annotations[0]["keypoints"] = [*point, 2, *POINTS[3:]]
        assert keypoints_of(folder) == [[[0, 0, 0], [6, 7, 1], [0, 0, 0]]]
        assert problems(folder) == {"keypoint_outside_image": "dropped"}

    def test_keeps_points_on_the_border(self, folder: CocoFolder) -> None:
        folder.annotations[0]["keypoints"] = [40, 30, 2, *POINTS[3:]]
        assert keypoints_of(folder)[0][0] == [40, 30, 2]
        assert problems(folder) == {}

    def test_gives_zeros_for_points_that_are_not_labelled(self, folder: CocoFolder) -> None:
        folder.annotations[0]["keypoints"] = [*POINTS[:6], 500, -3, 0]
        assert keypoints_of(folder)[0][2] == [0, 0, 0]
        assert problems(folder) == {}

    def test_may_count_its_points_wrongly(self, folder: CocoFolder) -> None:
        folder.annotations[0]["num_keypoints"] = 3
        assert problems(folder) == {"other_num_labelled_keypoints": "repaired"}

    @pytest.mark.parametrize("points", [None, []])
    def test_may_lack_the_points_of_an_object(self, folder: CocoFolder, points: Any) -> None:
        folder.add_box(keypoints=points)
        folder.add_box(iscrowd=1)
        found = finding(folder.open(with_keypoints=True), "annotation_without_keypoints")
        assert (found.count, found.action, found.examples) == (1, "kept", ["annotation 2 in 1.png"])

    def test_may_have_points_without_names(self, folder: CocoFolder) -> None:
        del folder.categories[0]["keypoints"]
        assert problems(folder) == {"keypoints_without_names": "kept"}
        assert folder.reopen(with_keypoints=True).samples[0].keypoints is None

    @pytest.mark.parametrize("names", ["nose", [1, 2], ["nose", "nose", "eye"], ["nose", ""]])
    def test_with_malformed_names_is_refused(self, folder: CocoFolder, names: Any) -> None:
        folder.categories[0]["keypoints"] = names
        with pytest.raises(DataError, match=r"malformed_keypoint_names: 1 .*id 1"):
            folder.open("drop", with_keypoints=True)

    @pytest.mark.parametrize("names", [NAMES[:2], [*NAMES[1:], NAMES[0]]])
    def test_whose_categories_disagree_is_refused_by_name(self, folder: CocoFolder, names: Sequence[str]) -> None:
        folder.categories[1]["keypoints"] = names
        folder.add_box(category_id=2, keypoints=[1, 1, 1] * len(names))
        with pytest.raises(DataError, match=r"differing_keypoint_names: 1 .*dog and cat") as error:
            folder.open("drop", with_keypoints=True)
        assert "malformed_keypoints" not in str(error.value)

    @pytest.mark.parametrize("skeleton", [[[0, 1]], [[1, 4]], [[1, 2, 3]], "1-2", [1, 2]])
    def test_may_have_a_malformed_skeleton(self, folder: CocoFolder, skeleton: Any) -> None:
        folder.categories[0]["skeleton"] = skeleton
        assert problems(folder) == {"malformed_skeleton": "kept"}


class TestMirroredOrder:
    def test_pairs_the_sides_by_name(self) -> None:
        assert mirrored_order(NAMES) == [0, 2, 1]
        assert mirrored_order(["left", "tail left", "tail right", "right"]) == [3, 2, 1, 0]

    def test_keeps_keypoints_that_have_no_partner(self) -> None:
        assert mirrored_order(["left_ear", "cleft", "bright", "right_paw"]) == [0, 1, 2, 3]

    def test_undoes_itself_for_the_keypoints_of_coco(self) -> None:
        parts = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
        order = mirrored_order(["nose", *(f"{side}_{part}" for part in parts for side in ("left", "right"))])
        assert order == [0, *(index for first in range(1, 17, 2) for index in (first + 1, first))]


class TestMoving:
    KEYPOINTS = torch.tensor([[[9.0, 9, 2], [6, 7, 1], [0, 0, 0]]])

    def test_scales_and_shifts_only_labelled_points(self) -> None:
        moved = move_keypoints(self.KEYPOINTS, (2, 3), (5, -7))
        assert moved.tolist() == [[[23, 20, 2], [17, 14, 1], [0, 0, 0]]]

    def test_by_a_flip_exchanges_left_and_right(self) -> None:
        moved = flip_keypoints_horizontally(self.KEYPOINTS, 40, mirrored_order(NAMES))
        assert moved.tolist() == [[[31, 9, 2], [0, 0, 0], [34, 7, 1]]]

    def test_into_a_crop_drops_points_outside_of_it(self) -> None:
        moved = crop_keypoints(self.KEYPOINTS, (5, 7), (10, 10))
        assert moved.tolist() == [[[2, 4, 2], [0, 0, 0], [0, 0, 0]]]


def drawn(**fields: Any) -> ShapesDataset:
    return ShapesDataset(Shapes(num_train=60, **fields), "train", with_keypoints=True)


class TestDrawnKeypoints:
    @pytest.mark.parametrize("name", outlines.OUTLINES)
    @pytest.mark.parametrize("angle_deg", [-20, 0, 13])
    def test_are_the_centre_and_points_of_the_outline(self, name: str, angle_deg: int) -> None:
        mask = outlines.draw(name, 200, angle_deg, 0, 0)
        middle = len(mask) / 2
        y, x = np.mgrid[: len(mask), : len(mask)] + 0.5 - middle
        for number, (u, v) in enumerate(outlines.keypoints(name, angle_deg)):
            near = np.hypot(x - 100 * u, y - 100 * v) < 4
            assert mask[near].any()
            assert mask[near].all() == (number == 0)

    def test_are_named_by_their_direction(self) -> None:
        for name in outlines.OUTLINES:
            for angle_deg in (-20, 0, 20):
                points = dict(zip(outlines.KEYPOINTS, outlines.keypoints(name, angle_deg), strict=True))
                assert points["left"][0] < points["centre"][0] < points["right"][0]
                assert points["top"][1] < points["centre"][1] < points["bottom"][1]

    def test_lie_on_their_own_visible_object(self) -> None:
        dataset = drawn()
        counts = np.zeros(3, dtype=int)
        for index, sample in enumerate(dataset.samples):
            assert sample.keypoints is not None
            objects = dataset.visible_objects(index)
            assert sample.keypoints.shape == (len(objects), 5, 3)
            for found, keypoints in zip(objects, sample.keypoints, strict=True):
                rows, columns = np.nonzero(found.mask)
                for x, y, visibility in keypoints:
                    distance = np.hypot(columns + 0.5 - x, rows + 0.5 - y).min()
                    assert (visibility == 0 and x == y == 0) or (distance < 2) == (visibility == 2) or distance < 4
                    counts[int(visibility)] += 1
        assert counts[2] > 10 * counts[1] > 0 and counts[0] > 0

    def test_do_not_change_the_data_set(self) -> None:
        plain, keyed = ShapesDataset(Shapes(num_train=60), "train"), drawn()
        assert keyed.fingerprint == plain.fingerprint
        assert plain.samples[0].keypoints is None and names_of_keypoints(plain.categories) == ()
        assert names_of_keypoints(keyed.categories) == outlines.KEYPOINTS
        assert torch.equal(keyed.load_image(1), plain.load_image(1))

    def test_are_the_same_when_written_to_disk(self, tmp_path: Path) -> None:
        shapes = Shapes(num_train=12, num_val=2)
        part = to_coco(shapes, "train", tmp_path)
        read = open_dataset(Coco(train=part, val=part), "train", with_keypoints=True)
        again = open_dataset(shapes, "train", with_keypoints=True)
        assert read.checked == again.checked
        assert read.checked.keypoints_fingerprint is not None
        assert read.categories == again.categories


class TestDepthMaps:
    def test_show_the_objects_without_texture(self) -> None:
        shapes = Shapes(num_train=20, depth=True)
        depth, dataset = picture_folder(shapes, DEPTH, "train", []), ShapesDataset(shapes, "train")
        for index in range(20):
            picture = depth.load(index)
            assert torch.equal(picture[0], picture[1]) and torch.equal(picture[0], picture[2])
            levels = [picture[0][torch.from_numpy(found.mask)].unique() for found in dataset.visible_objects(index)]
            assert all(len(level) == 1 for level in levels)
            greys = [int(level) for level in levels]
            assert greys == sorted(set(greys))
            behind = picture[0][torch.from_numpy(~sum_of_masks(dataset, index))]
            assert int(behind.max()) < min(greys, default=256)

    def test_are_what_images_show_that_show_depth(self) -> None:
        shapes = Shapes(num_train=3, depth=True)
        shown = ShapesDataset(shapes.model_copy(update={"shows": "depth"}), "train")
        depth = picture_folder(shapes, DEPTH, "train", [])
        assert all(torch.equal(shown.load_image(index), depth.load(index)) for index in range(3))
        assert shown.fingerprint == ShapesDataset(shapes, "train").fingerprint

    def test_are_read_in_every_epoch(self) -> None:
        depth = picture_folder(Shapes(num_train=1, depth=True), DEPTH, "train", [])
        assert depth.is_read_in(0) and depth.is_read_in(99)


def sum_of_masks(dataset: ShapesDataset, index: int) -> np.ndarray:
    """Return (S, S), True where an object is."""
    masks = [found.mask for found in dataset.visible_objects(index)]
    size_px = dataset.samples[index].height
    return np.any([np.zeros((size_px, size_px), bool), *masks], axis=0)


def marked(keypoints: Tensor, size_px: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the pixels (row, column) of labelled keypoints (n, K, 3) in an image of (height, width) pixels."""
    x, y, visibility = keypoints.reshape(-1, 3).unbind(-1)
    rows, columns = y[visibility > 0].long(), x[visibility > 0].long()
    return [*zip(rows.clamp(max=size_px[0] - 1).tolist(), columns.clamp(max=size_px[1] - 1).tolist(), strict=True)]


class TestSameGeometry:
    """The depth map shows the objects, so a visible keypoint stays near a pixel of its object through every change."""

    def example(self, index: int) -> Any:
        dataset = ShapesDataset(Shapes(num_train=20, depth=True), "train", with_keypoints=True)
        depth = picture_folder(Shapes(num_train=20, depth=True), DEPTH, "train", dataset.samples)
        return read_example(dataset, index, {DEPTH: depth}, with_masks=False)

    def assert_on_objects(self, example: Any) -> None:
        depth = example.pictures[DEPTH][0]
        assert example.keypoints is not None and depth.shape == example.size_px
        for row, column in marked(example.keypoints, example.size_px):
            assert depth[max(row - 3, 0) : row + 4, max(column - 3, 0) : column + 4].max() >= 100

    @pytest.mark.parametrize("index", range(5))
    def test_holds_after_resizing_flipping_and_cropping(self, index: int) -> None:
        example = self.example(index)
        order = mirrored_order(outlines.KEYPOINTS)
        larger = resized(example, InputSpec(shorter_px=160, longer_px=160))
        for changed in (example, larger, flipped(larger, order), cropped(flipped(larger, order), (20, 30), (90, 70))):
            self.assert_on_objects(changed)

    def test_of_a_flip_exchanges_left_and_right(self) -> None:
        example = self.example(1)
        mirrored = flipped(example, mirrored_order(outlines.KEYPOINTS))
        assert mirrored.keypoints is not None and len(mirrored.keypoints)
        for centre, right, _, left, _ in mirrored.keypoints.tolist():
            if left[2] and right[2]:
                assert left[0] < centre[0] < right[0]
        twice = flipped(mirrored, mirrored_order(outlines.KEYPOINTS))
        assert torch.equal(twice.keypoints, example.keypoints)

    def test_is_that_of_batches(self) -> None:
        shapes = Shapes(num_train=12, depth=True)
        dataset = ShapesDataset(shapes, "train", with_keypoints=True)
        depth = picture_folder(shapes, DEPTH, "train", dataset.samples)
        spec = InputSpec(shorter_px=96, longer_px=96, flip_probability=0.5, train_shorter_px=(80, 96, 128))
        num_labelled = 0
        for batch in TrainLoader(dataset, spec, batch_size=3, seed=0, workers=0, pictures=[depth]).epoch(0):
            assert batch.keypoints is not None and batch.targets.keypoints is batch.keypoints
            grey = batch.pictures[DEPTH]
            for number, (keypoints, size, boxes) in enumerate(
                zip(batch.keypoints, batch.image_sizes, batch.boxes, strict=True)
            ):
                assert keypoints.shape == (len(boxes), 5, 3)
                background = grey[number, 0, : size[0], : size[1]].min()
                for row, column in marked(keypoints, size):
                    near = grey[number, 0, max(row - 3, 0) : row + 4, max(column - 3, 0) : column + 4]
                    assert near.max() > background + 1
                    num_labelled += 1
        assert num_labelled > 50


class TestBatch:
    SPEC = InputSpec(shorter_px=60, longer_px=80, flip_probability=1)

    def test_has_resized_and_flipped_keypoints(self, folder: CocoFolder) -> None:
        loader = TrainLoader(folder.open(with_keypoints=True), self.SPEC, batch_size=1, seed=0, workers=0)
        (batch,) = loader.epoch(0)
        assert batch.keypoints is not None
        assert batch.keypoints[0].tolist() == [[[62, 18, 2], [0, 0, 0], [68, 14, 1]]]
        assert batch.to("meta").keypoints[0].device.type == "meta"  # type: ignore[index]

    def test_has_no_keypoints_of_crowds(self, folder: CocoFolder) -> None:
        folder.add_box(iscrowd=1, keypoints=POINTS)
        loader = TrainLoader(folder.open(with_keypoints=True), self.SPEC, batch_size=1, seed=0, workers=0)
        (batch,) = loader.epoch(0)
        assert batch.keypoints is not None
        assert [len(each) for each in batch.keypoints] == [1]

    def test_has_none_without_reading_them(self, folder: CocoFolder) -> None:
        (batch,) = TrainLoader(folder.open(), self.SPEC, batch_size=1, seed=0, workers=0).epoch(0)
        assert batch.keypoints is None
        with pytest.raises(DataError, match="the detector trains keypoints, but the data has none"):
            batch.targets.keypoints_to_learn()

    def test_of_an_evaluation_has_them_too(self, folder: CocoFolder) -> None:
        (batch,) = evaluation_batches(folder.open(with_keypoints=True), self.SPEC, batch_size=1)
        assert batch.keypoints is not None
        assert batch.keypoints[0].tolist() == [[[18, 18, 2], [12, 14, 1], [0, 0, 0]]]


def no_other(_: np.random.Generator) -> Example:
    raise AssertionError("a crop needs no other image")


def test_a_random_crop_moves_keypoints_with_its_image() -> None:
    dataset = ShapesDataset(Shapes(num_train=8), "train", with_keypoints=True)
    spec, num_moved = RandomCrop(images="all"), 0
    for index in range(8):
        example = read_example(dataset, index, {}, with_masks=False)
        assert example.keypoints is not None
        for pixel in marked(example.keypoints, example.size_px):
            example.image[:, pixel[0], pixel[1]] = torch.tensor([255, 0, 255], dtype=torch.uint8)
        part = crop_randomly(spec, example, Draw(np.random.default_rng(index), InputSpec(), no_other))
        assert part.keypoints is not None and len(part.keypoints) == len(part.boxes)
        for row, column in marked(part.keypoints, part.size_px):
            if part.keypoints[..., 0].max() < part.size_px[1] and part.keypoints[..., 1].max() < part.size_px[0]:
                assert part.image[:, row, column].tolist() == [255, 0, 255]
                num_moved += part.size_px != example.size_px
    assert num_moved > 10
