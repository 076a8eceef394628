"""Lists folders like a file browser: follows links, and leaves out the files of the operating system."""

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from fgd_core import confined
from fgd_core.data.image_headers import UNREAD_SUFFIXES
from fgd_core.errors import StorageError
from fgd_core.prediction.pixels import SUFFIXES

_SYSTEM_FOLDERS = frozenset(
    {"__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
)


def is_system_file(name: str) -> bool:
    """Return whether a file browser hides it: `._1.jpg`, `.DS_Store`, folders of thumbnails or deleted files."""
    return name.startswith(".") or name in _SYSTEM_FOLDERS


def key_of(name: str) -> str:
    """Return the same key for names that Windows or macOS treat as equal."""
    return unicodedata.normalize("NFC", name).casefold()


def find_child(folder: Path, path: str) -> Path | None:
    """Find a relative path in a folder, ignoring case; None if nothing matches, or several entries do."""
    for part in path.split("/"):
        exact = folder / part
        if exact.exists():
            folder = exact
            continue
        matches = [each for each in folder.iterdir() if key_of(each.name) == key_of(part)] if folder.is_dir() else []
        if len(matches) != 1:
            return None
        (folder,) = matches
    return folder


def files_below(folder: Path, *, skip_unreadable: bool = False) -> list[Path]:
    """Return all files in the folder and its subfolders, sorted. Does not follow a link to a parent folder.

    Args:
        skip_unreadable: leave out folders that cannot be listed.
    Raises:
        StorageError: a folder cannot be listed.
    """
    parents = folder.resolve().parents if folder.is_dir() else ()
    above = frozenset((status.st_dev, status.st_ino) for status in (parent.stat() for parent in parents))
    return sorted(_walk(folder, above, skip_unreadable=skip_unreadable))


def images_below(folder: Path) -> list[Path]:
    """Return the image files in the folder and its subfolders, sorted.

    Leaves out a raw file if an image of the same name exists: cameras write both for one picture.
    """
    files = files_below(folder)
    images = [path for path in files if path.suffix.lower() in SUFFIXES]
    readable = {path.with_suffix("") for path in images}
    unread = [path for path in files if path.suffix.lower() in UNREAD_SUFFIXES]
    return sorted([*images, *(path for path in unread if path.with_suffix("") not in readable)])


def _walk(folder: Path, above: frozenset[tuple[int, int]], *, skip_unreadable: bool) -> Iterator[Path]:
    try:
        confined.check_folder(folder)
        status = folder.stat()
        identity = (status.st_dev, status.st_ino)
        with os.scandir(folder) as listing:
            entries = [entry for entry in listing if identity not in above and not is_system_file(entry.name)]
    except OSError as error:
        if skip_unreadable:
            return
        raise StorageError("a folder cannot be listed", path=str(folder), cause=str(error)) from error
    for entry in entries:
        if _is_folder(entry):
            yield from _walk(folder / entry.name, above | {identity}, skip_unreadable=skip_unreadable)
        else:
            yield folder / entry.name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # A link to itself.
