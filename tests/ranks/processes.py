"""Runs a function in several processes of one process group on the CPU."""

import os
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

_LONGEST_WAIT = timedelta(seconds=300)
"""A rank that waits for another one for ever fails the test, and does not hang it."""


def on_ranks(size: int, work: Callable[..., Any], *arguments: object, may_die: bool = False) -> list[Any]:
    """Call `work(*arguments)` in each process of a group, and return the results by rank.

    Args:
        may_die: whether processes may be killed; the result of a killed process is None.
    """
    with tempfile.TemporaryDirectory() as folder:
        # Forked, because each process would otherwise import PyTorch for seconds.
        started = mp.start_processes(
            _run, args=(size, Path(folder), work, arguments), nprocs=size, join=False, start_method="fork"
        )
        if may_die:
            for process in started.processes:
                process.join()
        else:
            while not started.join():
                pass
        paths = [Path(folder) / f"{rank}.pt" for rank in range(size)]
        return [torch.load(path, weights_only=False) if path.exists() else None for path in paths]


def _run(rank: int, size: int, folder: Path, work: Callable[..., Any], arguments: tuple[object, ...]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size, timeout=_LONGEST_WAIT
    )
    torch.save(work(*arguments), folder / f"{rank}.pt")
    # Without the exit handlers of the test process.
    os._exit(0)
