"""The choice of regions among predicted boxes."""

import pytest
import torch

from fgd_core.methods.parts.predicted_regions import choose, vectors_at

OBJECT = torch.tensor([[0.0, 0, 10, 10]])


def candidates(num_on_object: int, num_apart: int) -> torch.Tensor:
    on_object = torch.tensor([[0.0, 0, 10, 9]]).repeat(num_on_object, 1)
    return torch.cat([on_object, torch.tensor([[0.0, 0, 10, 5]]).repeat(num_apart, 1)])


class TestChoice:
    @pytest.mark.parametrize(
        ("num_on_object", "num_apart", "expected"),
        [(10, 10, (2, 6)), (1, 10, (1, 7)), (0, 10, (0, 8)), (10, 2, (2, 2))],
    )
    def test_has_at_most_a_quarter_on_objects(
        self, num_on_object: int, num_apart: int, expected: tuple[int, int]
    ) -> None:
        chosen = choose(candidates(num_on_object, num_apart), OBJECT, 8)
        on_object = (chosen < num_on_object).sum().item()
        assert (on_object, len(chosen) - on_object) == expected
        assert len(chosen.unique()) == len(chosen)

    def test_leaves_out_boxes_without_area(self) -> None:
        assert choose(torch.tensor([[5.0, 5, 5, 9], [0, 0, 10, 10], [3, 3, 3, 3]]), OBJECT, 8).tolist() == [1]

    def test_without_objects_takes_background(self) -> None:
        assert len(choose(candidates(0, 5), OBJECT[:0], 8)) == 5

    def test_follows_the_global_generator(self) -> None:
        found = []
        for _ in range(2):
            torch.manual_seed(7)
            found.append(choose(candidates(10, 10), OBJECT, 8).tolist())
        assert found[0] == found[1]


def test_vectors_are_those_of_the_anchors_cells() -> None:
    """Two levels of 2 x 2 cells and one cell, with three anchors for each cell."""
    maps = [torch.arange(16.0).view(2, 2, 2, 2), torch.tensor([100.0, 101, 200, 201]).view(2, 2, 1, 1)]
    anchors = [torch.tensor([0, 5, 14]), torch.tensor([9])]
    assert vectors_at(maps, anchors, 3).tolist() == [[0, 4], [1, 5], [100, 101], [11, 15]]
