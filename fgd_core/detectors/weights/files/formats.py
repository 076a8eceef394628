"""Reads the formats of weights: PyTorch, safetensors, and an index of several such files."""

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from fgd_core import confined
from fgd_core.detectors.weights.files.pickles import read_pickle
from fgd_core.errors import WeightsError

_INDEX = ".index.json"
_MAX_HEADER_BYTES = 100_000_000
"""safetensors' limit for the names and shapes of a file."""

# First bytes of files without weights -> what such a file is.
_OTHER_FORMATS = (
    (
        b"version https://git-lfs",
        "a Git LFS pointer and not the file itself; download the file with git lfs pull",
    ),
    (b"<", "a web page or XML and not a checkpoint; download the checkpoint itself"),
    (b"\x89HDF", "HDF5 (Keras) and not a PyTorch checkpoint; convert it to PyTorch"),
)


def read_content(path: Path, *, mapped: bool = False) -> object:
    """Read the content of a file of weights, without running code in it.

    Args:
        mapped: memory-map the file, so that tensors are read only when they are used.
    Raises:
        WeightsError: the file does not exist, is damaged, is of another format, or contains code.
    """
    if path.is_dir():
        raise WeightsError("this is a folder; give the file in it, such as model.safetensors", path=str(path))
    if not path.is_file():
        raise WeightsError(
            "the file does not exist; check the path, put the file there, or wait for the job that creates it",
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
    """Read a file by its format.

    Args:
        held: a path to the already opened file.
        path: the file's own path, for messages.
    """
    if path.name.endswith(_INDEX):
        return _read_shards(held, path)
    with held.open("rb") as file:
        start = file.read(32)
    for first, what in _OTHER_FORMATS:
        if start.startswith(first):
            raise WeightsError(f"the file is {what}", path=str(path))
    if _is_safetensors(path, start):
        return _read_safetensors(held)
    return read_pickle(held, mapped=mapped)


def _is_safetensors(path: Path, start: bytes) -> bool:
    """Recognise the format by the file's suffix, or by its start: the length of a JSON header, then the header."""
    has_suffix = path.suffix == ".safetensors"
    return has_suffix or (start[8:9] == b"{" and 0 < int.from_bytes(start[:8], "little") <= _MAX_HEADER_BYTES)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError  # noqa: PLC0415  (most files are PyTorch's)
    from safetensors.torch import load_file  # noqa: PLC0415

    try:
        tensors: dict[str, Tensor] = load_file(path, device="cpu")
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise WeightsError(
            "the file cannot be read as safetensors: it is damaged, incomplete, or of another format",
            path=str(path),
            cause=str(error)[:200],
        ) from error
    return tensors


def content_files(path: Path) -> list[Path]:
    """List all files of the weights at `path`: the file itself and, for an index, the files that it names.

    Raises:
        WeightsError: the index cannot be read, or names a file outside its folder.
    """
    if not path.name.endswith(_INDEX):
        return [path]
    with confined.pinned(path) as held:
        return [path, *_shards(path, _file_of_key(held, path))]


def _read_shards(held: Path, path: Path) -> dict[str, Tensor]:
    """Read the tensors of all files that an index names; the files are in the index's folder."""
    file_of = _file_of_key(held, path)
    tensors: dict[str, Tensor] = {}
    for shard in _shards(path, file_of):
        content = read_content(shard)
        if isinstance(content, dict):
            tensors |= {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    missing = [key for key in file_of if key not in tensors]
    if missing:
        raise WeightsError(
            f"{len(missing)} of the {len(file_of)} keys of the index are missing in the files that it names",
            path=str(path),
            lacking=[*missing[:5]],
        )
    return tensors


def _file_of_key(held: Path, path: Path) -> dict[str, str]:
    """Read the file name of each key from an index."""
    try:
        index = json.loads(held.read_text(encoding="utf-8"))
        return {str(key): str(name) for key, name in index["weight_map"].items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise WeightsError(
            "the index cannot be read: it needs a `weight_map` of keys and files", path=str(path)
        ) from error


def _shards(path: Path, file_of: Mapping[str, str]) -> list[Path]:
    shards = []
    for name in sorted(set(file_of.values())):
        shard = path.parent / name
        # Only the index itself was checked, so neither `../` nor a link may lead outside its folder.
        if shard.resolve().parent != path.parent.resolve() or name.endswith(_INDEX):
            raise WeightsError("the index names a file outside its own folder", path=str(path), file=name)
        shards.append(shard)
    return shards
