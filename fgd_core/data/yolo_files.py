"""Finds the images of a YOLO split: in the folders and lists of images that data.yaml names."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fgd_core.data.folders import images_below
from fgd_core.data.samples import split_aliases
from fgd_core.data.text_files import read_lines
from fgd_core.data.yolo_yaml import DataYaml, inside
from fgd_core.errors import DataError


@dataclass(frozen=True)
class SplitFiles:
    """Holds the images of one split."""

    entry: str
    """Name of the split in data.yaml."""
    folder: Path
    """Folder that `names` are relative to."""
    names: list[str]
    """Image files, in the order of a list of images, or sorted."""
    lists: tuple[Path, ...]
    """Text files that list images, and are not label files."""


def split_files(data: DataYaml, entry: str) -> SplitFiles:
    """Find the images of an entry such as `train`.

    Raises:
        DataError: data.yaml has no such entry, or its path does not exist or leads out of the root.
        StorageError: a folder or a list of images cannot be read.
    """
    entry = next((name for name in (entry, *split_aliases(entry)) if name in data.entries), entry)
    value = data.entries.get(entry)
    places = [value] if isinstance(value, str) else value
    if not isinstance(places, list) or not places or not all(isinstance(place, str) for place in places):
        known = [key for key in data.entries if key in ("train", "val", "valid", "test")]
        raise DataError(
            f"data.yaml has no {entry!r} split; add it with the folder of its images, or set data.train and data.val "
            "to existing entries",
            entries=[*known],
        )
    paths = [_resolve_entry(data, place) for place in places]
    lists = tuple(path for path in paths if not path.is_dir())
    if len(paths) == 1 and not lists:
        return SplitFiles(entry, paths[0], _names_below(paths[0], paths[0]), ())
    names = [name for path in paths for name in _names_at(data, path)]
    return SplitFiles(entry, data.root, names, lists)


def _resolve_entry(data: DataYaml, place: str) -> Path:
    """Return the folder or list of images that an entry of data.yaml names."""
    path = _find_path(data, place, [data.root, data.path.parent.absolute()])
    if path is not None:
        return path
    if inside(data.root, place) is None:
        raise DataError(
            "data.yaml names a path outside its own folder; set data.root to the folder that contains both",
            place=place,
            root=str(data.root),
        )
    cure = "; correct it"
    if data.ignored_path is not None:
        cure = (
            f", and its `path` ({data.ignored_path}) is not a folder inside {data.root}; set data.root to the folder "
            "that contains the whole data set"
        )
    raise DataError(
        f"data.yaml names a path that does not exist{cure}", place=place, path=str(inside(data.root, place))
    )


def _find_path(data: DataYaml, place: str, starts: Sequence[Path]) -> Path | None:
    """Find an existing path below the root, also if `place` was written on another machine.

    Windows separates folders with backslashes. The first folders of a path may be those of another machine, or `data/`
    as CVAT writes it. If several ends of the path exist, the longest is used.
    """
    spellings = list(dict.fromkeys((place, place.replace("\\", "/"))))
    for spelling in spellings:
        for start in starts:
            path = inside(data.root, start / spelling)
            if path is not None and _exists(path):
                return path
    if Path(spellings[-1]).is_absolute() and _exists(Path(spellings[-1])):
        return None  # The path exists on this machine, but outside the root.
    parts = [part for part in PurePosixPath(spellings[-1]).parts if part not in ("/", ".", "..")]
    for first in range(len(parts)):
        for start in starts:
            path = inside(data.root, start.joinpath(*parts[first:]))
            if path is not None and _exists(path):
                return path
    return None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False  # The name is too long for a file.


def _names_at(data: DataYaml, place: Path) -> Iterator[str]:
    """Yield the images of a folder, or of a list of images, relative to the root."""
    if place.is_dir():
        yield from _names_below(place, data.root)
        return
    for line in read_lines(place, "list of images"):
        # A path that starts with ./ is relative to the list, any other path to the root.
        starts = [place.parent, data.root] if line.startswith(("./", ".\\")) else [data.root, place.parent]
        path = _find_path(data, line, starts) or inside(data.root, line.replace("\\", "/"))
        if path is None:
            raise DataError(
                "a list of images leads out of the folder of data.yaml; set data.root to the folder that contains both",
                path=str(place),
                line=line,
            )
        yield path.relative_to(data.root).as_posix()


def _names_below(folder: Path, relative_to: Path) -> list[str]:
    return [path.relative_to(relative_to).as_posix() for path in images_below(folder)]
