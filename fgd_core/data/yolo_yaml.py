"""Reads the data.yaml of a YOLO data set: the classes, the keypoints of labels, and the entries of the splits.

Every scalar stays the text that its author wrote. YAML would turn a class named `no` into a boolean, `010` into a
number and `2024-01-01` into a date.
"""

import os.path
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import yaml

from fgd_core.data.text_files import read_lines, read_text
from fgd_core.errors import DataError, StorageError

Task: TypeAlias = Literal["detect", "segment", "obb", "pose"]

_NOTHING = (None, "", "~", "null", "Null", "NULL")


@dataclass(frozen=True)
class DataYaml:
    """Holds the content of a data.yaml."""

    path: Path
    root: Path
    """Folder that relative paths start from, and that contains all files of the data set."""
    ignored_path: str | None
    """The `path` of the file, if it does not lead to a folder below the root; else None."""
    names: tuple[tuple[int, str], ...]
    """(class index, name) in the order of the index."""
    kpt_shape: tuple[int, int] | None
    """(number of keypoints, 2 or 3 numbers for each): labels are boxes followed by keypoints."""
    task: Task | None
    entries: Mapping[str, object]
    """Text, or lists and mappings of text."""


class _TextLoader(yaml.BaseLoader):
    """Loads every scalar as text, and rejects duplicate keys, of which YAML would silently drop one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        """Raises DataError for a duplicate key."""
        mapping: dict[Hashable, object] = super().construct_mapping(node, deep=deep)
        if len(mapping) < len(node.value):
            words = [key.value for key, _ in node.value]
            duplicate = next(word for word in words if words.count(word) > 1)
            raise DataError(
                f"data.yaml contains the key {duplicate!r} twice; delete or rename one of them",
                path=node.start_mark.name,
                line=node.start_mark.line + 1,
            )
        return mapping


def read_data_yaml(path: Path, root: Path | None) -> DataYaml:
    """Read a data.yaml.

    Args:
        root: folder that contains all files of the data set; None: the folder of the data.yaml.
    Raises:
        DataError: the file is missing, is not YAML, or does not name its classes.
        StorageError: the file cannot be read.
    """
    document = _load(path, "correct data.data_yaml")
    if not isinstance(document, dict):
        raise DataError("data.yaml has no entries; write `names`, `train` and `val` into it", path=str(path))
    own = Path(os.path.normpath((root if root is not None else path.parent).absolute()))
    inner_path = document.get("path")
    inner = _inner_root(own, path, inner_path) if isinstance(inner_path, str) and inner_path not in _NOTHING else own
    return DataYaml(
        path=path,
        root=inner or own,
        ignored_path=inner_path if inner is None else None,
        names=_names(document, path, [inner or own, own]),
        kpt_shape=_kpt_shape(document.get("kpt_shape"), path),
        task=document["task"] if document.get("task") in ("detect", "segment", "obb", "pose") else None,
        entries={key: value for key, value in document.items() if value not in _NOTHING},
    )


def inside(root: Path, path: Path | str) -> Path | None:
    """Return `path`, which may be relative to the root, as an absolute path; None if it leads out of the root."""
    normal = Path(os.path.normpath(root / path))
    return normal if normal.is_relative_to(root) else None


def _load(path: Path, cure: str) -> object:
    try:
        loader = _TextLoader(read_text(path))
        loader.name = str(path)
        document: object = loader.get_single_data()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise DataError(f"the file does not exist; {cure}", path=str(path)) from error
    except OSError as error:
        raise StorageError("the file cannot be read", path=str(path), cause=str(error)[:400]) from error
    except UnicodeError as error:
        raise DataError("the file is not text in UTF-8 or UTF-16; save it as UTF-8", path=str(path)) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise DataError(
            "the file is not valid YAML; correct the line that `cause` names", path=str(path), cause=str(error)
        ) from error
    return document


def _inner_root(own: Path, path: Path, inner_path: str) -> Path | None:
    # Many files contain a `path` of the machine where they were made. It does not exist here and is ignored.
    for start in (own, path.parent.absolute()):
        folder = inside(own, start / inner_path.replace("\\", "/"))
        if folder is not None and folder.is_dir():
            return folder
    return None


def _kpt_shape(value: object, path: Path) -> tuple[int, int] | None:
    if value in _NOTHING:
        return None
    match value:
        case [str(count), str(numbers)] if count.isdecimal() and numbers in ("2", "3"):
            return int(count), int(numbers)
    raise DataError(
        "kpt_shape in data.yaml is not [number of keypoints, 2 or 3]; correct it, for example `kpt_shape: [17, 3]`",
        path=str(path),
        kpt_shape=str(value)[:60],
    )


def _names(document: Mapping[str, object], path: Path, folders: list[Path]) -> tuple[tuple[int, str], ...]:
    names = document.get("names")
    if isinstance(names, str) and names not in _NOTHING:
        names = _names_in_file(names, path, folders)
    by_index: dict[int, str] = {}
    for index, name in _numbered(names):
        if not isinstance(name, str) or not name.strip():
            raise DataError(f"class {index} in data.yaml has no name; add one", path=str(path))
        if index in by_index:
            raise DataError(f"two classes in data.yaml have the index {index}; renumber one of them", path=str(path))
        by_index[index] = name.strip()
    if not by_index:
        raise DataError("data.yaml does not name its classes; write `names: [cat, dog]`", path=str(path))
    num_classes = document.get("nc")
    if isinstance(num_classes, str) and num_classes.isdecimal() and int(num_classes) != len(by_index):
        raise DataError(
            f"data.yaml declares {int(num_classes)} classes (nc) but names {len(by_index)}; correct one of them",
            path=str(path),
        )
    return tuple(sorted(by_index.items()))


def _numbered(names: object) -> list[tuple[int, object]]:
    """Return (class index, name) of each class; empty if `names` is not a list and not a mapping from integers."""
    if isinstance(names, list):
        return list(enumerate(names))
    if isinstance(names, dict) and all(isinstance(key, str) and key.isdecimal() for key in names):
        return [(int(key), name) for key, name in names.items()]
    return []


def _names_in_file(file_name: str, path: Path, folders: list[Path]) -> object:
    """Read the classes from a file: one name per line, or a list or mapping in YAML."""
    for folder in folders:
        file = inside(folder, file_name)
        if file is not None and file.is_file():
            break
    else:
        raise DataError(
            "data.yaml does not name its classes: `names` is neither a list nor a file in its folder; write "
            "`names: [cat, dog]`",
            path=str(path),
            names=file_name[:60],
        )
    if file.suffix.lower() in (".yaml", ".yml"):
        document = _load(file, "correct `names` in data.yaml")
        return document.get("names", document) if isinstance(document, dict) else document
    return read_lines(file, "list of classes")
