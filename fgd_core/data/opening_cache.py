"""Keeps the contents of an opened split in a file of flat arrays, which later openings map into memory.

The file lies in `.fgd` beside the annotations, or in the user's cache folder if nothing can be written there, or if
`FGD_CACHE` names a folder. It is used only if everything is as it was: the bytes of the annotation file, the size and
times of each image, the options, and the code that reads them. Otherwise it is replaced, so it is always safe to
delete. The bytes are read and hashed again only if the size or a time of the annotation file has changed.
"""

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import TypeAdapter

from fgd_core import confined, prediction
from fgd_core.cache_folder import VARIABLE, cache_folder
from fgd_core.data.array_file import ArrayFile, open_arrays, write_arrays
from fgd_core.data.file_dataset import Contents
from fgd_core.data.file_states import State, States, are_known, file_states, state_of
from fgd_core.data.flat_samples import Columns, FlatSamples
from fgd_core.data.packed import Packed
from fgd_core.data.samples import Category
from fgd_core.errors import StorageError
from fgd_core.spec.events import DataChecked

MIN_BYTES = 2**20
"""A smaller annotation file is read in a moment, and gets no cache."""

_FOLDER, _SUFFIX = ".fgd", ".safetensors"
_ANY_WRITE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
_CATEGORIES = TypeAdapter(tuple[Category, ...])


class Source(NamedTuple):
    """Names the files of a split, and the options with which they are read."""

    annotations: Path
    other_annotations: Path
    """Of the other split: they may decide which categories are classes."""
    images: Path
    """Folder of the images."""
    options: tuple[str, ...]


class Reading(NamedTuple):
    """Holds what was read, and from which files."""

    contents: Contents
    sha256: str
    """Of the annotation file."""
    state: State | None
    """Of the annotation file, before it was read; None if it had only just changed."""
    file_names: Packed
    """M image files in UTF-8, also those that are unusable."""
    states: States
    """(M, 3) of these files, before they were read."""


def cached(source: Source, read: Callable[[], Reading]) -> Contents:
    """Return the contents of a split from its cache; else read them and write the cache.

    Raises:
        FgdError: what `read` raises.
    """
    if not _is_large(source.annotations):
        return read().contents
    conditions, paths = _conditions(source), [*_paths(source)]
    for path in paths:
        if path.is_file() and (contents := _load(path, source, conditions)) is not None:
            return contents
    reading = read()
    if are_known(reading.states):
        for path in paths:
            if (contents := _store(path, source, reading, conditions)) is not None:
                return contents
    return reading.contents


class MappedSamples(FlatSamples):
    """Gives access to samples in a cache file; a process that receives them maps the same file."""

    def __init__(self, columns: Columns, path: Path, digest: str) -> None:
        super().__init__(columns)
        self._path, self._digest = path, digest

    def __reduce__(self) -> "tuple[Callable[[Path, str], MappedSamples], tuple[Path, str]]":
        return _map_again, (self._path, self._digest)


def _map_again(path: Path, digest: str) -> MappedSamples:
    file = open_arrays(path)
    if file is None or file.digest != digest:
        raise StorageError("the cache of the data was replaced while a process started; try again", path=str(path))
    return MappedSamples(Columns.from_arrays(file.arrays), path, digest)


def _is_large(annotations: Path) -> bool:
    try:
        return annotations.stat().st_size >= MIN_BYTES
    except OSError:
        return False  # Reading says what is wrong with the file.


def _paths(source: Source) -> Iterator[Path]:
    """Yield where the cache file may be, best place first: one name for each source, so that none is left behind."""
    files = (source.annotations, source.other_annotations, source.images)
    named = json.dumps([*map(os.path.abspath, files), *source.options])
    name = f"{source.annotations.stem}-{hashlib.sha256(named.encode()).hexdigest()[:16]}{_SUFFIX}"
    return (place / name for place in _places(source.annotations))


def _places(annotations: Path) -> Iterator[Path]:
    folder = cache_folder()
    if folder is None:
        return
    beside = annotations.absolute().parent
    # In a container, most programs run as an administrator, who may write everywhere: a read-only folder is meant so.
    if VARIABLE not in os.environ and beside.stat().st_mode & _ANY_WRITE:
        yield beside / _FOLDER
    yield folder / "data"


def _conditions(source: Source) -> list[object]:
    """Return all that can change the contents, except for the annotation file and the images."""
    other = file_states(source.other_annotations.parent, [source.other_annotations.name]).tolist()
    return [_code(), other, *source.options]


@lru_cache(maxsize=1)
def _code() -> str:
    """Return a digest of the code that reads data: another version may find other problems."""
    digest = hashlib.sha256(" ".join(map(version, ("numpy", "pillow", "pycocotools"))).encode())
    for package in (Path(__file__), Path(prediction.__file__)):
        for module in sorted(package.parent.glob("*.py")):
            digest.update(module.read_bytes())
    return digest.hexdigest()


def _load(path: Path, source: Source, conditions: list[object]) -> Contents | None:
    """Return the contents in a cache file; None if reading the data now could give other contents."""
    file = open_arrays(path)
    if file is None or file.facts.get("conditions") != json.dumps(conditions):
        return None
    if file.facts["sha256"] != _sha256(source.annotations, file.facts):
        return None
    names = [name.decode() for name in Packed.from_arrays(file.arrays, "read").all()]
    if not _may_read(source.images, names):
        return None
    return _contents(file, path) if np.array_equal(file_states(source.images, names), file.arrays["states"]) else None


def _sha256(path: Path, known: Mapping[str, str]) -> str:
    """Return the SHA-256 of a file; the known one, without reading the file, if its size and times are as they were."""
    try:
        with confined.opened(path) as file:
            if json.dumps(state_of(file.fileno(), follows=True)) == known["state"]:
                return known["sha256"]
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""  # Reading says what is wrong with the file.


def _may_read(folder: Path, names: Sequence[str]) -> bool:
    """Return whether this run may read the folders of the images: a link may lead out of the allowed ones."""
    if not confined.is_limited():
        return True
    try:
        for parent in {os.path.dirname(name) for name in names}:  # noqa: PTH120  # of a hundred thousand names
            confined.check_folder(folder / parent)
    except confined.OutsideError:
        return False
    return True


def _store(path: Path, source: Source, reading: Reading, conditions: list[object]) -> Contents | None:
    """Write a cache file and return the contents as mapped from it; None if the file cannot be written."""
    contents = reading.contents
    arrays = {**contents.samples.columns.as_arrays(), **reading.file_names.as_arrays("read"), "states": reading.states}
    facts = {
        "conditions": json.dumps(conditions),
        "sha256": reading.sha256,
        "state": json.dumps(reading.state),
        "categories": _CATEGORIES.dump_json(contents.categories).decode(),
        "checked": contents.checked.model_dump_json(),
    }
    try:
        # Who may read the annotations may read the cache.
        write_arrays(path, arrays, facts, mode=source.annotations.stat().st_mode & 0o666)
    except OSError:
        return None
    file = open_arrays(path)
    # Another process may have replaced the file meanwhile.
    return _contents(file, path) if file is not None and file.facts == facts else None


def _contents(file: ArrayFile, path: Path) -> Contents:
    return Contents(
        categories=_CATEGORIES.validate_json(file.facts["categories"]),
        samples=MappedSamples(Columns.from_arrays(file.arrays), path, file.digest),
        checked=DataChecked.model_validate_json(file.facts["checked"]),
    )
