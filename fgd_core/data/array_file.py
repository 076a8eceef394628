"""Writes named arrays to one file, and maps them into memory: processes that read the same file share its pages.

The format is safetensors. A file is used only if the digest of its arrays is right, so a file that was written
half-way, or replaced while it was opened, is never taken for a whole one.
"""

import hashlib
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

Arrays: TypeAlias = Mapping[str, npt.NDArray[np.generic]]

_DIGEST, _PARTIAL = "digest", ".partial"
_ABANDONED_AFTER_S = 3600.0


class ArrayFile(NamedTuple):
    """Holds the contents of a file."""

    arrays: Arrays
    """Mapped; callers must not modify them."""
    facts: Mapping[str, str]
    digest: str
    """SHA-256 of the arrays."""


def write_arrays(path: Path, arrays: Arrays, facts: Mapping[str, str], *, mode: int) -> None:
    """Write a file that appears at `path` only when it is complete.

    Several processes may write the same file at once: each writes to a name of its own, and the last one stays.

    Args:
        mode: permissions of the file.
    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.", suffix=_PARTIAL, delete=False) as file:
        partial = Path(file.name)
    try:
        whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        save_file(whole, partial, {**facts, _DIGEST: _digest(whole)})
        partial.chmod(mode)
        partial.replace(path)
    except SafetensorError as error:
        raise OSError(f"the arrays could not be written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def open_arrays(path: Path) -> ArrayFile | None:
    """Map a file; None if it is missing, incomplete or damaged."""
    try:
        with safe_open(path, framework="pt") as file:  # with "np", each array would be a copy
            facts = file.metadata() or {}
            arrays = {name: file.get_tensor(name).numpy() for name in file.keys()}  # noqa: SIM118  # not a dict
    except (OSError, RuntimeError, SafetensorError):
        return None
    digest = facts.pop(_DIGEST, "")
    return ArrayFile(arrays, facts, digest) if digest == _digest(arrays) else None


def _remove_abandoned(path: Path) -> None:
    """Remove what processes left behind that were killed while they wrote."""
    for partial in path.parent.glob(f"{path.name}.*{_PARTIAL}"):
        if time.time() - partial.stat().st_mtime > _ABANDONED_AFTER_S:
            partial.unlink(missing_ok=True)


def _digest(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
