"""The formats that weights are stored in: PyTorch's, safetensors, and safetensors or PyTorch files with an index."""

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from fgd_core import confined
from fgd_core.detectors.weights.files.pickles import read_pickle
from fgd_core.errors import WeightsError

_INDEX = ".index.json"
_LONGEST_HEADER = 100_000_000
"""Bytes that safetensors allows itself for the names and shapes of a file."""

# First bytes -> what such a file is. None of them holds weights.
_NO_WEIGHTS = (
    (
        b"version https://git-lfs",
        "a pointer of Git LFS and not the file that it stands for; fetch it with git lfs pull",
    ),
    (b"<", "a web page or XML and not a checkpoint; download the file itself"),
    (b"\x89HDF", "of HDF5 (Keras) and not a checkpoint of PyTorch; convert it there"),
)


def read_content(path: Path, *, mapped: bool = False) -> object:
    """What is in a file of weights; nothing of it is run.

    Args:
        mapped: tensors are read from the file when they are used, and not now.
    Raises:
        WeightsError: no such file, a damaged one, one of another kind, or one that holds code.
    """
    if path.is_dir():
        raise WeightsError("this is a folder; name the file in it, such as model.safetensors", path=str(path))
    if not path.is_file():
        raise WeightsError(
            "there is no such file; check the path, put the file there, or let the job that makes it end",
            path=str(path),
        )
    try:
        with confined.pinned(path) as held:
            return _read(held, path, mapped=mapped)
    except WeightsError as error:
        if "path" in error.details:
            error.details["path"] = str(path)
        raise
    except OSError as error:
        raise WeightsError(f"the file cannot be opened: {error.strerror}", path=str(path)) from error


def _read(held: Path, path: Path, *, mapped: bool) -> object:
    """
    Args:
        held: leads to the file that was opened under its own path.
    """
    if path.name.endswith(_INDEX):
        return _read_shards(held, path)
    with held.open("rb") as file:
        start = file.read(32)
    for first, what in _NO_WEIGHTS:
        if start.startswith(first):
            raise WeightsError(f"the file is {what}", path=str(path))
    if _is_safetensors(path, start):
        return _read_safetensors(held)
    return read_pickle(held, mapped=mapped)


def _is_safetensors(path: Path, start: bytes) -> bool:
    """By its name, or by its beginning: the length of a header in JSON, and the header."""
    is_so_called = path.suffix == ".safetensors"
    return is_so_called or (start[8:9] == b"{" and 0 < int.from_bytes(start[:8], "little") <= _LONGEST_HEADER)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError  # noqa: PLC0415  (most files are PyTorch's)
    from safetensors.torch import load_file  # noqa: PLC0415

    try:
        tensors: dict[str, Tensor] = load_file(path, device="cpu")
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise WeightsError(
            "the file cannot be read as safetensors: it is damaged, cut short, or of another kind",
            path=str(path),
            cause=str(error)[:200],
        ) from error
    return tensors


def content_files(path: Path) -> list[Path]:
    """All files that the weights at `path` are made of: the file itself and, where it is an index, those that it names.

    Raises:
        WeightsError: an index cannot be read, or names a file that does not lie beside it.
    """
    if not path.name.endswith(_INDEX):
        return [path]
    with confined.pinned(path) as held:
        return [path, *_shards(path, _places(held, path))]


def _read_shards(held: Path, path: Path) -> dict[str, Tensor]:
    """The tensors of all files that an index names; they lie beside it."""
    places = _places(held, path)
    tensors: dict[str, Tensor] = {}
    for shard in _shards(path, places):
        content = read_content(shard)
        if isinstance(content, dict):
            tensors |= {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    lacking = [key for key in places if key not in tensors]
    if lacking:
        raise WeightsError(
            f"{len(lacking)} of the {len(places)} keys of the index are not in the files that it names",
            path=str(path),
            lacking=[*lacking[:5]],
        )
    return tensors


def _places(held: Path, path: Path) -> dict[str, str]:
    """The file of each key."""
    try:
        index = json.loads(held.read_text(encoding="utf-8"))
        return {str(key): str(name) for key, name in index["weight_map"].items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise WeightsError(
            "the index cannot be read: it has no `weight_map` of keys and files", path=str(path)
        ) from error


def _shards(path: Path, places: Mapping[str, str]) -> list[Path]:
    shards = []
    for name in sorted(set(places.values())):
        shard = path.parent / name
        # Neither `../` nor a link leads out of the folder: only the index itself was allowed.
        if shard.resolve().parent != path.parent.resolve() or name.endswith(_INDEX):
            raise WeightsError("the index names a file that does not lie beside it", path=str(path), file=name)
        shards.append(shard)
    return shards
