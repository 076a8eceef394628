"""Measures the GPU memory of each process that trains a job."""

import torch

from fgd_core.ranks import newest_on_first
from fgd_core.spec.events import GpuMemory


def measure(device: torch.device) -> GpuMemory | None:
    """Return what the tensors of this process take on its device; None without a GPU."""
    if device.type != "cuda":
        return None
    return GpuMemory(
        allocated_bytes=torch.cuda.memory_allocated(device), peak_bytes=torch.cuda.max_memory_allocated(device)
    )


def of_each_rank(own: GpuMemory | None) -> list[GpuMemory]:
    """Return the newest memory that each rank has passed to this function, by rank; see `newest_on_first`."""
    texts = newest_on_first("GPU memory", own.model_dump_json()) if own is not None else []
    return [GpuMemory.model_validate_json(text) for text in texts]
