"""Batches: their content, and that a resumed run gets the same batches."""

from collections.abc import Iterable
from pathlib import Path

import psutil
import pytest
import torch
from coco_folder import CocoFolder
from PIL import Image

from fgd_core.data.cache import ImageCache
from fgd_core.data.loading import Batch, TrainLoader, evaluation_batches
from fgd_core.data.shapes import ShapesDataset
from fgd_core.errors import DataError
from fgd_core.spec.data import InputSpec, Shapes

INPUT = InputSpec(shorter_px=64, longer_px=64)


@pytest.fixture(scope="module")
def dataset() -> ShapesDataset:
    return ShapesDataset(Shapes(num_train=22, num_val=5, image_size_px=64), "train")


def _loader(dataset: ShapesDataset, *, seed: int = 0, workers: int = 0, batch_size: int = 4) -> TrainLoader:
    return TrainLoader(dataset, INPUT, batch_size=batch_size, seed=seed, workers=workers)


def _assert_equal(left: Iterable[Batch], right: Iterable[Batch]) -> None:
    for a, b in zip(left, right, strict=True):
        assert a.image_ids == b.image_ids
        assert a.image_sizes == b.image_sizes
        assert a.original_sizes == b.original_sizes
        assert torch.equal(a.images, b.images)
        assert all(torch.equal(x, y) for x, y in zip(a.boxes, b.boxes, strict=True))
        assert all(torch.equal(x, y) for x, y in zip(a.labels, b.labels, strict=True))


class TestOrder:
    def test_contains_each_image_at_most_once(self, dataset: ShapesDataset) -> None:
        loader = _loader(dataset)
        ids = [image_id for batch in loader.epoch(0) for image_id in batch.image_ids]
        assert loader.steps_per_epoch == 5
        assert len(ids) == len(set(ids)) == 20

    def test_differs_between_epochs_and_seeds(self, dataset: ShapesDataset) -> None:
        orders = [
            [image_id for batch in _loader(dataset, seed=seed).epoch(epoch) for image_id in batch.image_ids]
            for seed, epoch in ((0, 0), (0, 1), (1, 0))
        ]
        assert orders[0] != orders[1] != orders[2] != orders[0]

    def test_does_not_depend_on_earlier_epochs(self, dataset: ShapesDataset) -> None:
        used = _loader(dataset)
        for epoch in (0, 1):
            list(used.epoch(epoch))
        _assert_equal(used.epoch(2), _loader(dataset).epoch(2))

    @pytest.mark.parametrize("workers", [0, 2])
    def test_is_the_same_when_an_epoch_resumes_in_the_middle(self, dataset: ShapesDataset, workers: int) -> None:
        whole = list(_loader(dataset).epoch(3))
        loader = _loader(dataset, workers=workers)
        _assert_equal(loader.epoch(3, start_step=2), whole[2:])
        _assert_equal(loader.epoch(3, start_step=5), [])

    def test_does_not_depend_on_the_global_torch_generator(self, dataset: ShapesDataset) -> None:
        torch.manual_seed(1)
        first = list(_loader(dataset).epoch(0))
        torch.manual_seed(2)
        _assert_equal(first, _loader(dataset).epoch(0))

    @pytest.mark.parametrize("workers", [0, 2])
    def test_is_not_changed_by_looking_ahead(self, dataset: ShapesDataset, workers: int) -> None:
        whole = list(_loader(dataset).epoch(1))
        assert [batch.number for batch in whole] == [5, 6, 7, 8, 9]
        loader = _loader(dataset, workers=workers)
        seen = []
        for batch in loader.epoch(1, start_step=1):
            seen.append(batch)
            upcoming = [loader.upcoming(index) for index in (2, 0)]
            left = whole[1 + len(seen) :]
            _assert_equal([ahead for ahead in upcoming if ahead], [*left[2:3], *left[:1]])
        _assert_equal(seen, whole[1:])
        assert [batch.number for batch in seen] == [6, 7, 8, 9]


class TestWorkers:
    def test_give_the_same_batches_as_no_workers(self, dataset: ShapesDataset) -> None:
        loader = _loader(dataset, workers=2)
        for epoch in (0, 1):
            _assert_equal(loader.epoch(epoch), _loader(dataset).epoch(epoch))

    def test_start_the_next_epoch_correctly_after_an_unfinished_one(self, dataset: ShapesDataset) -> None:
        loader = _loader(dataset, workers=2)
        next(loader.epoch(0))
        _assert_equal(loader.epoch(1), _loader(dataset).epoch(1))

    def test_do_not_use_the_global_torch_generator(self, dataset: ShapesDataset) -> None:
        torch.manual_seed(7)
        expected = torch.rand(1)
        torch.manual_seed(7)
        list(_loader(dataset, workers=2).epoch(0))
        assert torch.equal(torch.rand(1), expected)

    def test_end_when_the_loader_is_closed(self, dataset: ShapesDataset) -> None:
        before = {child.pid for child in psutil.Process().children()}
        loader = _loader(dataset, workers=2)
        list(loader.epoch(0))
        started = [child for child in psutil.Process().children() if child.pid not in before]
        assert len(started) >= 2
        loader.close()
        assert psutil.wait_procs(started, timeout=240)[1] == []

    def test_report_a_damaged_file_with_its_path(self, tmp_path: Path) -> None:
        folder = CocoFolder(tmp_path / "set")
        folder.add_image()
        folder.add_box()
        coco = folder.open()
        (folder.images_folder / "1.png").write_bytes(b"damaged")
        loader = TrainLoader(coco, INPUT, batch_size=1, seed=0, workers=1)
        with pytest.raises(DataError, match="cannot be decoded") as caught:
            list(loader.epoch(0))
        assert caught.value.details["path"] == str(folder.images_folder / "1.png")


class TestBatch:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> CocoFolder:
        """Creates a white image of 40x30 px with a box and a crowd, and an image of 30x40 px without objects."""
        folder = CocoFolder(tmp_path / "set")
        folder.add_image(Image.new("RGB", (40, 30), "white"))
        folder.add_image(Image.new("RGB", (30, 40), "black"))
        folder.add_box(bbox=(10, 10, 20, 10), category_id=2)
        folder.add_box(bbox=(0, 0, 40, 30), iscrowd=1)
        return folder

    def test_is_padded_with_zeros_right_and_bottom(self, folder: CocoFolder) -> None:
        spec = InputSpec(shorter_px=60, longer_px=80, pad_to_px=32)
        (loaded,) = evaluation_batches(folder.open(), spec, batch_size=2)
        assert loaded.images.dtype == torch.uint8
        batch = loaded.to("cpu")
        assert batch.images.shape == (2, 3, 96, 96)
        assert batch.image_sizes == [(60, 80), (80, 60)]
        assert batch.original_sizes == [(30, 40), (40, 30)]
        white = [(255 - 123.675) / 58.395, (255 - 116.28) / 57.12, (255 - 103.53) / 57.375]
        inside = batch.images[0, :, :60, :80]
        assert torch.allclose(inside, torch.tensor(white)[:, None, None].expand_as(inside))
        assert not batch.images[0, :, 60:].any()
        assert not batch.images[0, :, :, 80:].any()

    def test_has_resized_boxes_without_crowds(self, folder: CocoFolder) -> None:
        spec = InputSpec(shorter_px=60, longer_px=80)
        (batch,) = evaluation_batches(folder.open(), spec, batch_size=2)
        assert batch.boxes[0].tolist() == [[20, 20, 60, 40]]
        assert batch.labels[0].tolist() == [1]
        assert batch.boxes[1].shape == (0, 4)
        assert batch.labels[1].dtype == torch.int64

    def test_is_flipped_with_the_given_probability(self, dataset: ShapesDataset) -> None:
        straight = {b.image_ids[0]: b.images for b in evaluation_batches(dataset, INPUT, batch_size=1)}

        def share_flipped(probability: float) -> float:
            spec = INPUT.model_copy(update={"flip_probability": probability})
            loader = TrainLoader(dataset, spec, batch_size=1, seed=0, workers=0)
            flips = []
            for batch in (batch for epoch in range(4) for batch in loader.epoch(epoch)):
                flipped = torch.equal(batch.images, straight[batch.image_ids[0]].flip(-1))
                assert flipped or torch.equal(batch.images, straight[batch.image_ids[0]])
                flips.append(flipped)
            return sum(flips) / len(flips)

        assert share_flipped(0) == 0
        assert share_flipped(1) == 1
        assert 0.3 < share_flipped(0.5) < 0.7

    def test_has_images_of_the_given_sizes(self, dataset: ShapesDataset) -> None:
        spec = InputSpec(shorter_px=64, longer_px=200, flip_probability=0, train_shorter_px=(32, 96))
        loader = TrainLoader(dataset, spec, batch_size=2, seed=0, workers=0)
        batches = list(loader.epoch(0))
        sizes = [size for batch in batches for size in batch.image_sizes]
        assert set(sizes) == {(32, 32), (96, 96)}
        assert len({batch.images.shape[-1] for batch in batches}) == 2
        _assert_equal(TrainLoader(dataset, spec, batch_size=2, seed=0, workers=2).epoch(0), batches)
        assert {batch.image_sizes[0] for batch in evaluation_batches(dataset, spec, batch_size=2)} == {(64, 64)}

    def test_moves_all_its_tensors_to_a_device(self, dataset: ShapesDataset) -> None:
        batch = next(iter(evaluation_batches(dataset, INPUT, batch_size=3))).to("meta")
        assert {tensor.device.type for tensor in (batch.images, *batch.boxes, *batch.labels)} == {"meta"}

    def test_is_refused_if_larger_than_the_split(self, dataset: ShapesDataset) -> None:
        with pytest.raises(DataError, match=r"batch of 23 images .* split of 22; set training.batch_size to 22"):
            _loader(dataset, batch_size=23)
        assert _loader(dataset, batch_size=22).steps_per_epoch == 1


def test_evaluation_batches_contain_every_image_once_in_order(dataset: ShapesDataset) -> None:
    batches = list(evaluation_batches(dataset, INPUT, batch_size=4))
    assert [len(batch.image_ids) for batch in batches] == [4, 4, 4, 4, 4, 2]
    _assert_equal(evaluation_batches(dataset, INPUT, batch_size=4, workers=2), batches)
    ids = [image_id for batch in batches for image_id in batch.image_ids]
    assert ids == [sample.image_id for sample in dataset.samples]


def test_evaluation_batches_report_a_damaged_file_with_its_path(tmp_path: Path) -> None:
    folder = CocoFolder(tmp_path / "set")
    folder.add_image()
    folder.add_box()
    coco = folder.open()
    (folder.images_folder / "1.png").write_bytes(b"damaged")
    for workers in (0, 1):
        with pytest.raises(DataError, match="cannot be decoded"):
            list(evaluation_batches(coco, INPUT, batch_size=1, workers=workers))


class TestImageCache:
    def test_loads_each_image_that_fits_once(self) -> None:
        loaded = []

        def load(index: int) -> torch.Tensor:
            loaded.append(index)
            return torch.zeros(3, 10, 10, dtype=torch.uint8)

        cache = ImageCache(budget_bytes=700)
        for index in (0, 1, 2, 0, 1, 2):
            cache.get(index, load)
        assert loaded == [0, 1, 2, 2]
