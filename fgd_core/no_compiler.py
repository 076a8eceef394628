"""Keeps PyTorch's compiler out of processes that do not use it; where code asks for the compiler, it is loaded.

torchvision, every optimiser and `DistributedDataParallel` load `torch._dynamo`, and with it Inductor, Triton and SymPy.
These 850 modules take a third of the CPU time in which a run starts, and 140 MB of its memory.

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
from torch import nn
from torch.nn.parallel import DistributedDataParallel

_COMPILER, _ITS_UTILS = "torch._dynamo", "torch._dynamo.utils"
_ERRORS = "torch._dynamo.exc"

Kind = TypeVar("Kind", bound=torch.optim.Optimizer)


def without_compiler(kind: type[Kind]) -> type[Kind]:
    """Return this kind of optimiser without PyTorch's wrappers around its methods, which load the compiler.

    The wrappers keep the methods out of compiled graphs. The one of `step` also turns gradients off; this stays so.
    """
    wrapped = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in wrapped}
    step = torch.no_grad()(inspect.unwrap(kind.step))
    return cast(type[Kind], type(kind.__name__, (kind,), {**methods, "step": step}))


def compiler_error() -> type[Exception]:
    """Load the compiler, and return the class of its errors."""
    return cast(type[Exception], importlib.import_module(_ERRORS).TorchDynamoException)


class SharedByRanks(DistributedDataParallel):
    """Averages the gradients of a module that is not compiled over the ranks of a process group."""

    def __init__(self, module: nn.Module, process_group: torch.distributed.ProcessGroup) -> None:
        with _compiler_on_demand():
            super().__init__(
                module,
                process_group=process_group,
                # They are equal: norms and memories see the values of all ranks.
                forward_sync_buffers=False,
                gradient_as_bucket_view=True,
            )

    def _run_ddp_forward(self, *inputs: object, **options: object) -> object:
        # The base class does no more than this, but loads the compiler to tell it which module is running.
        return self.module(*inputs, **options)


class _LoadedOnDemand(ModuleType):
    """Stands for a module of the compiler while PyTorch or torchvision asks for a name in it."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        # A PyTorch that needs another name gets the real modules: it starts more slowly, and works.
        for each in (_COMPILER, _ITS_UTILS):
            if isinstance(sys.modules.get(each), _LoadedOnDemand):
                del sys.modules[each]
        return getattr(importlib.import_module(self.__name__), name)


class _Compiler(_LoadedOnDemand):
    """Stands for `torch._dynamo`."""

    @property
    def utils(self) -> ModuleType:
        return sys.modules[_ITS_UTILS]


class _Utils(_LoadedOnDemand):
    """Stands for `torch._dynamo.utils`."""

    @staticmethod
    def is_compile_supported(device_type: str) -> bool:
        """Load the compiler and ask it. torchvision calls this for a deterministic RoIAlign on a GPU only."""
        return bool(importlib.import_module(_ITS_UTILS).is_compile_supported(device_type))

    @staticmethod
    def get_optimize_ddp_mode() -> str:
        """Return the compiler's default, which lets `DistributedDataParallel` sum gradients in its C++ code."""
        return "ddp_optimizer"


@contextmanager
def _compiler_on_demand() -> Iterator[None]:
    if _COMPILER in sys.modules:
        yield
        return
    substitutes: dict[str, ModuleType] = {_COMPILER: _Compiler(_COMPILER), _ITS_UTILS: _Utils(_ITS_UTILS)}
    sys.modules.update(substitutes)
    try:
        yield
    finally:
        for name, substitute in substitutes.items():
            if sys.modules.get(name) is substitute:
                del sys.modules[name]


with _compiler_on_demand():
    importlib.import_module("torchvision")
