"""Other pictures of the images: found by name, of the same size, changed like the image, the same after a resume."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fgd_core.data.loading import TrainLoader
from fgd_core.data.pictures import Pictured, PictureFolder, ambiguous_names, picture_folder
from fgd_core.data.shapes import ShapesDataset
from fgd_core.errors import DataError, SpecError
from fgd_core.spec.augments import GaussianNoise, RandomCrop
from fgd_core.spec.data import InputSpec, PictureFolders, Shapes

SIDE = 48
INPUT = InputSpec(shorter_px=64, longer_px=64)
AUGMENT = (GaussianNoise(probability=1, images="all"), RandomCrop(min_side=0.5, images="all"))


@pytest.fixture(scope="module")
def dataset() -> ShapesDataset:
    return ShapesDataset(Shapes(num_train=8, num_val=2, image_size_px=SIDE), "train")


@pytest.fixture
def negatives(dataset: ShapesDataset, tmp_path: Path) -> Path:
    """Write the negative of each image."""
    for index, sample in enumerate(dataset.samples):
        pixels = 255 - dataset.load_image(index).permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(tmp_path / sample.file_name)
    return tmp_path


def opened(dataset: ShapesDataset, folder: Path, *, until_epoch: int | None = None) -> PictureFolder:
    return PictureFolder("negative", folder, dataset.samples, split="train", until_epoch=until_epoch)


def loader(dataset: ShapesDataset, spec: InputSpec, *pictures: PictureFolder, workers: int = 0) -> TrainLoader:
    return TrainLoader(dataset, spec, batch_size=4, seed=0, workers=workers, pictures=pictures)


class TestFolder:
    def test_names_images_without_a_picture(self, dataset: ShapesDataset, negatives: Path) -> None:
        (negatives / dataset.samples[3].file_name).unlink()
        with pytest.raises(DataError, match=r"1 of 8 .*train_00004\.png"):
            opened(dataset, negatives)

    def test_that_does_not_exist_is_named(self, dataset: ShapesDataset, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"data\.pictures\.negative\.train"):
            opened(dataset, tmp_path / "none")

    def test_finds_a_lossless_picture_of_a_lossy_image(self, dataset: ShapesDataset, negatives: Path) -> None:
        samples = [replace(each, file_name=each.file_name.replace(".png", ".jpg")) for each in dataset.samples]
        found = PictureFolder("negative", negatives, samples, split="train")
        assert torch.equal(found.load(0), 255 - dataset.load_image(0))

    def test_refuses_a_picture_of_another_size(self, dataset: ShapesDataset, negatives: Path) -> None:
        Image.fromarray(np.zeros((SIDE, SIDE + 1, 3), np.uint8)).save(negatives / dataset.samples[0].file_name)
        with pytest.raises(DataError, match="different sizes"):
            opened(dataset, negatives).load(0)

    def test_has_another_fingerprint_with_other_pictures(self, dataset: ShapesDataset, negatives: Path) -> None:
        before = opened(dataset, negatives).fingerprint
        Image.fromarray(np.zeros((SIDE, SIDE, 3), np.uint8)).save(negatives / dataset.samples[0].file_name)
        assert opened(dataset, negatives).fingerprint != before

    def test_that_the_data_does_not_name_is_refused(self, dataset: ShapesDataset, negatives: Path) -> None:
        data = Shapes(pictures={"negative": PictureFolders(train=str(negatives))})
        with pytest.raises(SpecError, match=r"no picture 'depth'"):
            picture_folder(data, "depth", "train", dataset.samples)
        with pytest.raises(SpecError, match=r"no folder for the val split"):
            picture_folder(data, "negative", "val", dataset.samples)

    def test_takes_the_place_of_the_images(self, dataset: ShapesDataset, negatives: Path) -> None:
        shown = Pictured(dataset, opened(dataset, negatives))
        assert torch.equal(shown.load_image(2), 255 - dataset.load_image(2))
        assert shown.samples is dataset.samples


class TestBatches:
    def test_show_the_pictures_at_the_places_of_the_images(self, dataset: ShapesDataset, negatives: Path) -> None:
        """A negative stays the negative under every flip, size and crop, up to the rounding of pixels."""
        spec = INPUT.model_copy(update={"augment": AUGMENT[1:], "train_shorter_px": (48, 64, 96)})
        std = torch.tensor([58.395, 57.12, 57.375])[:, None, None]
        mean = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
        for loaded in loader(dataset, spec, opened(dataset, negatives)).epoch(0):
            batch = loaded.to("cpu")
            other = batch.pictures["negative"]
            for picture, image, (height, width) in zip(other, batch.images, batch.image_sizes, strict=True):
                both = (picture + image)[:, :height, :width] * std + 2 * mean
                assert (both - 255).abs().max() < 2.01
                assert picture[:, height:].abs().sum() == 0

    def test_without_pictures_are_those_with_pictures(self, dataset: ShapesDataset, negatives: Path) -> None:
        spec = INPUT.model_copy(update={"augment": AUGMENT})
        plain, pictured = (
            list(loader(dataset, spec, *pictures).epoch(1)) for pictures in ((), (opened(dataset, negatives),))
        )
        for one, other in zip(plain, pictured, strict=True):
            assert torch.equal(one.images, other.images) and not one.pictures
            assert all(torch.equal(a, b) for a, b in zip(one.boxes, other.boxes, strict=True))

    @pytest.mark.parametrize("workers", [0, 2])
    def test_are_the_same_when_an_epoch_resumes(self, dataset: ShapesDataset, negatives: Path, workers: int) -> None:
        spec = INPUT.model_copy(update={"augment": AUGMENT})
        whole = [*loader(dataset, spec, opened(dataset, negatives)).epoch(2)][1]
        resumed = loader(dataset, spec, opened(dataset, negatives), workers=workers)
        batch = next(resumed.epoch(2, start_step=1))
        resumed.close()
        assert torch.equal(batch.pictures["negative"], whole.pictures["negative"])
        assert torch.equal(batch.images, whole.images)

    def test_read_pictures_only_in_their_epochs(self, dataset: ShapesDataset, negatives: Path) -> None:
        both = loader(dataset, INPUT, opened(dataset, negatives, until_epoch=1))
        assert [set(next(both.epoch(epoch)).pictures) for epoch in (0, 1)] == [{"negative"}, set()]

    def test_show_a_picture_in_place_of_the_image(self, dataset: ShapesDataset, negatives: Path) -> None:
        batch = next(loader(dataset, INPUT, opened(dataset, negatives)).epoch(0))
        assert torch.equal(batch.showing("negative").images, batch.pictures["negative"])
        assert batch.showing("image") is batch


def test_images_whose_written_pictures_would_collide_are_found() -> None:
    assert ambiguous_names(["a/1.jpg", "a/1.png", "a/2.jpg", "b/1.jpg"]) == ["a/1.jpg", "a/1.png"]
