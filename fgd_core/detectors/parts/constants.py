"""Keeps tensors that depend on nothing but sizes and the device."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar, cast

import torch

P = ParamSpec("P")
T = TypeVar("T")

_MOST = 64
"""Shapes of batches: more than a training with several image sizes has, and on a GPU a few hundred megabytes."""


def kept(make: Callable[P, T]) -> Callable[P, T]:
    """Keep the newest results of a function of sizes and a device, so that not every step makes them again.

    The results must not be changed. A graph that is exported or compiled makes them itself, because its sizes may be
    formulas.
    """
    keep = lru_cache(maxsize=_MOST)(make)

    @wraps(make)
    def call(*args: P.args, **options: P.kwargs) -> T:
        if torch.compiler.is_compiling():
            return make(*args, **options)
        # Tensors of inference mode could not be used in a training later.
        with torch.inference_mode(mode=False):
            return cast(Callable[P, T], keep)(*args, **options)

    return call
