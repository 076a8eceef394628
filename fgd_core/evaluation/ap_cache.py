"""Remembers the APs of teachers in the user's cache folder: a later job with the same teacher, data and input measures
none."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pydantic import JsonValue

from fgd_core.cache_folder import cache_folder
from fgd_core.errors import StorageError
from fgd_core.ranks import from_first, is_first
from fgd_core.storage import write_atomically


def remembered_ap(key: str, measure: Callable[[], JsonValue]) -> JsonValue:
    """Return the value that an earlier job on this machine measured for the key, or else measure and store it.

    The cache is best effort: a file that cannot be read or written only costs a measurement. Call it in each rank.

    Args:
        key: identifies everything that determines the value; a valid file name.
    """
    folder = cache_folder()
    path = folder / "teachers" / f"{key}.json" if folder is not None else None
    known = from_first(lambda: _read(path))
    if known:
        return known[0]
    value = measure()
    if path is not None and is_first():
        with suppress(StorageError, OSError):
            write_atomically(path, lambda file: file.write(json.dumps(value).encode()))
    return value


def _read(path: Path | None) -> list[JsonValue]:
    """Return the stored value in a list; an empty list if there is none."""
    with suppress(OSError, ValueError):
        return [json.loads(path.read_bytes())] if path is not None else []
    return []
