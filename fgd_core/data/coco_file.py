"""Loads the JSON of a COCO file and checks that it has COCO's lists."""

import json
from collections.abc import Sequence
from pathlib import Path

from fgd_core import confined
from fgd_core.data.coco_values import Fields
from fgd_core.errors import DataError, StorageError

_LISTS = ("images", "annotations", "categories")


def load_coco_file(path: Path, repeated_keys: list[str]) -> dict[str, list[Fields]]:
    """Load the lists of a COCO file: images, annotations and categories. Entries that are not objects become empty.

    Args:
        repeated_keys: receives every key that an object contains twice with different values.
    Raises:
        DataError: the file is missing, is not JSON, or lacks one of COCO's lists.
        StorageError: the file cannot be read.
    """
    document = _load_json(path, repeated_keys)
    if not isinstance(document, dict):
        cure = "; this file contains detections: name the annotation file that belongs to them"
        raise DataError(
            "the annotation file is not in COCO format: it must be an object with images, annotations and categories"
            + (cure if _is_detections(document) else ""),
            path=str(path),
            found=type(document).__name__,
        )
    missing = [name for name in _LISTS if not isinstance(document.get(name), list)]
    if missing:
        raise DataError(
            f"the annotation file is not in COCO format: it has no list of {', '.join(missing)}",
            path=str(path),
            found=", ".join(sorted(document)[:20]),
        )
    if not document["categories"]:
        raise DataError("the annotation file lists no categories; add at least one", path=str(path))
    return {name: [entry if isinstance(entry, dict) else {} for entry in document[name]] for name in _LISTS}


def _load_json(path: Path, repeated_keys: list[str]) -> object:
    def fields(pairs: list[tuple[str, object]]) -> dict[str, object]:
        unique = dict(pairs)
        if len(unique) < len(pairs):
            repeated_keys.extend(f"{key} of {_title(unique)}" for key in _repeated(pairs))
        return unique

    try:
        document: object = json.loads(confined.read_bytes(path), object_pairs_hook=fields)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise DataError("the annotation file does not exist; correct the path", path=str(path)) from error
    except OSError as error:
        raise StorageError("the annotation file cannot be read", path=str(path), cause=str(error)) from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            "the annotation file is not JSON; export it again", path=str(path), cause=str(error)[:200]
        ) from error
    return document


def _repeated(pairs: Sequence[tuple[str, object]]) -> list[str]:
    """Return the keys that have two different values."""
    first: dict[str, object] = {}
    return [key for key, value in pairs if first.setdefault(key, value) is not value and first[key] != value]


def _title(entry: Fields) -> str:
    for key in ("file_name", "name", "id"):
        if isinstance(entry.get(key), str | int):
            return f"{key} {entry[key]}"
    return "the file"


def _is_detections(document: object) -> bool:
    return isinstance(document, list) and any(isinstance(each, dict) and "score" in each for each in document[:10])
