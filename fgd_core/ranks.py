"""Joins the processes that train one job together: the ranks of an initialised `torch.distributed` process group.

Without a process group, or in a group of one process, this process is rank 0, every function returns its own values,
and nothing is sent.

Each rank has an equal part of the global batch, and `DistributedDataParallel` averages the gradients over the ranks.
So that the ranks together compute the loss of the global batch, a rank computes

    a mean over images              the mean over its own images
    a mean over n counted things    its own sum / divisor(n)
    a sum                           its own sum * world_size()
    any function of such a sum      that function of sum_over_ranks(own sum)

Every rank must call the functions in the same order. Tensors may be on any device that the group's backend supports;
Python objects travel through a second group, on the CPU.
"""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import NamedTuple, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.distributed.distributed_c10d import Store, _get_default_store
from torch.linalg import vector_norm
from torch.nn.functional import pad

T = TypeVar("T")

_LONGEST_WAIT = timedelta(days=7)
"""The other ranks wait while rank 0 alone scores a validation split, stores files or waits for a decision. A rank that
ends is noticed at once, whatever this limit."""


@contextmanager
def started_by_torchrun(*, gpus: int) -> Iterator[None]:
    """Join the process group that `torchrun` prepares in the environment, on this process's own GPU if `gpus` is not 0.

    A process that was started otherwise stays alone.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    if gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if gpus else "gloo")
    try:
        yield
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def world_size() -> int:
    """Return the number of processes that train this job; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def is_first() -> bool:
    """Return whether this is rank 0, which alone reports events and writes files."""
    return rank() == 0


def total_over_ranks(values: Tensor) -> Tensor:
    """Sum the values (…), which have the same shape on every rank, over all ranks, without gradient: (…)."""
    total = values.detach()
    if world_size() > 1:
        total = total.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
    return total


def mean_over_ranks(values: Tensor) -> Tensor:
    """Average the values (…) over all ranks, without gradient: (…)."""
    total = total_over_ranks(values)
    return total / world_size() if world_size() > 1 else total


def sum_over_ranks(values: Tensor) -> Tensor:
    """Sum the values (…) over all ranks: (…). Gradients flow back to all ranks, so every rank must use the sum."""
    if world_size() == 1:
        return values
    total: Tensor = _Sum.apply(values)
    return total


def divisor(count: Tensor, *, least: float = 1.0) -> Tensor:
    """Return what a rank divides its sum by, so that the mean over ranks is the sum over all ranks / count of all.

    Args:
        count: () of this rank; no gradient flows into it.
        least: the smallest count of all ranks together.
    Returns:
        Scalar (): max(count of all, least) / number of ranks.
    """
    total = total_over_ranks(count).clamp(min=least)
    return total / world_size() if world_size() > 1 else total


def norm_over_ranks(values: Tensor) -> Tensor:
    """Compute the L2 norm () of the values (…) of all ranks together; its gradient is 0 where all values are 0."""
    own: Tensor = vector_norm(values)
    if world_size() == 1:
        return own
    place = torch.zeros(world_size(), dtype=own.dtype, device=own.device)
    place[rank()] = 1
    norm: Tensor = vector_norm(sum_over_ranks(own * place))
    return norm


class Gathered(NamedTuple):
    """Holds the rows of all ranks, by rank."""

    rows: Tensor
    """(rows of all ranks, …), without gradient"""
    first: int
    """The position of this rank's first row."""


def gathered(rows: Tensor) -> Gathered:
    """Collect the rows (n, …) of all ranks; each rank may have another number of rows."""
    if world_size() == 1:
        return Gathered(rows.detach(), 0)
    sizes = [int(size) for size in _of_each_rank(torch.tensor([len(rows)], device=rows.device))]
    padded = pad(rows.detach(), (0, 0) * (rows.ndim - 1) + (0, max(sizes) - len(rows)))
    parts = [part[:size] for part, size in zip(_of_each_rank(padded), sizes, strict=True)]
    return Gathered(torch.cat(parts), sum(sizes[: rank()]))


def largest(*numbers: int) -> tuple[int, ...]:
    """Return the largest value on any rank, for each of some numbers."""
    if world_size() == 1:
        return numbers
    most = torch.tensor(numbers)
    dist.all_reduce(most, dist.ReduceOp.MAX, group=_control())
    return tuple(most.tolist())


def from_first(make: Callable[[], T]) -> T:
    """Call a function on rank 0 only; every rank returns its result, which is pickled."""
    if world_size() == 1:
        return make()
    box = [make() if is_first() else None]
    dist.broadcast_object_list(box, src=0, group=_control())
    return cast(T, box[0])


def gathered_on_first(value: T) -> list[T]:
    """Collect a value, which is pickled, of each rank, by rank; the other ranks than 0 get an empty list."""
    if world_size() == 1:
        return [value]
    found = [value] * world_size() if is_first() else None
    dist.gather_object(value, found, dst=0, group=_control())
    return found or []


def newest_on_first(name: str, text: str) -> list[str]:
    """Share the newest text of a rank, for which no rank waits, unlike in all other functions of this module.

    Returns:
        On rank 0 the newest text that each rank has shared under this name, by rank. Empty until all ranks have shared
        one, and on the other ranks.
    """
    if world_size() == 1:
        return [text]
    shared, keys = store(), [f"fgd/{name} of rank {each}" for each in range(world_size())]
    shared.set(keys[rank()], text)
    if not is_first() or not shared.check(keys):
        return []
    return [found.decode() for found in shared.multi_get(keys)]


def store() -> Store:
    """Return the key-value store of the process group, which a rank can read and write without the others."""
    return _get_default_store()


def copy_from_first(module: nn.Module) -> None:
    """Give a module on the CPU the weights and buffers that it has on rank 0."""
    if world_size() > 1:
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, src=0, group=_control())


def zero_of(*modules: nn.Module) -> Tensor:
    """Return a zero () that gives every parameter of some modules a zero gradient.

    `DistributedDataParallel` waits for the gradient of every parameter, also of those that a step does not use.
    """
    return torch.stack([each.sum() for module in modules for each in module.parameters()]).sum() * 0


def leave() -> None:
    """End the process group. A rank that waits for this one on the CPU, now or later, fails at once.

    The connections end with the last reference to their group, so call this where no model of the group is left.
    """
    _control_beside.cache_clear()
    gc.collect()
    dist.destroy_process_group()


class _Sum(torch.autograd.Function):
    """Sums values of any shape over all ranks; its gradient is the sum of the gradients of all ranks."""

    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor) -> Tensor:
        """Sum (…) to (…)."""
        return total_over_ranks(values)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> Tensor:
        """Sum gradients (…) to (…)."""
        return total_over_ranks(gradients[0])


def _of_each_rank(values: Tensor) -> list[Tensor]:
    """Collect the values (…) of each rank, which have the same shape on every rank."""
    parts = [torch.empty_like(values) for _ in range(world_size())]
    dist.all_gather(parts, values.contiguous())
    return parts


def _control() -> dist.ProcessGroup:
    world = dist.group.WORLD
    assert world is not None, "this is called in a process group only"
    return _control_beside(world)


@lru_cache(maxsize=1)
def _control_beside(world: dist.ProcessGroup) -> dist.ProcessGroup:
    """Create, once for each process group, the group through which objects travel."""
    return cast(dist.ProcessGroup, dist.new_group(backend="gloo", timeout=_LONGEST_WAIT))
