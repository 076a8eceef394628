"""Reads the JSON of a COCO file and checks that it has COCO's lists."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from fgd_core import confined
from fgd_core.data.coco_annotations import AnnotationList, PairsHook, listed, listed_in_blocks, objects
from fgd_core.data.coco_images import ImageList, read_plain_images
from fgd_core.data.coco_values import Fields
from fgd_core.data.collection import paused_collection
from fgd_core.data.file_states import State, settled_state
from fgd_core.data.image_headers import HeadersAhead, is_for_processes
from fgd_core.errors import DataError, StorageError

_LISTS = ("images", "annotations", "categories")


class CocoText(NamedTuple):
    """Holds the text of an annotation file."""

    path: Path
    content: bytes
    state: State | None = None
    """From before the file was read; None if it had only just changed, or if that is unknown."""


class CocoDocument(NamedTuple):
    """Holds the lists of an annotation file; entries that are not objects are empty."""

    images: ImageList
    annotations: AnnotationList
    categories: list[Fields]
    headers: HeadersAhead | None = None
    """Of the images, if other processes already read them."""


def read_coco(path: Path) -> CocoText:
    """Read the text of an annotation file.

    Raises:
        DataError: the file does not exist.
        StorageError: the file cannot be read.
    """
    try:
        with confined.opened(path) as file:
            state = settled_state(file.fileno())
            return CocoText(path, file.read(), state)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise DataError("the annotation file does not exist; correct the path", path=str(path)) from error
    except OSError as error:
        raise StorageError("the annotation file cannot be read", path=str(path), cause=str(error)) from error


def parse_coco(
    text: CocoText, repeated_keys: list[str], *, in_blocks: bool, images_folder: Path | None = None
) -> CocoDocument:
    """Parse the text of a COCO file.

    Args:
        repeated_keys: receives every key that an object contains twice with different values.
        in_blocks: read annotations in COCO's own form as columns; without segmentations and keypoints.
        images_folder: if annotations are read in blocks, also begin to read the headers of many images in it.
    Raises:
        DataError: the text is not JSON, or lacks one of COCO's lists.
    """
    quick = _parse_in_blocks(text.content, repeated_keys, images_folder) if in_blocks else None
    document = quick or _parse(text, repeated_keys)
    if not document.categories:
        raise DataError("the annotation file lists no categories; add at least one", path=str(text.path))
    return document


def _parse_in_blocks(content: bytes, repeated_keys: list[str], images_folder: Path | None) -> CocoDocument | None:
    """Parse a text whose annotations can be cut into blocks; None if it must be parsed as a whole."""
    try:
        parts = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
        if not all(bytes(memoryview(parts[name])[:1]) == b"[" for name in _LISTS) or _repeats_a_name(content, parts):
            return None
        repeated: list[str] = []
        hook = _finding(repeated)
        images = read_plain_images(bytes(parts["images"]))
        paths: Sequence[str] = ()
        if images is not None and images_folder is not None and is_for_processes(len(images.entries)):
            paths = images.paths(images_folder)
        rest = {
            name: json.loads(bytes(part), object_pairs_hook=hook)
            for name, part in parts.items()
            if name != "annotations" and (name != "images" or images is None)
        }
        annotations, headers = listed_in_blocks(memoryview(parts["annotations"]), hook, paths)
    except (msgspec.MsgspecError, ValueError, RecursionError, KeyError):
        return None
    repeated_keys += repeated
    categories = objects(rest["categories"])
    return CocoDocument(images or objects(rest["images"]), annotations, categories, headers)


def _repeats_a_name(content: bytes, parts: dict[str, msgspec.Raw]) -> bool:
    """Return whether the outermost object has a name twice: then all of its parts are not all of its text."""
    address = _address(content)
    places = sorted((_address(part) - address, memoryview(part).nbytes) for part in parts.values())
    ends = [0, *(start + size for start, size in places)]
    between = [content[end:start] for end, (start, _) in zip(ends, places, strict=False)]
    names = json.loads(b"0".join([*between, content[ends[-1] :]]), object_pairs_hook=lambda pairs: pairs)
    return len(names) != len(parts)


def _address(buffer: bytes | msgspec.Raw) -> int:
    return int(np.frombuffer(memoryview(buffer), dtype=np.uint8).ctypes.data)


@paused_collection()
def _parse(text: CocoText, repeated_keys: list[str]) -> CocoDocument:
    path = text.path
    try:
        document: object = json.loads(text.content, object_pairs_hook=_finding(repeated_keys))
    except (ValueError, RecursionError) as error:
        raise DataError(
            "the annotation file is not JSON; export it again", path=str(path), cause=str(error)[:200]
        ) from error
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
    images, annotations, categories = (objects(document[name]) for name in _LISTS)
    return CocoDocument(images, listed(annotations), categories)


def _finding(repeated_keys: list[str]) -> PairsHook:
    """Return a hook for `json.loads` that adds to `repeated_keys`."""

    def fields(pairs: list[tuple[str, object]]) -> dict[str, object]:
        unique = dict(pairs)
        if len(unique) < len(pairs):
            repeated_keys.extend(f"{key} of {_title(unique)}" for key in _repeated(pairs))
        return unique

    return fields


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
