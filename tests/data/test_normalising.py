"""Batches of uint8 pixels are normalised where they train, as the loader normalises other batches."""

from dataclasses import replace

import numpy as np
import torch

from fgd_core.data.loading import Batch
from fgd_core.data.normalising import MEAN, STD

SIZES = [(5, 7), (8, 6)]


def batch() -> Batch:
    """Return a batch of two images of noise, padded to 8 x 8 px."""
    pixels = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for image, (height, width) in zip(pixels, SIZES, strict=True):
        image[:, height:] = 0
        image[:, :, width:] = 0
    boxes, labels = [torch.ones(2, 4), torch.zeros(0, 4)], [torch.tensor([1, 2]), torch.zeros(0, dtype=torch.int64)]
    return Batch(pixels, SIZES, boxes, labels, [1, 2], SIZES, pictures={"depth": pixels.flip(3)})


def test_pixels_get_the_values_of_numpy_to_the_bit_and_padding_is_zero() -> None:
    given = batch()
    images = given.to("cpu").images
    mean, deviation = (np.array(each, dtype=np.float32)[:, None, None] for each in (MEAN, STD))
    for image, own, (height, width) in zip(given.images, images, SIZES, strict=True):
        expected = (image[:, :height, :width].numpy() - mean) / deviation
        assert torch.equal(own[:, :height, :width], torch.from_numpy(expected))
        assert not own[:, height:].any() and not own[:, :, width:].any()


def test_pictures_too_and_nothing_is_normalised_twice() -> None:
    once = batch().to("cpu")
    assert once.pictures["depth"].dtype == torch.float32
    again = once.to("cpu")
    assert torch.equal(once.images, again.images) and torch.equal(once.pictures["depth"], again.pictures["depth"])


def test_boxes_and_labels_stay_those_of_their_image() -> None:
    given = batch()
    moved = given.to("cpu")
    assert all(map(torch.equal, given.boxes, moved.boxes)) and all(map(torch.equal, given.labels, moved.labels))
    assert replace(moved, boxes=[], labels=[]).to("cpu").boxes == []
