"""What lies in a folder, as a file browser shows it: links are followed, and files of the system are left out."""

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from fgd_core import confined
from fgd_core.data.image_files import SUFFIXES, UNREAD_SUFFIXES
from fgd_core.errors import StorageError

_OF_THE_SYSTEM = frozenset(
    {"__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
)


def is_of_the_system(name: str) -> bool:
    """Whether a file browser hides it: `._1.jpg` and `.DS_Store` of macOS, folders of thumbnails and deleted files."""
    return name.startswith(".") or name in _OF_THE_SYSTEM


def key_of(name: str) -> str:
    """Names that Windows and macOS take for the same have the same key."""
    return unicodedata.normalize("NFC", name).casefold()


def child(folder: Path, path: str) -> Path | None:
    """What lies at `path` in the folder, whatever its capitals; None where nothing does, or two things do."""
    for part in path.split("/"):
        exact = folder / part
        if exact.exists():
            folder = exact
            continue
        alike = [each for each in folder.iterdir() if key_of(each.name) == key_of(part)] if folder.is_dir() else []
        if len(alike) != 1:
            return None
        (folder,) = alike
    return folder


def files_below(folder: Path, *, skip_locked: bool = False) -> list[Path]:
    """All files in the folder and in folders below, sorted; a link to a folder that it lies in is not followed.

    Args:
        skip_locked: leave out folders that cannot be listed.
    Raises:
        StorageError: a folder cannot be listed.
    """
    parents = folder.resolve().parents if folder.is_dir() else ()
    above = frozenset((status.st_dev, status.st_ino) for status in (parent.stat() for parent in parents))
    return sorted(_walk(folder, above, skip_locked=skip_locked))


def images_below(folder: Path) -> list[Path]:
    """The image files in the folder and in folders below, sorted.

    A raw file beside an image of the same name is left out: cameras write both of one picture.
    """
    files = files_below(folder)
    images = [path for path in files if path.suffix.lower() in SUFFIXES]
    readable = {path.with_suffix("") for path in images}
    unread = [path for path in files if path.suffix.lower() in UNREAD_SUFFIXES]
    return sorted([*images, *(path for path in unread if path.with_suffix("") not in readable)])


def _walk(folder: Path, above: frozenset[tuple[int, int]], *, skip_locked: bool) -> Iterator[Path]:
    try:
        confined.check_folder(folder)
        status = folder.stat()
        identity = (status.st_dev, status.st_ino)
        with os.scandir(folder) as found:
            entries = [entry for entry in found if identity not in above and not is_of_the_system(entry.name)]
    except OSError as error:
        if skip_locked:
            return
        raise StorageError("a folder cannot be listed", path=str(folder), cause=str(error)) from error
    for entry in entries:
        if _is_folder(entry):
            yield from _walk(folder / entry.name, above | {identity}, skip_locked=skip_locked)
        else:
            yield folder / entry.name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # A link to itself.
