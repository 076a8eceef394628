"""Reads files of `torch.save` without running code in them.

Checkpoints of mmdetection, torchvision's references, timm and Lightning contain more than tensors: numpy numbers,
command line arguments, objects for logs and settings. These are not needed and are read as inert stand-ins. A file that
imports anything else is rejected with the names of these imports.
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

_MAX_CAUSE_LENGTH = 200
_MAX_SHOWN_IMPORTS = 10
_OLDER_FORMAT = 0x1950A86A20F9469CFC6C.to_bytes(10, "little")
"""The magic number at the start of PyTorch's format before 1.6."""


class _Inert:
    """Replaces an object that is not needed: accepts any state and stores none."""

    def __new__(cls, *_arguments: object) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *_arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


class _PlainDict:
    """Replaces a subclass of dict with a plain dict."""

    def __new__(cls, *_arguments: object) -> "OrderedDict[Any, Any]":  # type: ignore[misc]
        return OrderedDict()  # besides dict, the only type that PyTorch's reader fills with items


class _History(_Inert):
    """Replaces mmengine's log of a number."""


def _method_of_history(owner: object, name: str) -> None:
    """Replaces `getattr`, by which a log refers to its own methods; it rejects every other owner."""
    if owner is not _History:
        raise ValueError(f"GLOBAL getattr(…,{name!r})")


# The names that a file may import besides tensors -> their replacements.
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
    """Read a file of `torch.save`: dicts, lists, plain values and tensors, and stand-ins for all other objects.

    Args:
        mapped: memory-map the file, so that tensors are read only when they are used.
    Raises:
        WeightsError: the file is damaged, of another format, a program, or would import or run code.
    """
    if _is_torchscript(path):
        raise WeightsError(
            "the file is a TorchScript program, which is code; save its module's state_dict instead",
            path=str(path),
        )
    try:
        # As (stand-in, name), so that each name is allowed only as its stand-in.
        with torch.serialization.safe_globals([(stand_in, name) for name, stand_in in _STAND_INS.items()]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped or None)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise _explain(path, error) from error
    except (AttributeError, TypeError, IndexError, AssertionError, OverflowError, MemoryError) as error:
        # Errors of the reader in a crafted file.
        raise _explain(path, error) from error


def _explain(path: Path, error: Exception) -> WeightsError:
    imports = _forbidden_imports(path, error)
    if imports:
        shown = ", ".join(imports[:_MAX_SHOWN_IMPORTS]) + (
            f" and {len(imports) - _MAX_SHOWN_IMPORTS} more" if len(imports) > _MAX_SHOWN_IMPORTS else ""
        )
        return WeightsError(
            f"reading the file would import or run code: {shown}; the file was rejected. If you trust it, save only "
            "its weights and classes, for example torch.save(model.state_dict(), …) and not torch.save(model, …)",
            path=str(path),
            asks_for=[*imports],
        )
    if _is_bare_pickle(path):
        return WeightsError(
            "the file is a pickle that torch.save did not write, such as detectron2's numpy arrays; save its tensors "
            "with torch.save or as safetensors",
            path=str(path),
        )
    match = re.search(r"WeightsUnpickler error:\s*(.*)", str(error))
    cause = match[1] if match is not None else (str(error).splitlines() or [type(error).__name__])[0]
    return WeightsError(
        "the file cannot be read as a checkpoint: it is damaged, incomplete, or of another format",
        path=str(path),
        cause=cause[:_MAX_CAUSE_LENGTH],
    )


def _forbidden_imports(path: Path, error: Exception) -> list[str]:
    """List the imports that made reading fail; empty if it failed for another reason."""
    try:
        # For PyTorch's current format: lists all imports without building objects.
        imports = set(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:
        # PyTorch documents no errors here, and a file that is no checkpoint may cause any. We only want the names of
        # its imports for a better message.
        imports = {name.replace("__builtin__.", "builtins.", 1) for name in _imports_of_pickles(path)}
    return sorted((imports - set(_STAND_INS)) or re.findall(r"GLOBAL (\S+)", str(error)))


def _imports_of_pickles(path: Path) -> set[str]:
    """List the names that a file of consecutive bare pickles imports, without building objects.

    PyTorch's own names are left out: its older format starts with them, and PyTorch's reader checks them.
    """
    found: set[str] = set()
    is_whole = True
    with path.open("rb") as file:
        while is_whole:
            names, is_whole = _scan_pickle(file)
            found |= names
    return {name for name in found if not name.startswith(("torch.", "collections.OrderedDict"))}


def _is_bare_pickle(path: Path) -> bool:
    """Check whether the file is exactly one pickle, and not the first of those in PyTorch's older format."""
    with path.open("rb") as file:
        if file.read(1) != pickle.PROTO or _OLDER_FORMAT in file.read(32):
            return False
        file.seek(0)
        _, is_whole = _scan_pickle(file)
        return is_whole and not file.read(1)


def _scan_pickle(file: IO[bytes]) -> tuple[set[str], bool]:
    """List the names that the pickle at the file's position imports; False if it is not a whole pickle."""
    names: set[str] = set()
    texts: list[str] = []
    memo: dict[int, str | None] = {}
    last: str | None = None
    operations: Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]] = pickletools.genops(file)
    try:
        for operation, argument, _ in operations:
            match operation.name:
                case "MEMOIZE":
                    memo[len(memo)] = last
                    continue
                case "PUT" | "BINPUT" | "LONG_BINPUT":
                    memo[argument] = last
                    continue
                case "GLOBAL" | "INST":
                    names.add(argument.replace(" ", ".", 1))
                    last = None
                case "STACK_GLOBAL":
                    names.add(".".join(texts[-2:]))
                    last = None
                case "GET" | "BINGET" | "LONG_BINGET":
                    last = memo.get(argument)
                case _:
                    last = argument if isinstance(argument, str) else None
            if last is not None:
                texts.append(last)
    except (ValueError, OverflowError, MemoryError):
        # The end of the file, bytes that are not a pickle, or a length that no memory holds.
        return names, False
    return names, True


def _is_torchscript(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False
