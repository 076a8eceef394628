"""Computes in float64 what the library computes in float32, without a change in the library."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


@contextmanager
def in_float64() -> Iterator[None]:
    """Create tensors in float64, and replace each conversion to float32 by one to float64.

    Rounding is then 1e-16 instead of 1e-7, so a difference between two runs that is above 1e-12 is not rounding.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Float64():
            yield
    finally:
        torch.set_default_dtype(before)


class _Float64(TorchFunctionMode):
    """Reads float32 as float64 in the arguments and results of all functions of PyTorch."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.empty:
            # With this, `torch.load` makes a tensor for bytes that it has read; their type is what it is.
            return func(*args, **(kwargs or {}))
        if func is Tensor.float:
            func = Tensor.double
        if func in _FUSED:
            kwargs = {**(kwargs or {}), "found_inf": (kwargs or {})["found_inf"].to(torch.float32)}
        found = func(*map(_wide, args), **{name: _wide(value) for name, value in (kwargs or {}).items()})
        return found.double() if func in _FROM_OUTSIDE and found.dtype is torch.float32 else found


_FROM_OUTSIDE = {torch.from_numpy, Tensor.to}
"""Functions through which float32 numbers of NumPy and of other threads arrive."""

_FUSED = {torch._fused_sgd_, torch._fused_adamw_}
"""Updates of weights; their flag is float32 for weights of any type."""


def _wide(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value
