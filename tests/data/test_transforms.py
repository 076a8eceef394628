import pytest
import torch

from fgd_core.data.transforms import flip_horizontally, resize, resized_size
from fgd_core.spec.data import InputSpec


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((480, 640), (800, 1067)),
        ((640, 480), (1067, 800)),
        ((500, 1000), (667, 1333)),  # the longer side decides
        ((800, 800), (800, 800)),
        ((1, 5000), (1, 1333)),  # never less than a pixel
    ],
)
def test_resized_size_keeps_the_ratio_within_both_limits(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert resized_size(*size, InputSpec(shorter_px=800, longer_px=1333)) == expected


def test_boxes_are_scaled_by_the_rounded_sizes() -> None:
    image = torch.zeros(3, 480, 640, dtype=torch.uint8)
    resized, boxes = resize(image, torch.tensor([[0.0, 0.0, 640.0, 480.0]]), resized_size(480, 640, InputSpec()))
    assert resized.shape == (3, 800, 1067)
    assert boxes.tolist() == [[0, 0, 1067, 800]]


def test_a_resized_box_still_fits_its_object() -> None:
    image = torch.zeros(3, 90, 60, dtype=torch.uint8)
    image[:, 30:60, 15:45] = 255
    resized, boxes = resize(image, torch.tensor([[15.0, 30.0, 45.0, 60.0]]), (180, 120))
    rows, columns = torch.nonzero(resized[0] > 127, as_tuple=True)
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert boxes.tolist() == [[float(edge) for edge in found]]


def test_an_image_of_the_right_size_is_not_resized() -> None:
    image = torch.randint(0, 256, (3, 128, 128), dtype=torch.uint8)
    resized, _ = resize(image, torch.zeros(0, 4), (128, 128))
    assert resized is image


def test_a_flip_mirrors_the_box() -> None:
    image = torch.zeros(3, 10, 20, dtype=torch.uint8)
    image[:, 2:5, 1:7] = 255
    flipped, boxes = flip_horizontally(image, torch.tensor([[1.0, 2.0, 7.0, 5.0]]))
    assert boxes.tolist() == [[13, 2, 19, 5]]
    assert (flipped[:, 2:5, 13:19] == 255).all()
    assert int((flipped > 0).sum()) == 3 * 3 * 6


def test_no_boxes_keep_their_shape() -> None:
    image, boxes = resize(torch.zeros(3, 50, 70, dtype=torch.uint8), torch.zeros(0, 4), (800, 1120))
    assert flip_horizontally(image, boxes)[1].shape == (0, 4)
