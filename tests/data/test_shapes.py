"""The synthetic data set: reproducible, valid, and not trivial to learn."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as run_lengths

from fgd_core.data import open_dataset, outlines, painting
from fgd_core.data.shapes import SCENES, ShapesDataset
from fgd_core.spec.data import Coco, Shapes
from tests.data.shapes_as_coco import to_coco

# SHA-256 of the (3, 128, 128) pixels of the first training image, and the fingerprint of the first 20; seed 0. Recorded
# on x86-64 with numpy 2.4. If either changes, published figures on `shapes` are no longer valid.
GOLDEN_PIXELS = "fcae77f9def8941cfcfd15b8b8ca7e6c82f716233e1f8019952b9c398a1bc7f2"
GOLDEN_FINGERPRINT = "5d2a75dbc777e876f9e95f76daa1f6b5cf04302715ab9ea96e10e829ce493ba8"


SIMPLE, CROWDED = SCENES["simple"], SCENES["crowded"]


@pytest.fixture(scope="module")
def train() -> ShapesDataset:
    return ShapesDataset(Shapes(), "train")


def _pixels_hash(dataset: ShapesDataset, index: int) -> str:
    return hashlib.sha256(dataset.load_image(index).numpy().tobytes()).hexdigest()


class TestSeed:
    def test_gives_the_recorded_pixels_and_boxes(self) -> None:
        dataset = ShapesDataset(Shapes(num_train=20), "train")
        assert _pixels_hash(dataset, 0) == GOLDEN_PIXELS
        assert dataset.fingerprint == GOLDEN_FINGERPRINT

    def test_gives_images_that_do_not_depend_on_their_number(self, train: ShapesDataset) -> None:
        fewer = ShapesDataset(Shapes(num_train=3), "train")
        assert torch.equal(fewer.load_image(2), train.load_image(2))
        assert fewer.samples[2].boxes_xyxy_px.tolist() == train.samples[2].boxes_xyxy_px.tolist()

    def test_gives_both_splits_different_images(self) -> None:
        shapes = Shapes(num_train=50, num_val=50)
        splits = ShapesDataset(shapes, "train"), ShapesDataset(shapes, "val")
        hashes = [{_pixels_hash(dataset, index) for index in range(50)} for dataset in splits]
        assert len(hashes[0]) == len(hashes[1]) == 50
        assert not hashes[0] & hashes[1]

    def test_changes_the_images(self) -> None:
        first, second = (ShapesDataset(Shapes(seed=seed, num_train=1), "train") for seed in (0, 1))
        assert not torch.equal(first.load_image(0), second.load_image(0))


class TestImages:
    def test_show_all_classes_about_equally_often(self, train: ShapesDataset) -> None:
        counts = list(train.checked.boxes_per_category.values())
        assert len(counts) == 5
        assert min(counts) > 0.7 * max(counts)

    def test_have_zero_to_three_objects(self, train: ShapesDataset) -> None:
        counts = [len(sample.labels) for sample in train.samples]
        assert set(counts) == set(range(SIMPLE.max_objects + 1))
        assert 0.01 < counts.count(0) / len(counts) < 0.12

    def test_have_tight_boxes_around_the_visible_parts(self, train: ShapesDataset) -> None:
        for index in range(30):
            sample = train.samples[index]
            for found, (x1, y1, x2, y2) in zip(
                train.visible_objects(index), sample.boxes_xyxy_px.astype(int), strict=True
            ):
                inside = found.mask[y1:y2, x1:x2]
                assert inside.sum() == found.mask.sum() > 0
                assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()

    def test_show_every_object_with_enough_contrast(self, train: ShapesDataset) -> None:
        for index in range(60):
            masks = [found.mask for found in train.visible_objects(index)]
            bare = painting.paint(np.random.default_rng(index), 128, [], SIMPLE.min_contrast)
            painted = painting.paint(np.random.default_rng(index), 128, masks, SIMPLE.min_contrast)
            change = np.abs(painted.astype(int) - bare.astype(int)).max(axis=2)
            assert all(np.median(change[mask]) > SIMPLE.min_contrast / 2 for mask in masks)

    def test_have_masks_that_do_not_overlap(self, train: ShapesDataset) -> None:
        assert any(len(train.visible_objects(index)) > 1 for index in range(30))
        for index in range(30):
            owners = sum(found.mask.astype(int) for found in train.visible_objects(index))
            assert np.max(owners) <= 1

    def test_do_not_reveal_the_class_by_colour(self, train: ShapesDataset) -> None:
        colours: dict[int, list[np.ndarray]] = {}
        for index in range(120):
            pixels = train.load_image(index).numpy()
            for found in train.visible_objects(index):
                colours.setdefault(found.label, []).append(pixels[:, found.mask].mean(axis=1))
        means = np.array([np.mean(of_class, axis=0) for of_class in colours.values()])
        # About 50 objects per class with a deviation of 70 grey levels: the standard error of a mean is 10.
        assert np.abs(means - means.mean(axis=0)).max() < 4 * 10

    @pytest.mark.parametrize("image_size_px", [32, 100, 256])
    def test_have_objects_that_scale_with_the_image(self, image_size_px: int) -> None:
        dataset = ShapesDataset(Shapes(image_size_px=image_size_px, num_train=40), "train")
        assert dataset.load_image(0).shape == (3, image_size_px, image_size_px)
        boxes = np.concatenate([sample.boxes_xyxy_px for sample in dataset.samples])
        assert boxes.min() >= 0
        assert boxes.max() <= image_size_px
        assert (boxes[:, 2:] - boxes[:, :2]).max() > 0.3 * image_size_px

    def test_show_most_of_the_area_of_every_object(self, train: ShapesDataset) -> None:
        names, diameter_px = list(outlines.OUTLINES)[: SIMPLE.num_classes], SIMPLE.diameter_px[0]
        smallest_full_px2 = min(outlines.draw(name, diameter_px, 0, 0, 0).sum() for name in names)
        areas = np.concatenate([sample.areas_px2 for sample in train.samples])
        assert areas.min() >= SIMPLE.min_visible * smallest_full_px2


class TestCrowded:
    @pytest.fixture(scope="class")
    @classmethod
    def crowded(cls) -> ShapesDataset:
        return ShapesDataset(Shapes(num_train=300, scene="crowded"), "train")

    def test_has_more_classes_and_objects(self, crowded: ShapesDataset) -> None:
        counts = list(crowded.checked.boxes_per_category.values())
        assert len(counts) == CROWDED.num_classes
        assert min(counts) > 0.6 * max(counts)
        assert {len(sample.labels) for sample in crowded.samples} == set(range(CROWDED.max_objects + 1))

    def test_has_smaller_objects_that_hide_more_of_each_other(
        self, crowded: ShapesDataset, train: ShapesDataset
    ) -> None:
        def sides_px(dataset: ShapesDataset) -> np.ndarray:
            boxes = np.concatenate([sample.boxes_xyxy_px for sample in dataset.samples])
            return (boxes[:, 2:] - boxes[:, :2]).max(axis=1)

        assert np.median(sides_px(crowded)) < 0.75 * np.median(sides_px(train))
        assert sides_px(crowded).min() >= 4

    def test_paints_what_it_lists(self, crowded: ShapesDataset) -> None:
        objects = crowded.visible_objects(0)
        assert [found.label for found in objects] == crowded.samples[0].labels.tolist()
        assert crowded.load_image(0).shape == (3, 128, 128)

    def test_has_depth_maps_in_which_nearer_objects_are_brighter(self, crowded: ShapesDataset) -> None:
        index = max(range(50), key=lambda each: len(crowded.samples[each].labels))
        masks = [found.mask for found in crowded.visible_objects(index)]
        greys = [int(painting.depth_map(128, masks)[mask][0, 0]) for mask in masks]
        assert greys == sorted(set(greys))


class TestOutlines:
    @pytest.mark.parametrize("name", outlines.OUTLINES)
    def test_touch_the_circle_around_them(self, name: str) -> None:
        """The farthest pixels are on the circle, and none is outside."""
        mask = outlines.draw(name, 200, 0, 0, 0)
        rows, columns = np.nonzero(mask)
        centre = mask.shape[0] / 2
        distances = np.hypot(rows + 0.5 - centre, columns + 0.5 - centre)
        assert 97 < distances.max() <= 100

    @pytest.mark.parametrize(
        ("name", "of_circle"),
        [
            ("circle", 1.0),
            ("square", 2 / np.pi),
            ("triangle", 3 * np.sqrt(3) / 4 / np.pi),
            ("star", 5 * 2 * np.sin(np.pi / 5) * 0.4375 / 2 / np.pi * 1.0),
        ],
    )
    def test_have_the_area_of_their_shape(self, name: str, of_circle: float) -> None:
        assert outlines.draw(name, 400, 17, 1, 0).sum() == pytest.approx(of_circle * np.pi * 200**2, rel=0.01)

    def test_rotate(self) -> None:
        upright, turned = (outlines.draw("triangle", 100, angle, 0, 0) for angle in (0, 180))
        assert np.array_equal(upright[:, ::-1][::-1], turned)
        assert not np.array_equal(upright, turned)


def test_to_coco_writes_an_equal_coco_data_set(tmp_path: Path) -> None:
    shapes = Shapes(num_train=12, num_val=12, seed=3)
    coco = Coco(train=to_coco(shapes, "train", tmp_path), val=to_coco(shapes, "val", tmp_path))
    for split in ("train", "val"):
        drawn, read = open_dataset(shapes, split), open_dataset(coco, split)
        assert read.checked == drawn.checked
        assert read.fingerprint == drawn.fingerprint
        assert all(torch.equal(read.load_image(index), drawn.load_image(index)) for index in range(12))
    document = json.loads(Path(coco.train.annotations).read_text())
    for annotation in document["annotations"]:
        assert run_lengths.area(annotation["segmentation"]) == annotation["area"]
        assert run_lengths.toBbox(annotation["segmentation"]).tolist() == annotation["bbox"]
