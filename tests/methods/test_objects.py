"""Objects on levels and cells, against plain loops."""

import math

import pytest
import torch
from torch import Tensor

from fgd_core.methods.parts.objects import Objects, box_mask, gaussian_mask, on_level, stacked
from tests.methods.waves import GOLDEN_BOXES, STRIDE, boxes, golden_maps

CPU = torch.device("cpu")
GRID = torch.zeros(1, 1, 6, 8, dtype=torch.float64)


def one(*rows: tuple[float, float, float, float]) -> Objects:
    return stacked([boxes(*rows)], CPU)


class TestStacked:
    def test_fills_up_images_with_fewer_objects(self) -> None:
        objects = stacked([boxes((1, 2, 3, 4), (5, 6, 7, 8)), boxes((9, 9, 10, 10)), boxes()], CPU)
        assert objects.boxes.shape == (3, 2, 4) and objects.boxes.dtype == torch.float64
        assert objects.exist.tolist() == [[True, True], [True, False], [False, False]]
        assert objects.boxes[1, 0].tolist() == [9, 9, 10, 10]

    def test_a_batch_without_objects_has_one_row_that_does_not_exist(self) -> None:
        objects = stacked([boxes(), boxes()], CPU)
        assert objects.boxes.shape == (2, 1, 4) and not objects.exist.any()

    def test_does_not_round_to_bfloat16(self) -> None:
        assert stacked([boxes((801, 1, 803, 3)).bfloat16()], CPU).boxes.dtype == torch.float32


class TestLevel:
    @pytest.mark.parametrize(
        ("width", "height", "level"),
        [(10, 10, 0), (111, 111, 1), (110, 110, 0), (55, 223, 1), (223, 223, 2), (447, 447, 3), (1000, 800, 3)],
    )
    def test_a_box_of_twice_the_size_belongs_to_the_next_level(self, width: int, height: int, level: int) -> None:
        objects = one((7, 5, 7 + width, 5 + height))
        assert [bool(on_level(objects, index, 4).exist.any()) for index in range(4)] == [i == level for i in range(4)]
        size = math.sqrt((width + 1) * (height + 1))
        assert level == min(max(math.floor(math.log2(size / 56 + 1e-6)), 0), 3)

    def test_rows_that_fill_up_belong_to_no_level(self) -> None:
        objects = stacked([boxes((0, 0, 9, 9), (0, 0, 9, 9)), boxes()], CPU)
        assert on_level(objects, 0, 4).exist.tolist() == [[True, True], [False, False]]

    def test_a_box_without_area_or_turned_inside_out_has_a_level(self) -> None:
        assert on_level(one((5, 5, 5, 5), (9, 9, 1, 1)), 0, 3).exist.all()


class TestBoxMask:
    def test_covers_the_cells_up_to_the_last_corner_which_is_excluded(self) -> None:
        mask = box_mask(stacked(GOLDEN_BOXES, CPU), STRIDE, golden_maps()[0])
        expected = torch.zeros(2, 6, 8, dtype=torch.float64)
        expected[0, 1:3, 1:5] = 1
        assert mask.equal(expected)

    @pytest.mark.parametrize("box", [(17, 9, 22, 14), (17, 9, 22, 40), (17, 9, 60, 15)], ids=str)
    def test_a_small_box_covers_the_cell_of_its_first_corner(self, box: tuple[float, float, float, float]) -> None:
        assert box_mask(one(box), STRIDE, GRID).nonzero().tolist() == [[0, 1, 2]]

    @pytest.mark.parametrize("box", [(-40, -40, 200, 200), (64, 48, 64, 48), (-20, -20, -9, -9)], ids=str)
    def test_a_box_past_the_border_stays_on_the_map(self, box: tuple[float, float, float, float]) -> None:
        mask = box_mask(one(box), STRIDE, GRID)
        assert mask.sum() == (48 if box[2] == 200 else 1)

    def test_many_boxes_equal_one_box_at_a_time(self) -> None:
        rows = many_boxes(150)
        masks = [box_mask(one(tuple(row)), STRIDE, GRID) for row in rows.tolist()]
        assert box_mask(stacked([rows], CPU), STRIDE, GRID).equal(torch.stack(masks).amax(0))


class TestGaussianMask:
    def test_equals_the_golden_sum(self) -> None:
        mask = gaussian_mask(stacked(GOLDEN_BOXES, CPU), STRIDE, golden_maps()[0])
        assert mask[0].sum().item() == pytest.approx(5.4164574228, abs=1e-9)
        assert not mask[1].any()

    def test_equals_the_formula_cell_by_cell(self) -> None:
        """A box over columns 1 to 3 and rows 2 to 5."""
        expected = torch.zeros(6, 8, dtype=torch.float64)
        for y in range(4):
            for x in range(3):
                expected[2 + y, 1 + x] = math.exp(-(((x - 1.5) / 1.5) ** 2) / 2 - ((y - 2) / 2) ** 2 / 2)
        torch.testing.assert_close(gaussian_mask(one((8, 16, 32, 48)), STRIDE, GRID)[0], expected)

    def test_covers_the_cells_of_the_box_mask(self) -> None:
        objects = stacked([many_boxes(20)], CPU)
        weights, covered = gaussian_mask(objects, STRIDE, GRID), box_mask(objects, STRIDE, GRID)
        assert torch.equal(weights > 0, covered > 0) and weights.max() <= 1

    def test_a_box_smaller_than_a_cell_has_the_full_weight(self) -> None:
        assert gaussian_mask(one((17, 9, 22, 14)), STRIDE, GRID)[0, 1, 2] == 1


@pytest.mark.parametrize("mask", [box_mask, gaussian_mask])
def test_the_order_of_boxes_changes_nothing(mask: type[box_mask]) -> None:
    rows = many_boxes(9)
    assert mask(stacked([rows], CPU), STRIDE, GRID).equal(mask(stacked([rows.flip(0)], CPU), STRIDE, GRID))


def many_boxes(number: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(number, 2, generator=generator, dtype=torch.float64) * 40
    return torch.cat([corner, corner + torch.rand(number, 2, generator=generator) * 24], 1)
