"""Masks: three forms in files, run lengths in memory, pixels in a batch."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from coco_folder import CocoFolder, finding
from PIL import Image
from pycocotools import mask as run_lengths
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from fgd_core.data import open_dataset
from fgd_core.data.loading import Batch, TrainLoader, evaluation_batches
from fgd_core.data.masks import ObjectMasks, encode
from fgd_core.data.samples import Sample, has_masks
from fgd_core.data.segmentations import read_segmentation
from fgd_core.data.shapes import ShapesDataset
from fgd_core.data.transforms import resize_masks
from fgd_core.errors import DataError
from fgd_core.spec.data import Coco, CocoSplit, InputSpec, Shapes
from tests.data.shapes_as_coco import to_coco

SIZE = (40, 30)
"""Width and height of the image in `folder`."""
SQUARE = [4, 5, 14, 5, 14, 13, 4, 13]
"""The box in `folder`, as a polygon."""


@pytest.fixture
def folder(tmp_path: Path) -> CocoFolder:
    """Creates a data set with one image and one object, which fills its box."""
    folder = CocoFolder(tmp_path / "set")
    folder.add_image()
    folder.add_box(segmentation=[SQUARE])
    return folder


def blank(width: int = 40, height: int = 30) -> npt.NDArray[np.bool_]:
    return np.zeros((height, width), dtype=np.bool_)


def square() -> npt.NDArray[np.bool_]:
    mask = blank()
    mask[5:13, 4:14] = True
    return mask


def doubled(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    return mask.repeat(2, axis=0).repeat(2, axis=1)


def compressed(mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    encoded = run_lengths.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def uncompressed(mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    flat = mask.flatten(order="F").astype(int)
    changes = np.flatnonzero(np.diff(flat, prepend=0))
    return {"size": list(mask.shape), "counts": np.diff([0, *changes, len(flat)]).tolist()}


def masks_of(sample: Sample) -> npt.NDArray[np.uint8]:
    assert sample.masks is not None
    decoded: npt.NDArray[np.uint8] = sample.masks.decode().numpy()
    return decoded


class TestForms:
    @pytest.mark.parametrize("form", [lambda mask: [SQUARE], compressed, uncompressed])
    def test_give_the_same_mask(self, folder: CocoFolder, form: Any) -> None:
        folder.annotations[0]["segmentation"] = form(square())
        (sample,) = folder.open(with_masks=True).samples
        assert masks_of(sample).dtype == np.uint8
        assert np.array_equal(masks_of(sample), square()[None])

    def test_of_several_polygons_give_one_mask(self, folder: CocoFolder) -> None:
        folder.annotations[0]["segmentation"] = [SQUARE, [20, 20, 25, 20, 25, 25, 20, 25]]
        (sample,) = folder.open(with_masks=True).samples
        expected = square()
        expected[20:25, 20:25] = True
        assert np.array_equal(masks_of(sample)[0], expected)

    @pytest.mark.parametrize("seed", range(5))
    def test_of_run_lengths_decode_to_the_original_mask(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        # From noise to large areas: short and long runs, so that numbers have one or several characters.
        mask = rng.random((211, 307)) < (0.5, 0.01, 0.999, 0.1, 0.9)[seed]
        for form in (compressed(mask), uncompressed(mask)):
            read = read_segmentation(form, (307, 211))
            assert read.counts is not None
            assert np.array_equal(ObjectMasks(211, 307, (read.counts,)).decode()[0].numpy(), mask)

    @pytest.mark.parametrize("split", ["train", "val"])
    def test_of_published_data_give_equal_masks_except_two_holes(self, shared: Path, split: Any) -> None:
        root = shared / "data" / "nuclei_small"
        if not root.is_dir():
            pytest.skip(f"no data set at {root}")
        opened = []
        for form in ("", "_poly"):
            part = CocoSplit(images=f"{root}/images", annotations=f"{root}/annotations_{split}{form}.json")
            opened.append(open_dataset(Coco(train=part, val=part), split, with_masks=True))
        assert all(dataset.checked.findings == [] for dataset in opened)
        different = 0
        for one, other in zip(opened[0].samples, opened[1].samples, strict=True):
            assert np.array_equal(one.areas_px2, masks_of(one).sum((1, 2)))
            different += int((masks_of(one) != masks_of(other)).any((1, 2)).sum())
        assert different == {"train": 2, "val": 0}[split]


class TestWithoutMasks:
    def test_segmentations_are_not_read(self, folder: CocoFolder) -> None:
        folder.annotations[0]["segmentation"] = "nonsense"
        dataset = folder.open()
        assert dataset.samples[0].masks is None
        assert not has_masks(dataset.samples)
        assert dataset.checked.findings == []
        assert dataset.checked.masks_fingerprint is None

    def test_the_fingerprint_is_the_same(self, folder: CocoFolder) -> None:
        assert folder.open().fingerprint == folder.open(with_masks=True).fingerprint

    @pytest.mark.parametrize("segmentation", [None, [], {}])
    def test_a_data_set_without_segmentations_has_no_findings(self, folder: CocoFolder, segmentation: Any) -> None:
        folder.annotations.clear()
        folder.add_box(segmentation=segmentation)
        folder.add_box()
        dataset = folder.open(with_masks=True)
        assert len(dataset.samples[0].labels) == 2
        assert not has_masks(dataset.samples)
        assert dataset.checked.findings == []


class TestMasksFingerprint:
    def test_depends_on_the_masks_but_that_of_the_boxes_does_not(self, folder: CocoFolder) -> None:
        before = folder.open(with_masks=True)
        folder.annotations[0]["segmentation"] = [[4, 5, 14, 5, 14, 13, 4, 12]]
        after = folder.open(with_masks=True)
        assert before.checked.masks_fingerprint != after.checked.masks_fingerprint
        assert before.fingerprint == after.fingerprint

    def test_does_not_depend_on_the_form(self, folder: CocoFolder) -> None:
        before = folder.open(with_masks=True)
        folder.annotations[0]["segmentation"] = uncompressed(square())
        assert before.checked.masks_fingerprint == folder.open(with_masks=True).checked.masks_fingerprint
        assert before.checked.masks_fingerprint is not None


MALFORMED: Sequence[Any] = [
    "nonsense",
    7,
    [[4, 5, 14, 5]],  # pycocotools would read it as a box
    [[4, 5, 14, 5, 14]],
    [[4, 5, 14, 5, 14, 13, 4]],
    [SQUARE, []],
    [[4, 5, 14, 5, "14", 13]],
    [[4, 5, 14, 5, None, 13]],
    [[4, 5, 14, 5, True, 13]],
    [[4, 5, 14, 5, math.nan, 13]],
    [[4, 5, 14, 5, math.inf, 13]],
    [[4, 5, 1e9, 5, 1e9, 13]],  # pycocotools would walk along the edge in steps of 1/5 px
    [[4, 5, 14, 5, 10**400, 13]],
    {"size": [30, 40]},
    {"counts": [1200]},
    {"size": 1200, "counts": [1200]},
    {"size": [30, 40], "counts": [100, 50]},
    {"size": [30, 40], "counts": [100, 50, 9999]},
    {"size": [30, 40], "counts": [100, -50, 1150]},
    {"size": [30, 40], "counts": [100, 50.5, 1049.5]},
    {"size": [30, 40], "counts": [100, "50", 1050]},
    {"size": [30, 40], "counts": []},
    {"size": [30, 40], "counts": ""},
    {"size": [30, 40], "counts": "é"},
    {"size": [30, 40], "counts": "!!"},
    {"size": [30, 40], "counts": "oooooooooooooooooooo0"},  # the first number never ends
    {"size": [30, 40], "counts": compressed(square())["counts"] + "o"},  # the last number never ends
    {"size": [30, 40], "counts": compressed(square())["counts"][:-1]},
    {"size": [30, 40], "counts": compressed(square())["counts"] + "5"},
]


class TestBadMasks:
    @pytest.mark.parametrize("segmentation", MALFORMED, ids=lambda value: str(value)[:40])
    def test_that_are_malformed_are_refused_or_dropped(self, folder: CocoFolder, segmentation: Any) -> None:
        folder.add_box(bbox=(20, 20, 5, 5), segmentation=segmentation)
        with pytest.raises(DataError, match=r"malformed_mask: 1 \(annotation 2 in 1.png") as caught:
            folder.open(with_masks=True)
        assert "on_bad" in caught.value.message
        dataset = folder.open(on_bad="drop", with_masks=True)
        found = finding(dataset, "malformed_mask")
        assert (found.action, found.count, found.examples) == ("dropped", 1, ["annotation 2 in 1.png"])
        assert dataset.samples[0].boxes_xyxy_px.tolist() == [[4, 5, 14, 13]]
        assert np.array_equal(masks_of(dataset.samples[0]), square()[None])

    @pytest.mark.parametrize("form", [compressed, uncompressed])
    def test_of_another_size_are_refused_or_dropped(self, folder: CocoFolder, form: Any) -> None:
        folder.add_box(segmentation=form(square().T))
        with pytest.raises(DataError, match=r"mask_of_other_size: 1 \(annotation 2 in 1.png"):
            folder.open(with_masks=True)
        assert folder.open(on_bad="drop", with_masks=True).checked.num_boxes == 1

    @pytest.mark.parametrize("segmentation", [None, [], {}])
    def test_that_are_missing_are_refused_or_dropped(self, folder: CocoFolder, segmentation: Any) -> None:
        folder.add_box(segmentation=segmentation)
        with pytest.raises(DataError, match=r"missing_mask: 1 \(annotation 2 in 1.png"):
            folder.open(with_masks=True)
        assert folder.open(on_bad="drop", with_masks=True).checked.num_boxes == 1

    @pytest.mark.parametrize(
        "segmentation",
        [
            [[50, 5, 60, 5, 60, 13]],
            [[-20, 5, -10, 5, -10, 13]],
            [[4, 5, 14, 5, 9, 5]],
            {"size": [30, 40], "counts": [1200]},
            compressed(blank()),
        ],
    )
    def test_that_cover_no_pixel_are_dropped(self, folder: CocoFolder, segmentation: Any) -> None:
        folder.add_box(segmentation=segmentation)
        dataset = folder.open(on_bad="refuse", with_masks=True)
        found = finding(dataset, "empty_mask")
        assert (found.action, found.count, found.examples) == ("dropped", 1, ["annotation 2 in 1.png"])
        assert dataset.checked.num_boxes == 1

    @pytest.mark.parametrize(("dx", "dy"), [(-9, 0), (0, -8), (-9, -8), (31, 0), (0, 22), (31, 22)])
    def test_past_the_border_are_clipped(self, folder: CocoFolder, dx: int, dy: int) -> None:
        polygon = np.array([4.3, 5.2, 14.6, 7.1, 12.2, 13.9, 6.0, 12.4]) + np.tile(np.array([dx, dy]), 4)
        margin = 40
        (whole,) = run_lengths.frPyObjects([(polygon + margin).tolist()], 30 + 80, 40 + 80)
        folder.annotations[0] |= {"segmentation": [polygon.tolist()], "bbox": [4 + dx, 5 + dy, 11, 9]}
        dataset = folder.open(with_masks=True)
        expected = run_lengths.decode(whole)[margin:-margin, margin:-margin]
        assert 0 < expected.sum() < run_lengths.decode(whole).sum()
        assert np.array_equal(masks_of(dataset.samples[0])[0], expected)
        found = finding(dataset, "mask_past_border")
        assert (found.action, found.examples) == ("clipped", ["annotation 1 in 1.png"])

    def test_of_dropped_boxes_are_not_reported(self, folder: CocoFolder) -> None:
        folder.add_box(bbox=(4, 5, 0, 8), segmentation="nonsense")
        dataset = folder.open(with_masks=True)
        assert [found.problem for found in dataset.checked.findings] == ["box_without_area"]

    def test_keep_their_boxes_when_others_are_dropped(self, folder: CocoFolder) -> None:
        folder.add_image()
        corner = [0, 0, 5, 0, 5, 5, 0, 5]
        folder.add_box(2, (20, 20, 5, 5), segmentation=[[20, 20, 25, 20, 25, 25, 20, 25]])
        folder.add_box(1, (0, 0, 5, 5), segmentation="nonsense")
        folder.add_box(1, (0, 0, 5, 5), segmentation=[corner])
        for sample in folder.open(on_bad="drop", with_masks=True).samples:
            assert len(sample.labels) == len(masks_of(sample)) > 0
            for mask, (x1, y1, x2, y2) in zip(masks_of(sample), sample.boxes_xyxy_px.astype(int), strict=True):
                assert mask.sum() == mask[y1:y2, x1:x2].sum() == (x2 - x1) * (y2 - y1)


class TestExifOrientation:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("form", ["polygon", "run lengths"])
    def test_masks_fit_the_upright_image(self, tmp_path: Path, orientation: int, form: str) -> None:
        folder = CocoFolder(tmp_path / "set")
        stored = Image.new("RGB", (40, 30))
        stored.paste((255, 255, 255), (2, 3, 12, 9))
        stored.getexif()[0x0112] = orientation
        upright = (30, 40) if orientation >= 5 else (40, 30)
        folder.add_image(stored, width=upright[0], height=upright[1])
        turned = _upright(stored, orientation)
        rows, columns = np.nonzero(turned)
        x1, y1, x2, y2 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        polygon = [int(value) for value in (x1, y1, x2, y1, x2, y2, x1, y2)]
        segmentation = [polygon] if form == "polygon" else compressed(turned)
        folder.add_box(bbox=tuple(int(v) for v in (x1, y1, x2 - x1, y2 - y1)), segmentation=segmentation)
        dataset = folder.open(with_masks=True)
        assert np.array_equal(masks_of(dataset.samples[0])[0], dataset.load_image(0).numpy()[0] > 127)

    def test_run_lengths_must_have_the_upright_size(self, tmp_path: Path) -> None:
        folder = CocoFolder(tmp_path / "set")
        stored = Image.new("RGB", (40, 30))
        stored.getexif()[0x0112] = 6
        folder.add_image(stored, width=30, height=40)
        folder.add_box(segmentation=compressed(square()))
        with pytest.raises(DataError, match="mask_of_other_size"):
            folder.open(with_masks=True)


def _upright(stored: Image.Image, orientation: int) -> npt.NDArray[np.bool_]:
    """Return whether each pixel of the upright image is white; an independent implementation of EXIF orientations."""
    pixels = np.asarray(stored)[:, :, 0] > 127
    flip_x, flip_y, swap = {
        1: (0, 0, 0), 2: (1, 0, 0), 3: (1, 1, 0), 4: (0, 1, 0),
        5: (0, 0, 1), 6: (1, 0, 1), 7: (1, 1, 1), 8: (0, 1, 1),
    }[orientation]  # fmt: skip
    shown = pixels.T if swap else pixels
    shown = shown[:, ::-1] if flip_x else shown
    return shown[::-1] if flip_y else shown


class TestShapesDataset:
    def test_has_masks_that_fill_their_boxes(self) -> None:
        dataset = ShapesDataset(Shapes(num_train=20), "train", with_masks=True)
        assert has_masks(dataset.samples)
        for sample in dataset.samples:
            masks = masks_of(sample)
            assert masks.shape == (len(sample.labels), 128, 128)
            assert masks.sum((1, 2)).tolist() == sample.areas_px2.tolist()
            for mask, (x1, y1, x2, y2) in zip(masks, sample.boxes_xyxy_px.astype(int), strict=True):
                inside = mask[y1:y2, x1:x2]
                assert inside.sum() == mask.sum()
                assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()

    def test_has_no_masks_by_default(self) -> None:
        assert not has_masks(ShapesDataset(Shapes(num_train=2), "train").samples)

    def test_has_the_same_masks_when_written_to_disk(self, tmp_path: Path) -> None:
        shapes = Shapes(num_train=12, num_val=2)
        part = to_coco(shapes, "train", tmp_path)
        drawn = open_dataset(shapes, "train", with_masks=True)
        read = open_dataset(Coco(train=part, val=part), "train", with_masks=True)
        assert read.checked == drawn.checked
        assert read.checked.masks_fingerprint is not None


class TestBatch:
    def test_has_masks_inside_their_boxes(self) -> None:
        dataset = _small_shapes()
        spec = InputSpec(shorter_px=192, longer_px=192, flip_probability=0.5)
        seen = 0
        for epoch in range(3):
            for batch in TrainLoader(dataset, spec, batch_size=2, seed=0, workers=0).epoch(epoch):
                assert batch.masks is not None
                for index, (masks, size) in enumerate(zip(batch.masks, batch.image_sizes, strict=True)):
                    assert masks.dtype == torch.uint8
                    assert masks.shape == (len(batch.labels[index]), *size)
                    seen += len(masks)
                    _assert_in_boxes(batch, index)
        assert seen > 20

    def test_has_flipped_masks_for_a_flipped_image(self, folder: CocoFolder) -> None:
        spec = InputSpec(shorter_px=60, longer_px=80, flip_probability=1)
        (batch,) = TrainLoader(folder.open(with_masks=True), spec, batch_size=1, seed=0, workers=0).epoch(0)
        assert batch.masks is not None
        assert np.array_equal(batch.masks[0].numpy(), doubled(square())[None, :, ::-1])
        assert batch.boxes[0].tolist() == [[52, 10, 72, 26]]
        assert batch.targets.masks is batch.masks

    def test_has_no_masks_of_crowds(self, folder: CocoFolder) -> None:
        folder.add_box(bbox=(0, 0, 40, 30), iscrowd=1, segmentation=uncompressed(~blank()))
        dataset = folder.open(with_masks=True)
        assert len(masks_of(dataset.samples[0])) == 2
        spec = InputSpec(shorter_px=60, longer_px=80, flip_probability=0)
        (batch,) = TrainLoader(dataset, spec, batch_size=1, seed=0, workers=0).epoch(0)
        assert batch.masks is not None
        assert np.array_equal(batch.masks[0].numpy(), doubled(square())[None])

    def test_has_an_empty_stack_for_an_image_without_objects(self, folder: CocoFolder) -> None:
        folder.add_image()
        spec = InputSpec(shorter_px=60, longer_px=80, flip_probability=1)
        (batch,) = TrainLoader(folder.open(with_masks=True), spec, batch_size=2, seed=0, workers=0).epoch(0)
        assert batch.masks is not None
        assert sorted(tuple(masks.shape) for masks in batch.masks) == [(0, 60, 80), (1, 60, 80)]

    def test_has_no_masks_without_reading_them_or_in_evaluation(self, folder: CocoFolder) -> None:
        spec = InputSpec(shorter_px=60, longer_px=80)
        (batch,) = TrainLoader(folder.open(), spec, batch_size=1, seed=0, workers=0).epoch(0)
        assert batch.masks is None
        (batch,) = evaluation_batches(folder.open(with_masks=True), spec, batch_size=1)
        assert batch.masks is None

    def test_has_the_same_masks_with_workers(self) -> None:
        dataset = _small_shapes()
        spec = InputSpec(shorter_px=64, longer_px=64)
        loaders = [TrainLoader(dataset, spec, batch_size=3, seed=0, workers=workers) for workers in (0, 2)]
        for own, worked in zip(*(loader.epoch(0) for loader in loaders), strict=True):
            assert own.masks is not None and worked.masks is not None
            assert all(torch.equal(a, b) for a, b in zip(own.masks, worked.masks, strict=True))

    def test_moves_its_masks_to_a_device(self) -> None:
        spec = InputSpec(shorter_px=64, longer_px=64)
        batch = next(TrainLoader(_small_shapes(), spec, batch_size=3, seed=0, workers=0).epoch(0)).to("meta")
        assert batch.masks is not None
        assert {masks.device.type for masks in batch.masks} == {"meta"}


def test_masks_are_resized_like_in_torchvision() -> None:
    rng = np.random.default_rng(0)
    masks = torch.from_numpy(rng.integers(0, 2, (3, 50, 77), dtype=np.uint8))
    for shorter in (25, 50, 64, 133):
        transform = GeneralizedRCNNTransform(shorter, 1000, [0.0], [1.0])
        target = {"boxes": torch.zeros(3, 4), "masks": masks}
        image, resized = transform.resize(torch.zeros(1, 50, 77), target)
        assert torch.equal(resize_masks(masks, tuple(image.shape[-2:])), resized["masks"])


def test_a_mask_takes_less_than_a_kilobyte_in_memory() -> None:
    y, x = np.ogrid[:480, :640]
    masks = encode([(x - 320) ** 2 + (y - 240) ** 2 < 100**2], (480, 640))
    assert len(masks.counts[0]) < 1000


def _small_shapes() -> ShapesDataset:
    return ShapesDataset(Shapes(num_train=6, image_size_px=64), "train", with_masks=True)


def _assert_in_boxes(batch: Batch, index: int) -> None:
    """Assert that each mask touches each side of its box, within a pixel."""
    assert batch.masks is not None
    for mask, box in zip(batch.masks[index], batch.boxes[index], strict=True):
        rows, columns = torch.nonzero(mask, as_tuple=True)
        found = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        assert (found - box).abs().max() <= 1
