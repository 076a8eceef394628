"""The GPU memory of each worker, which rank 0 reports; the figures here are made up, because tests run on the CPU."""

import torch
import torch.distributed as dist

from fgd_core.ranks import rank
from fgd_core.spec.events import GpuMemory
from fgd_core.training import gpu_memory
from tests.ranks.processes import on_ranks


def memory(bytes_: int) -> GpuMemory:
    return GpuMemory(allocated_bytes=bytes_, peak_bytes=2 * bytes_)


def found_in_turns() -> list[list[GpuMemory]]:
    """Let the ranks report in turns, and return what each call of this rank finds."""
    found = []
    for who, bytes_ in [(0, 10), (1, 20), (0, 11), (1, 21), (0, 12)]:
        if rank() == who:
            found.append(gpu_memory.of_each_rank(memory(bytes_)))
        dist.barrier()
    return found


class TestMemoryOfEachRank:
    def test_rank_0_finds_the_newest_figures_of_all_once_each_has_some_and_never_waits(self) -> None:
        first, second = on_ranks(2, found_in_turns)
        assert first == [[], [memory(11), memory(20)], [memory(12), memory(21)]]
        assert second == [[], []]

    def test_a_process_alone_finds_its_own_and_one_without_a_gpu_finds_none(self) -> None:
        assert gpu_memory.of_each_rank(memory(10)) == [memory(10)]
        assert gpu_memory.of_each_rank(gpu_memory.measure(torch.device("cpu"))) == []
