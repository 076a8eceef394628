"""data.yaml of a data set for YOLO: its classes, the keypoints of its labels, and the entries that name its splits.

Every word is kept as its author wrote it. YAML makes a truth value of the class `no`, a number of `010` and a date of
`2024-01-01`; a name is none of these.
"""

import os.path
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import yaml

from fgd_core.data.text_files import read_text
from fgd_core.errors import DataError, StorageError

Task: TypeAlias = Literal["detect", "segment", "obb", "pose"]

_NOTHING = (None, "", "~", "null", "Null", "NULL")


@dataclass(frozen=True)
class DataYaml:
    path: Path
    root: Path
    """Folder that relative paths start from, and that all lie in."""
    passed_over: str | None
    """What `path` in the file says, where that leads to no folder below the root."""
    names: tuple[tuple[int, str], ...]
    """(class index, name) in the order of the index."""
    kpt_shape: tuple[int, int] | None
    """(number of keypoints, 2 or 3 numbers for each): labels are boxes followed by keypoints."""
    task: Task | None
    entries: Mapping[str, Any]
    """Text, or lists and mappings of text."""


class _TextLoader(yaml.BaseLoader):
    """Leaves every scalar as the text that it is, and refuses a key that stands twice, of which one would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        found = super().construct_mapping(node, deep=deep)
        if len(found) < len(node.value):
            words = [key.value for key, _ in node.value]
            twice = next(word for word in words if words.count(word) > 1)
            raise DataError(
                f"data.yaml has the key {twice!r} twice; delete or rename one of the two",
                path=node.start_mark.name,
                line=node.start_mark.line + 1,
            )
        return found


def read_data_yaml(path: Path, root: Path | None) -> DataYaml:
    """
    Raises:
        DataError: the file is missing, is no YAML, or does not name its classes.
        StorageError: the file cannot be read.
    """
    document = _load(path, "correct data.data_yaml")
    if not isinstance(document, dict):
        raise DataError("the file names nothing; write `names`, `train` and `val` there", path=str(path))
    own = Path(os.path.normpath((root if root is not None else path.parent).absolute()))
    told = document.get("path")
    inner = _inner_root(own, path, told) if isinstance(told, str) and told not in _NOTHING else own
    return DataYaml(
        path=path,
        root=inner or own,
        passed_over=told if inner is None else None,
        names=_names(document, path, [inner or own, own]),
        kpt_shape=_kpt_shape(document.get("kpt_shape"), path),
        task=document["task"] if document.get("task") in ("detect", "segment", "obb", "pose") else None,
        entries={key: value for key, value in document.items() if value not in _NOTHING},
    )


def inside(root: Path, path: Path | str) -> Path | None:
    """`path`, relative to the root or absolute, without `..`; None where it leads out of the root."""
    normal = Path(os.path.normpath(root / path))
    return normal if normal.is_relative_to(root) else None


def _load(path: Path, cure: str) -> Any:
    try:
        loader = _TextLoader(read_text(path))
        loader.name = str(path)
        return loader.get_single_data()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise DataError(f"there is no such file; {cure}", path=str(path)) from error
    except OSError as error:
        raise StorageError("the file cannot be read", path=str(path), cause=str(error)[:400]) from error
    except UnicodeError as error:
        raise DataError("the file is no text in UTF-8 or UTF-16; save it as UTF-8", path=str(path)) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise DataError(
            "the file is no YAML; correct it where `cause` says", path=str(path), cause=str(error)
        ) from error


def _inner_root(own: Path, path: Path, told: str) -> Path | None:
    # Many files name the place where they lay when they were made, which is not here: such a `path` is passed over.
    for start in (own, path.parent.absolute()):
        found = inside(own, start / told.replace("\\", "/"))
        if found is not None and found.is_dir():
            return found
    return None


def _kpt_shape(told: Any, path: Path) -> tuple[int, int] | None:
    if told in _NOTHING:
        return None
    match told:
        case [str(count), str(numbers)] if count.isdecimal() and numbers in ("2", "3"):
            return int(count), int(numbers)
    raise DataError(
        "kpt_shape in data.yaml is not [number of keypoints, 2 or 3]; correct it, for example `kpt_shape: [17, 3]`",
        path=str(path),
        kpt_shape=str(told)[:60],
    )


def _names(document: Mapping[str, Any], path: Path, folders: list[Path]) -> tuple[tuple[int, str], ...]:
    names = document.get("names")
    if isinstance(names, str) and names not in _NOTHING:
        names = _names_in_file(names, path, folders)
    numbered = _numbered(names)
    if not numbered:
        raise DataError("data.yaml does not name its classes; write `names: [cat, dog]`", path=str(path))
    for index, name in numbered:
        if not isinstance(name, str) or not name.strip():
            raise DataError(f"class {index} in data.yaml has no name; write one", path=str(path))
    if len(dict(numbered)) < len(numbered):
        raise DataError("data.yaml gives two classes the same index; number them anew", path=str(path))
    told = document.get("nc")
    if isinstance(told, str) and told.isdecimal() and int(told) != len(numbered):
        raise DataError(
            f"data.yaml says that there are {int(told)} classes (nc) and names {len(numbered)}; correct one of the two",
            path=str(path),
        )
    return tuple(sorted((index, name.strip()) for index, name in numbered))


def _numbered(names: Any) -> list[tuple[int, Any]]:
    """Empty where `names` is neither a list nor a mapping from whole numbers."""
    if isinstance(names, list):
        return list(enumerate(names))
    if isinstance(names, dict) and all(isinstance(key, str) and key.isdecimal() for key in names):
        return [(int(key), name) for key, name in names.items()]
    return []


def _names_in_file(told: str, path: Path, folders: list[Path]) -> Any:
    """What the file that `names` names lists: one name a line, or a list or mapping in YAML."""
    for folder in folders:
        found = inside(folder, told)
        if found is not None and found.is_file():
            break
    else:
        raise DataError(
            "data.yaml does not name its classes: `names` is neither a list nor a file in its folder; write "
            "`names: [cat, dog]`",
            path=str(path),
            names=told[:60],
        )
    if found.suffix.lower() in (".yaml", ".yml"):
        listed = _load(found, "correct `names` in data.yaml")
        return listed.get("names", listed) if isinstance(listed, dict) else listed
    try:
        return [line.strip() for line in read_text(found).splitlines() if line.strip()]
    except OSError as error:
        raise StorageError("the list of classes cannot be read", path=str(found), cause=str(error)[:400]) from error
    except UnicodeError as error:
        raise DataError("the list of classes is no text in UTF-8; save it as UTF-8", path=str(found)) from error
