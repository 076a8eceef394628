"""InfoNCE and its memory, against plain loops and known limits."""

import math
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor
from torch.nn.functional import normalize

from fgd_core.methods.parts.contrast import Memory, are_apart, info_nce
from fgd_core.ranks import gathered


def vectors(count: int, dimensions: int, seed: int) -> Tensor:
    return torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def every(count: int) -> Tensor:
    return torch.ones(count, count, dtype=torch.bool)


class TestInfoNce:
    def test_agrees_with_plain_loops(self) -> None:
        queries, keys, memory = vectors(3, 5, 0), vectors(3, 5, 1), vectors(2, 5, 2)
        is_negative = torch.tensor([[False, True, False], [True, False, True], [True, True, True]])
        losses = []
        for i, query in enumerate(queries):
            negatives = [keys[j] for j in range(3) if j != i and is_negative[i, j]]
            shares = [
                math.exp(float(query @ key / query.norm() / key.norm()) / 0.07)
                for key in (keys[i], *negatives, *memory)
            ]
            losses.append(-math.log(shares[0] / sum(shares)))
        loss = info_nce(queries, keys, is_negative, memory, 0.07)
        assert loss.item() == pytest.approx(sum(losses) / 3, abs=1e-9)

    @pytest.mark.parametrize("num_negatives", [64, 1000])
    def test_of_unrelated_vectors_is_the_log_of_the_number_of_choices(self, num_negatives: int) -> None:
        loss = info_nce(
            vectors(32, 1024, 0), vectors(32, 1024, 1), every(32), vectors(num_negatives - 31, 1024, 2), 0.1
        )
        assert loss.item() == pytest.approx(math.log(num_negatives + 1), rel=0.05)

    def test_of_the_teachers_own_vectors_is_almost_zero(self) -> None:
        keys = vectors(32, 1024, 1)
        assert info_nce(3 * keys, keys, every(32), vectors(100, 1024, 2), 0.07).item() < 1e-3

    def test_leaves_out_empty_rows_of_the_memory(self) -> None:
        queries, keys = vectors(3, 5, 0), vectors(3, 5, 1)
        losses = [info_nce(queries, keys, every(3), queries.new_zeros(rows, 5), 0.07).item() for rows in (0, 7)]
        assert losses[0] == losses[1]

    def test_without_a_query_is_a_connected_zero(self) -> None:
        nothing = torch.zeros(0, 5, requires_grad=True)
        loss = info_nce(nothing, nothing, every(0), torch.zeros(4, 5), 0.07)
        loss.backward()
        assert loss.item() == 0 and nothing.grad is not None

    def test_is_the_same_for_any_order_of_the_boxes(self) -> None:
        queries, keys, order = vectors(6, 5, 0), vectors(6, 5, 1), torch.tensor([3, 1, 5, 0, 2, 4])
        is_negative = vectors(6, 6, 3) > 0
        losses = [
            info_nce(queries[o], keys[o], is_negative[o][:, o], vectors(4, 5, 2), 0.07).item()
            for o in (torch.arange(6), order)
        ]
        assert losses[0] == pytest.approx(losses[1], abs=1e-12)


def test_boxes_are_apart_in_other_images_or_with_little_overlap() -> None:
    boxes = [torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 6], [8, 8, 20, 20]]), torch.tensor([[0.0, 0, 10, 10]])]
    assert are_apart(boxes, 0.5).tolist() == [
        [False, False, True, True],
        [False, False, True, True],
        [True, True, False, True],
        [True, True, True, False],
    ]


class TestMemory:
    def test_keeps_the_newest_vectors(self) -> None:
        memory, rows = Memory(4, 2, added_per_step=2), torch.arange(12.0).view(6, 2) + 1
        for start in (0, 2, 4):
            memory.add(rows[start : start + 2])
        assert sorted(memory.vectors.tolist()) == rows[2:].tolist()

    def test_adds_as_many_rows_for_few_vectors_as_for_many(self) -> None:
        memory = Memory(4, 2, added_per_step=3)
        memory.add(torch.ones(1, 2))
        memory.add(torch.full((9, 2), 2.0))
        assert memory.position.item() == 2
        assert memory.vectors.tolist() == [[2, 2], [2, 2], [0, 0], [2, 2]]

    def test_of_a_checkpoint_goes_on_at_the_same_row(self) -> None:
        memory, restored = Memory(3, 2, added_per_step=2), Memory(3, 2, added_per_step=2)
        memory.add(torch.ones(2, 2))
        restored.load_state_dict(memory.state_dict())
        for each in (memory, restored):
            each.add(torch.full((2, 2), 2.0))
        assert restored.vectors.equal(memory.vectors) and restored.position == memory.position

    def test_has_no_gradient(self) -> None:
        memory = Memory(3, 2, added_per_step=2)
        memory.add(normalize(torch.ones(2, 2, requires_grad=True)))
        assert not memory.vectors.requires_grad


def test_the_memory_of_two_processes_equals_that_of_one_process(tmp_path: Path) -> None:
    mp.start_processes(_remember_on, args=(tmp_path,), nprocs=2, start_method="fork")
    alone = Memory(6, 2, added_per_step=4)
    for step in range(2):
        alone.add(torch.cat([_of_rank(rank, step) for rank in range(2)]))
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt").equal(alone.vectors)


def _of_rank(rank: int, step: int) -> Tensor:
    return torch.full((2, 2), 1.0 + rank + 10 * step)


def _remember_on(rank: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    memory = Memory(6, 2, added_per_step=4)
    for step in range(2):
        memory.add(gathered(_of_rank(rank, step)).rows)
    torch.save(memory.vectors, folder / f"{rank}.pt")
    dist.destroy_process_group()
