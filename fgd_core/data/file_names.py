"""Which file of a folder a `file_name` means that is not there as it is spelled."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import unquote

from fgd_core.data.folders import files_below


@dataclass(frozen=True)
class Meant:
    file_name: str
    """Of the file that is meant or, where none is, of one that a person may have meant; relative to the folder."""
    problem: Literal["other_spelling", "file_under_other_path"]


def inside(folder: Path, file_name: str) -> str | None:
    """`file_name` relative to `folder`, which it may name itself; None where it leads out."""
    if not Path(file_name).is_absolute() and ".." not in Path(file_name).parts:
        return file_name
    root = Path(os.path.normpath(folder.absolute()))
    path = Path(os.path.normpath(root / file_name))
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else None


def meant(folder: Path, missing: Sequence[tuple[str, str]], taken: Sequence[str]) -> list[Meant | None]:
    """What each of the missing names means; None where the folder has nothing like it.

    A name is another spelling of a file where it differs by slashes, %20, Unicode form, capitals or the images folder
    in front, and is the only one. Any other path in front could name another image: train/0.jpg is not val/0.jpg.

    Args:
        missing: file names, each with what else says where the file lies (a path on the machine of the annotator), or
            an empty text.
        taken: files that other names mean.
    """
    there = _by_key(folder)
    found = [_meant(folder.absolute(), name, path, there) for name, path in missing]
    times = Counter([*taken, *(one.file_name for one in found if one is not None and one.problem == "other_spelling")])
    return [
        None if one is not None and one.problem == "other_spelling" and times[one.file_name] > 1 else one
        for one in found
    ]


def _by_key(folder: Path) -> dict[str, list[str]]:
    """All files by their key, relative to the folder."""
    found: dict[str, list[str]] = {}
    for path in files_below(folder) if folder.is_dir() else ():
        if path.exists():  # a link that leads nowhere is no file
            relative = path.relative_to(folder).as_posix()
            found.setdefault(_key(relative), []).append(relative)
    return found


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold().strip()


def _meant(folder: Path, name: str, path: str, there: dict[str, list[str]]) -> Meant | None:
    for candidate in _spellings(name, folder):
        files = there.get(_key(candidate), [])
        if candidate in files or len(files) == 1:
            return Meant(candidate if candidate in files else files[0], "other_spelling")
    # What follows the question mark of an address is no part of the file's name.
    spelled = PurePosixPath(_plain(name.partition("?")[0] if "://" in name else name))
    for tail in _tails(PurePosixPath(_plain(path))):
        files = there.get(_key(tail), [])
        if len(files) == 1 and "/" in tail and _key(tail).endswith(_key(f"/{spelled}")):
            return Meant(files[0], "other_spelling")
    own = _key(spelled.name)
    same = _key(spelled.as_posix())
    elsewhere = sorted(
        each for key, files in there.items() if key != same and key.rpartition("/")[2] == own for each in files
    )
    return Meant(elsewhere[0], "file_under_other_path") if elsewhere and own else None


def _spellings(name: str, folder: Path) -> Iterator[str]:
    for spelled in dict.fromkeys((name, name.replace("\\", "/"), _plain(name))):
        path = PurePosixPath(spelled)
        yield path.as_posix()
        for depth in range(1, len(path.parts)):
            front = path.parts[:depth]
            if tuple(map(_key, front)) == tuple(map(_key, folder.parts[-depth:])):
                yield PurePosixPath(*path.parts[depth:]).as_posix()


def _plain(name: str) -> str:
    return unquote(name.replace("\\", "/"))


def _tails(path: PurePosixPath) -> Iterator[str]:
    """The path without more and more of its first folders."""
    parts = [part for part in path.parts if part != "/"]
    return ("/".join(parts[start:]) for start in range(len(parts)))
