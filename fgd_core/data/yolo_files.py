"""The images of a YOLO data set: where the entries of data.yaml lead, and what a list of images names."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fgd_core.data.folders import images_below
from fgd_core.data.samples import also_called
from fgd_core.data.text_files import read_text
from fgd_core.data.yolo_yaml import DataYaml, inside
from fgd_core.errors import DataError, StorageError


@dataclass(frozen=True)
class SplitFiles:
    entry: str
    """As data.yaml calls it."""
    folder: Path
    """That the names are relative to."""
    names: list[str]
    """In the order of the list where the entry is a list, else sorted."""
    lists: tuple[Path, ...]
    """The files that list images; no files of labels."""


def split_files(data: DataYaml, entry: str) -> SplitFiles:
    """The images of an entry such as `train`.

    Raises:
        DataError: there is no such entry, or it leads nowhere or out of the root.
        StorageError: a folder or a list of images cannot be read.
    """
    entry = next((name for name in (entry, *also_called(entry)) if name in data.entries), entry)
    value = data.entries.get(entry)
    places = [value] if isinstance(value, str) else value
    if not isinstance(places, list) or not places or not all(isinstance(place, str) for place in places):
        known = [key for key in data.entries if key in ("train", "val", "valid", "test")]
        raise DataError(
            f"data.yaml has no {entry!r} split; write the folder of its images there, or name another entry in "
            "data.train and data.val",
            entries=[*known],
        )
    found = [_place(data, place) for place in places]
    lists = tuple(place for place in found if not place.is_dir())
    if len(found) == 1 and not lists:
        return SplitFiles(entry, found[0], _names_below(found[0], found[0]), ())
    names = [name for place in found for name in _names_at(data, place)]
    return SplitFiles(entry, data.root, names, lists)


def _place(data: DataYaml, told: str) -> Path:
    found = _found(data, told, [data.root, data.path.parent.absolute()])
    if found is not None:
        return found
    passed_over = ""
    if data.passed_over is not None:
        passed_over = (
            f", and its `path` ({data.passed_over}) leads to no folder inside of {data.root}; set data.root to the "
            "folder that holds all of it"
        )
    if inside(data.root, told) is None:
        raise DataError(
            "data.yaml names a place outside of its own folder; set data.root to the folder that holds both",
            place=told,
            root=str(data.root),
        )
    raise DataError(
        f"data.yaml names a place that is not there{passed_over or '; correct it'}",
        place=told,
        path=str(inside(data.root, told)),
    )


def _found(data: DataYaml, told: str, starts: Sequence[Path]) -> Path | None:
    """What is there below the root under the name, as it stands or as another machine would write it.

    Backslashes separate folders on Windows, and the first folders of a path may be those of another machine, or
    `data/` as CVAT writes it. The longest end of the path that is there is meant.
    """
    spellings = list(dict.fromkeys((told, told.replace("\\", "/"))))
    for spelling in spellings:
        for start in starts:
            path = inside(data.root, start / spelling)
            if path is not None and _is_there(path):
                return path
    if Path(spellings[-1]).is_absolute() and _is_there(Path(spellings[-1])):
        return None  # A place of this machine, and it lies elsewhere.
    parts = [part for part in PurePosixPath(spellings[-1]).parts if part not in ("/", ".", "..")]
    for first in range(len(parts)):
        for start in starts:
            path = inside(data.root, start.joinpath(*parts[first:]))
            if path is not None and _is_there(path):
                return path
    return None


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False  # A name that is too long for any file.


def _names_at(data: DataYaml, place: Path) -> Iterator[str]:
    if place.is_dir():
        yield from _names_below(place, data.root)
        return
    try:
        lines = read_text(place).splitlines()
    except UnicodeError as error:
        raise DataError("the list of images is no text in UTF-8; save it as UTF-8", path=str(place)) from error
    except OSError as error:
        raise StorageError("the list of images cannot be read", path=str(place), cause=str(error)) from error
    for line in filter(None, map(str.strip, lines)):
        # Relative to the list where it says so, to the root otherwise.
        starts = [place.parent, data.root] if line.startswith(("./", ".\\")) else [data.root, place.parent]
        path = _found(data, line, starts) or inside(data.root, line.replace("\\", "/"))
        if path is None:
            raise DataError(
                "a list of images leads out of the folder of data.yaml; set data.root to the folder that holds both",
                path=str(place),
                line=line,
            )
        yield path.relative_to(data.root).as_posix()


def _names_below(folder: Path, relative_to: Path) -> list[str]:
    return [path.relative_to(relative_to).as_posix() for path in images_below(folder)]
