"""How a COCO file is read, into the tables that all formats share."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fgd_core import confined
from fgd_core.data.annotations import AnnotationFile, ImageEntry
from fgd_core.data.coco_categories import read_categories
from fgd_core.data.coco_ids import Numbers, fits
from fgd_core.data.coco_objects import read_objects
from fgd_core.data.coco_values import Id, read_id, read_side, read_text, shown
from fgd_core.data.findings import Findings
from fgd_core.errors import DataError, StorageError

_LISTS = ("images", "annotations", "categories")


def read_annotations(
    path: Path, findings: Findings, *, with_masks: bool = False, other: Path | None = None
) -> AnnotationFile:
    """
    Args:
        other: the file of the other split; it is read only where it decides whether a category is a class.
    Raises:
        DataError: the file is missing, is not JSON, or lacks one of COCO's lists.
        StorageError: the file cannot be read.
    """
    doubled: list[str] = []
    document = _load(path, doubled)
    for name in doubled:
        findings.add("duplicate_key", name)
    categories, category_numbers = read_categories(
        document["categories"], findings, _usage(document["annotations"], other)
    )
    image_ids, entries = _images(document["images"], findings)
    image_numbers = Numbers(image_ids)
    counted: dict[int, list[ImageEntry]] = {}
    for image_id, entry in zip(image_ids, entries, strict=True):
        number = image_numbers.of(image_id)
        counted.setdefault(number, []).append(entry if number == entry.image_id else replace(entry, image_id=number))
    return AnnotationFile(
        categories=categories,
        images=_each_once(counted, findings),
        listed_ids=frozenset(counted),
        objects=read_objects(
            document["annotations"],
            image_numbers,
            category_numbers,
            findings,
            sizes_px={image_id: entry.size_px for image_id, entry in zip(image_ids, entries, strict=True)},
            with_masks=with_masks,
        ),
    )


def _load(path: Path, doubled: list[str]) -> dict[str, list[Any]]:
    """
    Args:
        doubled: keys that an object has twice, with different values, are added.
    """

    def fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            doubled.extend(f"{key} of {_called(found)}" for key in _doubled(pairs))
        return found

    try:
        document = json.loads(confined.read_bytes(path), object_pairs_hook=fields)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise DataError("there is no such annotation file; correct the path", path=str(path)) from error
    except OSError as error:
        raise StorageError("the annotation file cannot be read", path=str(path), cause=str(error)) from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            "the annotation file is not JSON; export it again", path=str(path), cause=str(error)[:200]
        ) from error
    if not isinstance(document, dict):
        raise DataError(
            "the annotation file is not in COCO format: an object with images, annotations and categories is wanted"
            + (", and these are detections; name the file that they were scored on" if _are_results(document) else ""),
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
        raise DataError("the annotation file lists no categories; name at least one", path=str(path))
    return {name: [entry if isinstance(entry, dict) else {} for entry in document[name]] for name in _LISTS}


def _doubled(pairs: Sequence[tuple[str, Any]]) -> list[str]:
    first: dict[str, Any] = {}
    return [key for key, value in pairs if first.setdefault(key, value) is not value and first[key] != value]


def _called(entry: Mapping[str, Any]) -> str:
    for key in ("file_name", "name", "id"):
        if isinstance(entry.get(key), str | int):
            return f"{key} {entry[key]}"
    return "the file"


def _are_results(document: Any) -> bool:
    return isinstance(document, list) and any(isinstance(each, dict) and "score" in each for each in document[:10])


def _usage(annotations: Sequence[Mapping[str, Any]], other: Path | None) -> Callable[[Id], bool]:
    """Whether a category has annotations in this file or in the other one."""

    def is_used(category_id: Id) -> bool:
        if any(read_id(entry.get("category_id"), set()) == category_id for entry in annotations):
            return True
        try:
            there = _load(other, [])["annotations"] if other is not None else []
        except (DataError, StorageError):
            # Its own opening says what is wrong with it.
            return False
        return any(read_id(entry.get("category_id"), set()) == category_id for entry in there)

    return is_used


def _images(entries: Sequence[Mapping[str, Any]], findings: Findings) -> tuple[list[Id], list[ImageEntry]]:
    """Ids, and the entries that have them; where an id is no number of 64 bits, the entry has 0."""
    ids: list[Id] = []
    images: list[ImageEntry] = []
    for place, entry in enumerate(entries):
        odd: set[str] = set()
        image_id, file_name = read_id(entry.get("id"), odd), read_text(entry.get("file_name"))
        url = read_text(entry.get("coco_url"))
        if entry.get("file_name") is None and url is not None:
            odd.add("file_name_from_url")
            file_name = "/".join(url.split("/")[-2:])
        if image_id is None or file_name is None:
            findings.add("malformed_image", f"images[{place}]: {shown(entry, 'id', 'file_name')}")
            continue
        if isinstance(image_id, int) and not fits(image_id):
            odd.add("id_beyond_64_bits")
        told = (entry.get("width"), entry.get("height"))
        width, height = (read_side(side, odd) for side in told)
        for problem in sorted(odd):
            findings.add(problem, file_name)
        size_px = (width, height) if width is not None and height is not None else None
        has_bad_size = size_px is None and told != (None, None)
        if has_bad_size:
            findings.add("malformed_size", f"{file_name}: {told[0]!r} x {told[1]!r}")
        path = entry.get("path") if isinstance(entry.get("path"), str) else ""
        ids.append(image_id)
        images.append(
            ImageEntry(
                image_id=image_id if isinstance(image_id, int) and fits(image_id) else 0,
                file_name=file_name,
                size_px=size_px,
                has_bad_size=has_bad_size,
                also_at=str(path),
            )
        )
    return ids, images


def _each_once(listed: Mapping[int, list[ImageEntry]], findings: Findings) -> list[ImageEntry]:
    """An entry that is merely repeated stands once; where an id means two files, neither can be trusted."""
    images: list[ImageEntry] = []
    file_names: set[str] = set()
    for image_id, entries in listed.items():
        if len(entries) > 1:
            findings.add("duplicate_image_id", f"{image_id}: {', '.join(entry.file_name for entry in entries)}")
        if len({entry.file_name for entry in entries}) > 1:
            continue
        if entries[0].file_name in file_names:
            findings.add("duplicate_file_name", entries[0].file_name)
        file_names.add(entries[0].file_name)
        images.append(entries[0])
    return images
