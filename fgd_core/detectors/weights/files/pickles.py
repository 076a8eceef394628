"""Checkpoints of mmdetection, read without running anything that their authors wrote into them.

Files of its zoo and of its trainer hold more than tensors: numbers of numpy, and objects of mmcv and mmengine for logs
and settings. Those are read as inert stand-ins, for nobody here needs them; whatever else a file wants imported is
refused by name.
"""

import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.dtypes
import torch
from torch import Tensor

from fgd_core.errors import WeightsError

_DISTILLED = "student."
"""What the authors' own code of FGD puts before the names of a student's weights."""


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
_HARMLESS: Mapping[str, Callable[..., Any]] = {
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
    **dict.fromkeys(("mmcv.utils.config.ConfigDict", "mmengine.config.config.ConfigDict"), _PlainDict),
    "addict.addict.Dict": _PlainDict,
    **{
        f"pathlib.{name}": _Inert
        for name in ("Path", "PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath", "_local.PosixPath")
    },
}


@dataclass(frozen=True, kw_only=True)
class MmdetectionFile:
    path: Path
    state: dict[str, Tensor]
    """By mmdetection's names for a detector: without what wrappers put before them."""
    classes: tuple[str, ...] | None
    """In the order of the outputs; None where the file does not say them."""
    config: str
    """The text of the settings it was trained with; empty where the file does not have it."""
    version: str | None
    """Of mmdetection."""
    others: tuple[str, ...] = ()
    """Keys of what was trained beside the detector."""


def read_mmdetection(path: Path) -> MmdetectionFile:
    """
    Raises:
        WeightsError: no such file, a damaged one, one that holds code, or one without weights.
    """
    if not path.is_file():
        raise WeightsError("there is no such file; check the path", path=str(path))
    try:
        # Each as (stand-in, name): a name is then allowed for what it stands for and nothing else.
        with torch.serialization.safe_globals([(stand_in, name) for name, stand_in in _HARMLESS.items()]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise _refusal(path, error) from error
    except (AttributeError, TypeError, IndexError, AssertionError, UnicodeDecodeError) as error:
        # What the reader meets in a file that was made by hand.
        raise _refusal(path, error) from error
    weights, meta = _parts(content, path)
    weights = {key.removeprefix("module."): value for key, value in weights.items()}
    is_distilled = any(key.startswith(f"{_DISTILLED}backbone.") for key in weights)
    own = {k.removeprefix(_DISTILLED): v for k, v in weights.items() if not is_distilled or k.startswith(_DISTILLED)}
    return MmdetectionFile(
        path=path,
        state=own,
        classes=_classes(meta),
        config=_text(meta.get("config")) or _text(meta.get("cfg")),
        version=_text(meta.get("mmdet_version")) or None,
        others=tuple(key for key in weights if is_distilled and not key.startswith(_DISTILLED)),
    )


def _parts(content: object, path: Path) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """Weights by name, and what is said about them."""
    meta: Mapping[str, Any] = {}
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        said = content.get("meta")
        meta = said if isinstance(said, dict) else {}
        content = content["state_dict"]
    tensors = {}
    if isinstance(content, dict):
        tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(
            "the file holds no weights: neither a state_dict nor tensors by name; give a checkpoint of mmdetection",
            path=str(path),
        )
    return tensors, meta


def _classes(meta: Mapping[str, Any]) -> tuple[str, ...] | None:
    about_data = meta.get("dataset_meta")
    for said in (meta, about_data if isinstance(about_data, dict) else {}):
        for key in ("CLASSES", "classes"):
            names = said.get(key)
            if isinstance(names, str):
                return (names,)
            if isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names):
                return tuple(names)
    return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _refusal(path: Path, error: Exception) -> WeightsError:
    asked = _unwanted(path, error)
    if asked:
        return WeightsError(
            f"the file wants code imported or run: {', '.join(asked)}; it was not read. Where you trust it, save its "
            "state_dict and meta alone, with plain values",
            path=str(path),
            asks_for=[*asked],
        )
    said = re.search(r"WeightsUnpickler error:\s*(.*)", str(error))
    cause = said[1] if said is not None else (str(error).splitlines() or [type(error).__name__])[0]
    return WeightsError(
        "the file cannot be read as a checkpoint: it is damaged, cut short, or of another kind",
        path=str(path),
        cause=cause[:200],
    )


def _unwanted(path: Path, error: Exception) -> list[str]:
    """What the file wants imported or run and may not have; empty where that is not the trouble."""
    try:
        # Of a file in PyTorch's present format all at once, without building anything.
        asked = set(torch.serialization.get_unsafe_globals_in_checkpoint(path)) - set(_HARMLESS)
    except Exception:  # an older format, or no checkpoint at all: the reader itself has said the first one
        asked = set()
    return sorted(asked or re.findall(r"GLOBAL (\S+)", str(error)))
