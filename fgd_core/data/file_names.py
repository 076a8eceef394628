"""Finds the file that a `file_name` means if no file is spelled exactly like it."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Literal
from urllib.parse import unquote

from fgd_core.data.folders import files_below, key_of


@dataclass(frozen=True)
class Match:
    """Holds the file that a name means or may mean."""

    file_name: str
    """Path of the file, relative to the folder."""
    problem: Literal["other_spelling", "file_under_other_path"]
    """`other_spelling`: the name means this file. `file_under_other_path`: it may mean this file or another one."""


def relative_name(folder: Path, file_name: str) -> str | None:
    """Return `file_name` relative to `folder`; it may contain the folder's path. None if it leads out of the folder."""
    # Of a hundred thousand names, most are plain; a `Path` of each takes a second.
    if not file_name.startswith("/") and (".." not in file_name or ".." not in PurePath(file_name).parts):
        return file_name
    root = Path(os.path.normpath(folder.absolute()))
    path = Path(os.path.normpath(root / file_name))
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else None


def find_matches(folder: Path, missing: Sequence[tuple[str, str]], taken: Sequence[str]) -> list[Match | None]:
    """Find a file for each missing name; None if the folder contains no similar file.

    A name is another spelling of a file if it differs only by slashes, %20, Unicode form, capitals or the images folder
    in front, and if no other file matches. With any other path in front, the name may mean a different image:
    train/0.jpg is not val/0.jpg.

    Args:
        missing: for each image its file name, and its path on the annotator's machine or an empty text.
        taken: files that other images use.
    """
    files_by_key = _files_by_key(folder)
    matches = [_match(folder.absolute(), name, path, files_by_key) for name, path in missing]
    uses = Counter([*taken, *(each.file_name for each in matches if each and each.problem == "other_spelling")])
    return [
        None if each and each.problem == "other_spelling" and uses[each.file_name] > 1 else each for each in matches
    ]


def _files_by_key(folder: Path) -> dict[str, list[str]]:
    """Return the paths of all files, relative to the folder, by their key."""
    files: dict[str, list[str]] = {}
    for path in files_below(folder) if folder.is_dir() else ():
        if path.exists():  # False for a broken link
            relative = path.relative_to(folder).as_posix()
            files.setdefault(_key(relative), []).append(relative)
    return files


def _key(name: str) -> str:
    return key_of(name).strip()


def _match(folder: Path, name: str, path: str, files_by_key: dict[str, list[str]]) -> Match | None:
    for candidate in _spellings(name, folder):
        files = files_by_key.get(_key(candidate), [])
        if candidate in files or len(files) == 1:
            return Match(candidate if candidate in files else files[0], "other_spelling")
    # The query of a URL, after the question mark, is not a part of the file name.
    spelled = PurePosixPath(_unquoted(name.partition("?")[0] if "://" in name else name))
    for tail in _tails(PurePosixPath(_unquoted(path))):
        files = files_by_key.get(_key(tail), [])
        if len(files) == 1 and "/" in tail and _key(tail).endswith(_key(f"/{spelled}")):
            return Match(files[0], "other_spelling")
    last_part = _key(spelled.name)
    same = _key(spelled.as_posix())
    elsewhere = sorted(
        file
        for key, files in files_by_key.items()
        if key != same and key.rpartition("/")[2] == last_part
        for file in files
    )
    return Match(elsewhere[0], "file_under_other_path") if elsewhere and last_part else None


def _spellings(name: str, folder: Path) -> Iterator[str]:
    """Yield `name` with plain slashes and characters, and without the last parts of the folder's path in front."""
    for spelled in dict.fromkeys((name, name.replace("\\", "/"), _unquoted(name))):
        path = PurePosixPath(spelled)
        yield path.as_posix()
        for depth in range(1, len(path.parts)):
            front = path.parts[:depth]
            if tuple(map(_key, front)) == tuple(map(_key, folder.parts[-depth:])):
                yield PurePosixPath(*path.parts[depth:]).as_posix()


def _unquoted(name: str) -> str:
    return unquote(name.replace("\\", "/"))


def _tails(path: PurePosixPath) -> Iterator[str]:
    """Yield the path, then the path without its first folder, and so on."""
    parts = [part for part in path.parts if part != "/"]
    return ("/".join(parts[start:]) for start in range(len(parts)))
