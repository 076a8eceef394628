"""Tests of the assignment of locations and anchors to objects."""

import pytest
import torch
from torch import Tensor

from fgd_core.data.targets import Targets
from fgd_core.detectors.parts.assignment import count_positives, gather_positives
from fgd_core.detectors.parts.atss import assign_atss
from fgd_core.detectors.parts.grid import corner_points, grid_inside, is_batch_padding
from fgd_core.detectors.parts.nearest_point import nearest_point_matches
from fgd_core.outputs import BACKGROUND, IGNORED

NO_BOXES = torch.zeros(0, 4)


def boxes(*rows: tuple[float, float, float, float]) -> Tensor:
    return torch.tensor(rows)


class TestLocations:
    def test_are_the_cell_corners_row_by_row(self) -> None:
        points = corner_points(torch.zeros(2, 7, 2, 3), stride=8)
        assert points.tolist() == [[0, 0], [8, 0], [16, 0], [0, 8], [8, 8], [16, 8]]

    def test_in_the_batch_padding_are_found_beyond_the_padding_to_32(self) -> None:
        points = torch.tensor([[0.0, 0], [56, 0], [64, 0], [0, 24], [0, 32]])
        assert is_batch_padding(points, (20, 60)).tolist() == [False, False, True, False, True]

    @pytest.mark.parametrize("stride", [8, 16, 32, 64, 128])
    @pytest.mark.parametrize("image_size", [(20, 60), (256, 100), (1, 33)])
    def test_outside_the_batch_padding_are_counted_without_the_points(
        self, image_size: tuple[int, int], stride: int
    ) -> None:
        grid = 256 // stride, 256 // stride
        points = corner_points(torch.zeros(1, 1, *grid), stride)
        rows, columns = grid_inside(grid, stride, image_size)
        expected = torch.ones(grid, dtype=torch.bool)
        expected[:rows, :columns] = False
        assert torch.equal(is_batch_padding(points, image_size), expected.flatten())


class TestPositives:
    def test_have_the_box_and_label_of_their_own_image(self) -> None:
        first, second = boxes((0, 0, 1, 1), (0, 0, 2, 2)), boxes((0, 0, 3, 3))
        targets = Targets(
            [first, NO_BOXES, second], [torch.tensor([5, 6]), torch.zeros(0).long(), torch.tensor([7])], []
        )
        matches = torch.tensor([[BACKGROUND, 1, 0], [BACKGROUND, IGNORED, BACKGROUND], [0, IGNORED, BACKGROUND]])
        found = gather_positives(matches, targets)
        assert found.image.tolist() == [0, 0, 2]
        assert found.location.tolist() == [1, 2, 0]
        assert found.labels.tolist() == [6, 5, 7]
        assert found.boxes[:, 2].tolist() == [2, 1, 3]
        padded = gather_positives(matches, targets, most=5)
        assert padded.exist.tolist() == [True] * 3 + [False] * 2
        assert all(torch.equal(long[:3], short) for long, short in zip(padded, found, strict=True))

    def test_are_counted_as_at_least_one_per_image(self) -> None:
        matches = torch.tensor([[0, 1, 0, BACKGROUND], [IGNORED, BACKGROUND, BACKGROUND, BACKGROUND]])
        assert count_positives(matches) == 3 + 1


class TestAtss:
    """An object of 10 x 10; anchors of the same size, moved to the right by 0, 2, 8 and 9 px, and one of 20 x 20."""

    OBJECT = boxes((0, 0, 10, 10))
    FINE = boxes((0, 0, 10, 10), (2, 0, 12, 10), (8, 0, 18, 10), (9, 0, 19, 10))
    COARSE = boxes((-5, -5, 15, 15))

    def test_assigns_candidates_above_mean_plus_deviation(self) -> None:
        # Overlaps 1, 2/3, 1/9, 1/19 and 1/4: mean 0.416, deviation 0.405.
        matches, thresholds, _ = assign_atss([self.FINE, self.COARSE], self.OBJECT)
        assert matches.tolist() == [0] + [BACKGROUND] * 4
        assert thresholds.tolist() == pytest.approx([0.416 + 0.405], abs=1e-3)

    def test_uses_the_unbiased_deviation(self) -> None:
        # Overlaps 1, 2/3, 1/4: mean 0.639, deviation 0.376. With the biased deviation, 0.307, the first would pass.
        matches, *_ = assign_atss([self.FINE, self.COARSE], self.OBJECT, candidates_per_level=2)
        assert matches.tolist() == [BACKGROUND] * 5

    def test_considers_only_the_nearest_anchors_of_each_level(self) -> None:
        far = boxes(*[(100.0 + i, 0, 110 + i, 10) for i in range(9)])
        near = torch.cat([self.FINE, far])
        # Nine candidates instead of thirteen: overlaps of 0 lower mean plus deviation from 0.61 to 0.48.
        few, *_ = assign_atss([near], self.OBJECT, candidates_per_level=9)
        assert few.tolist() == [0, 0] + [BACKGROUND] * 11
        fewer, *_ = assign_atss([near], self.OBJECT, candidates_per_level=4)
        assert fewer.tolist() == [0] + [BACKGROUND] * 12

    @pytest.mark.parametrize(("left", "expected"), [(0.0, BACKGROUND), (-1.0, 0)], ids=["on the border", "inside"])
    def test_requires_the_centre_inside_the_object(self, left: float, expected: int) -> None:
        wide = boxes((left, 0, left + 20, 10))
        elsewhere = boxes(*[(100.0 + i, 0, 110 + i, 10) for i in range(5)])
        assert assign_atss([torch.cat([wide, elsewhere])], self.OBJECT).matches[0] == expected

    def test_assigns_a_contested_anchor_to_the_larger_overlap(self) -> None:
        elsewhere = boxes(*[(100.0 + i, 0, 110 + i, 10) for i in range(8)])
        anchors = [torch.cat([self.FINE[:1], elsewhere])]
        less, more = (0.0, 0.0, 10.0, 7.0), (0.0, 0.0, 10.0, 8.0)
        assert assign_atss(anchors, boxes(less, more)).matches[0] == 1
        assert assign_atss(anchors, boxes(more, less)).matches[0] == 0

    def test_assigns_only_background_without_objects(self) -> None:
        matches, thresholds, most = assign_atss([self.FINE, self.COARSE], NO_BOXES)
        assert matches.tolist() == [BACKGROUND] * 5
        assert thresholds.shape == (0,) and most == 0


class TestNearestPoint:
    @pytest.mark.parametrize(
        ("width", "height", "stride"),
        [(32, 32, 8), (63, 63, 8), (64, 64, 16), (32, 128, 16), (5, 5, 8), (300, 300, 64), (2000, 2000, 128)],
    )
    def test_is_on_the_level_of_the_objects_size(self, width: float, height: float, stride: int) -> None:
        strides = [8, 16, 32, 64, 128]
        matches = nearest_point_matches([torch.zeros(1, 2)] * 5, strides, boxes((0, 0, width, height)))
        assert [s for s, match in zip(strides, matches, strict=True) if match == 0] == [stride]

    def test_is_measured_in_the_objects_own_width_and_height(self) -> None:
        below, beside = (0.0, 6.0), (8.0, 0.0)
        matches = nearest_point_matches([torch.tensor([below, beside])], [8], boxes((-32, -8, 32, 8)))
        assert matches.tolist() == [BACKGROUND, 0]

    def test_of_two_objects_goes_to_the_nearer_one_only(self) -> None:
        points = [torch.tensor([[0.0, 0], [100, 0]])]
        near, far = (-15.0, -16.0, 17.0, 16.0), (-14.0, -16.0, 18.0, 16.0)
        assert nearest_point_matches(points, [8], boxes(near, far)).tolist() == [0, BACKGROUND]
        assert nearest_point_matches(points, [8], boxes(far, near)).tolist() == [1, BACKGROUND]

    def test_of_two_sizes_goes_to_the_nearer_in_units_of_its_size(self) -> None:
        small, large = (-14.0, -16.0, 18.0, 16.0), (-27.0, -30.0, 33.0, 30.0)  # 2 of 32 px and 3 of 60 px away
        assert nearest_point_matches([torch.zeros(1, 2)], [8], boxes(small, large)).tolist() == [1]

    def test_is_none_without_objects(self) -> None:
        assert nearest_point_matches([torch.zeros(3, 2)], [8], NO_BOXES).tolist() == [BACKGROUND] * 3
