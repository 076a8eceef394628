"""Keeps PyTorch's compiler out of processes that do not use it; where code asks for the compiler, it is loaded.

torchvision and every optimiser load `torch._dynamo`, and with it Inductor, Triton and SymPy. These 850 modules take a
third of the CPU time in which a run starts, and 140 MB of its memory.

Import this module before torchvision: the import of this module imports torchvision without the compiler.
"""

import importlib
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TypeVar, cast

import torch

_IMPORTED_BY_TORCHVISION = "torch._dynamo.utils"

Kind = TypeVar("Kind", bound=torch.optim.Optimizer)


def without_compiler(kind: type[Kind]) -> type[Kind]:
    """Return this kind of optimiser without PyTorch's wrappers around its methods, which load the compiler.

    The wrappers keep the methods out of compiled graphs. The one of `step` also turns gradients off; this stays so.
    """
    wrapped = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in wrapped}
    step = torch.no_grad()(inspect.unwrap(kind.step))
    return cast(type[Kind], type(kind.__name__, (kind,), {**methods, "step": step}))


class _LoadedOnDemand(ModuleType):
    """Stands for the compiler's module while torchvision imports a name of it."""

    @staticmethod
    def is_compile_supported(device_type: str) -> bool:
        """Load the compiler and ask it. torchvision calls this for a deterministic RoIAlign on a GPU only."""
        return bool(importlib.import_module(_IMPORTED_BY_TORCHVISION).is_compile_supported(device_type))

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        # A torchvision that needs another name gets the real module: it starts more slowly, and works.
        sys.modules.pop(self.__name__, None)
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def _compiler_on_demand() -> Iterator[None]:
    if _IMPORTED_BY_TORCHVISION in sys.modules:
        yield
        return
    substitute = _LoadedOnDemand(_IMPORTED_BY_TORCHVISION)
    sys.modules[_IMPORTED_BY_TORCHVISION] = substitute
    try:
        yield
    finally:
        if sys.modules.get(_IMPORTED_BY_TORCHVISION) is substitute:
            del sys.modules[_IMPORTED_BY_TORCHVISION]


with _compiler_on_demand():
    importlib.import_module("torchvision")
