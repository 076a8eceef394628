"""Chooses who does the passes over maps: Triton's kernels, functions in C, or PyTorch's operations."""

import warnings
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import cast

import torch
from torch import Tensor

from fgd_core.methods.parts import cpu_passes, map_passes
from fgd_core.methods.parts.map_passes import Passes


def passes_for(*maps: Tensor) -> Passes:
    """Return the passes for maps (N, C, K): on a GPU Triton's kernels where Triton works, on a CPU functions in C.

    Compiled code has PyTorch's operations, from which the compiler makes its own kernels.
    """
    if cpu_passes.fit(*maps):
        return cast(Passes, cpu_passes)
    is_plain = maps[0].device.type != "cuda" or torch.compiler.is_compiling()
    return cast(Passes, map_passes) if is_plain else kernels_on(maps[0].device)


@cache
def kernels_on(device: torch.device) -> Passes:
    """Return Triton's kernels if Triton can build and run one on the device, and PyTorch's operations otherwise."""
    plain = cast(Passes, map_passes)
    if find_spec("triton") is None:
        return plain
    # By name and only now: a run without a GPU loads no Triton.
    kernels = import_module("fgd_core.methods.parts.map_kernels")
    try:
        kernels.project(torch.zeros(1, 1, 1, device=device), torch.zeros(1, 1, device=device))
    except kernels.FAILURES as error:
        # It needs a C compiler on each machine, for example, which PyTorch's operations do not.
        warnings.warn(f"FGD runs without its Triton kernels, which is slower: {error}", stacklevel=2)
        return plain
    return cast(Passes, kernels)
