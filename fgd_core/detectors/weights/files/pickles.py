"""Files that `torch.save` wrote, read without running anything that their authors wrote into them.

Checkpoints of mmdetection, torchvision's references, timm and Lightning hold more than tensors: numbers of numpy,
arguments of a command line, objects for logs and settings. Those are read as inert stand-ins, for nobody here needs
them; whatever else a file wants imported is refused by name.
"""

import pickle
import pickletools
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy.dtypes
import torch

from fgd_core.errors import WeightsError

_LONGEST_CAUSE = 200
_SHOWN_GLOBALS = 10
_OLDER_FORMAT = 0x1950A86A20F9469CFC6C.to_bytes(10, "little")
"""A number that PyTorch's format before 1.6 begins with."""


class _Inert:
    """Stands for an object that is not needed: takes any state and keeps none."""

    def __new__(cls, *_arguments: object) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *_arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


class _PlainDict:
    """Stands for a kind of dict that can do more than a dict: makes one that cannot."""

    def __new__(cls, *_arguments: object) -> "OrderedDict[Any, Any]":  # type: ignore[misc]
        return OrderedDict()  # the only kind, beside dict itself, that PyTorch's reader puts items into


class _History(_Inert):
    """Stands for mmengine's log of a number."""


def _method_of_history(owner: object, name: str) -> None:
    """Stands for `getattr`, with which a log names its own methods; nothing else may be looked up by it."""
    if owner is not _History:
        raise ValueError(f"GLOBAL getattr(…,{name!r})")


# What a file may name beside tensors, and what it gets.
_STAND_INS: Mapping[str, Callable[..., Any]] = {
    **dict.fromkeys(("numpy.ndarray", "numpy.dtype"), _Inert),
    **{f"numpy.dtypes.{name}": _Inert for name in numpy.dtypes.__all__},
    **{
        f"{module}.multiarray.{name}": _Inert
        for module in ("numpy.core", "numpy._core")
        for name in ("scalar", "_reconstruct")
    },
    "builtins.getattr": _method_of_history,
    "mmengine.logging.history_buffer.HistoryBuffer": _History,
    **dict.fromkeys(("mmcv.utils.config.Config", "mmengine.config.config.Config"), _Inert),
    **dict.fromkeys(
        (
            "mmcv.utils.config.ConfigDict",
            "mmengine.config.config.ConfigDict",
            "addict.addict.Dict",
            "easydict.EasyDict",
            "yacs.config.CfgNode",
            "pytorch_lightning.utilities.parsing.AttributeDict",
            "lightning.pytorch.utilities.parsing.AttributeDict",
            "lightning_fabric.utilities.data.AttributeDict",
            "lightning.fabric.utilities.data.AttributeDict",
            "collections.defaultdict",
            "builtins.dict",
        ),
        _PlainDict,
    ),
    # The arguments of torchvision's and timm's training scripts, and of Ultralytics' trainer.
    **dict.fromkeys(
        ("argparse.Namespace", "types.SimpleNamespace", "ultralytics.utils.IterableSimpleNamespace"), _Inert
    ),
    # Hydra's settings, as Lightning's and others' trainers keep them.
    **{
        f"omegaconf.{name}": _Inert
        for name in (
            "dictconfig.DictConfig",
            "listconfig.ListConfig",
            "base.ContainerMetadata",
            "base.Metadata",
            *(f"nodes.{kind}Node" for kind in ("Any", "String", "Integer", "Float", "Boolean", "Path", "Enum")),
        )
    },
    **dict.fromkeys(("typing.Any", *(f"builtins.{name}" for name in ("list", "str", "int", "float", "bool"))), _Inert),
    **dict.fromkeys(("builtins.set", "builtins.frozenset", "builtins.slice"), _Inert),
    **dict.fromkeys(("datetime.datetime", "datetime.timedelta", "datetime.date"), _Inert),
    **{
        f"pathlib.{name}": _Inert
        for name in ("Path", "PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath", "_local.PosixPath")
    },
}


def read_pickle(path: Path, *, mapped: bool = False) -> object:
    """What `torch.save` put into a file: dicts, lists, plain values and tensors; stand-ins for all else.

    Args:
        mapped: tensors are read from the file when they are used, and not now.
    Raises:
        WeightsError: the file is damaged, of another kind, a program, or wants code imported or run.
    """
    if _is_torchscript(path):
        raise WeightsError(
            "the file is a TorchScript program, which is code; save the state_dict of its module instead",
            path=str(path),
        )
    try:
        # Each as (stand-in, name): a name is then allowed for what it stands for and nothing else.
        with torch.serialization.safe_globals([(stand_in, name) for name, stand_in in _STAND_INS.items()]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped or None)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise _refusal(path, error) from error
    except (AttributeError, TypeError, IndexError, AssertionError, OverflowError, MemoryError) as error:
        # What the reader meets in a file that was made by hand.
        raise _refusal(path, error) from error


def _refusal(path: Path, error: Exception) -> WeightsError:
    asked = _unwanted(path, error)
    if asked:
        shown = ", ".join(asked[:_SHOWN_GLOBALS]) + (
            f" and {len(asked) - _SHOWN_GLOBALS} more" if len(asked) > _SHOWN_GLOBALS else ""
        )
        return WeightsError(
            f"the file wants code imported or run: {shown}; it was not read. Where you trust it, save its weights and "
            "classes alone, for example torch.save(model.state_dict(), …) and not torch.save(model, …)",
            path=str(path),
            asks_for=[*asked],
        )
    if _is_bare_pickle(path):
        return WeightsError(
            "the file is a pickle that torch.save did not write, such as detectron2's of numpy arrays, and is not "
            "read; save its tensors with torch.save or as safetensors",
            path=str(path),
        )
    said = re.search(r"WeightsUnpickler error:\s*(.*)", str(error))
    cause = said[1] if said is not None else (str(error).splitlines() or [type(error).__name__])[0]
    return WeightsError(
        "the file cannot be read as a checkpoint: it is damaged, cut short, or of another kind",
        path=str(path),
        cause=cause[:_LONGEST_CAUSE],
    )


def _unwanted(path: Path, error: Exception) -> list[str]:
    """What the file wants imported or run and may not have; empty where that is not the trouble."""
    try:
        # Of a file in PyTorch's present format all at once, without building anything.
        asked = set(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # an older format, or no checkpoint at all
        asked = {name.replace("__builtin__.", "builtins.", 1) for name in _globals_of_pickles(path)}
    return sorted((asked - set(_STAND_INS)) or re.findall(r"GLOBAL (\S+)", str(error)))


def _globals_of_pickles(path: Path) -> set[str]:
    """The names that a file of bare pickles, one behind the other, imports; read as text, nothing is built.

    PyTorch's own names are left out: its older format begins with them, and they are its reader's to judge.
    """
    found: set[str] = set()
    try:
        with path.open("rb") as file:
            while True:
                for name in _imports(file):
                    found.add(name)
    except Exception:  # the end of the file, or of what is a pickle
        return {name for name in found if not name.startswith(("torch.", "collections.OrderedDict"))}


def _imports(file: IO[bytes]) -> Iterator[str]:
    """The names that the pickle imports at whose beginning the file stands."""
    texts: list[str] = []
    memo: dict[int, str | None] = {}
    last: str | None = None
    operations: Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]] = pickletools.genops(file)
    for operation, argument, _ in operations:
        match operation.name:
            case "MEMOIZE":
                memo[len(memo)] = last
                continue
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[argument] = last
                continue
            case "GLOBAL" | "INST":
                yield argument.replace(" ", ".", 1)
                last = None
            case "STACK_GLOBAL":
                yield ".".join(texts[-2:])
                last = None
            case "GET" | "BINGET" | "LONG_BINGET":
                last = memo.get(argument)
            case _:
                last = argument if isinstance(argument, str) else None
        if last is not None:
            texts.append(last)


def _is_bare_pickle(path: Path) -> bool:
    """Whether the file is one pickle, whole, and not the first of those in PyTorch's older format."""
    with path.open("rb") as file:
        if file.read(1) != pickle.PROTO or _OLDER_FORMAT in file.read(32):
            return False
        file.seek(0)
        try:
            for _ in _imports(file):
                pass
        except Exception:  # no pickle, or cut short
            return False
        return not file.read(1)


def _is_torchscript(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False
