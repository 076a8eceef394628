"""What annotations list, as columns, before anything is joined or looked up on disk; and how a COCO file is read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fgd_core.data.findings import Findings
from fgd_core.data.samples import Category
from fgd_core.errors import DataError, StorageError

_LISTS = ("images", "annotations", "categories")


@dataclass(frozen=True)
class ImageEntry:
    image_id: int
    file_name: str
    size_px: tuple[int, int] | None
    """(width, height), None where the file does not say."""


@dataclass(frozen=True, eq=False)
class ObjectTable:
    """One row an annotation, in the order of the file."""

    names: list[str]
    """For findings."""
    image_ids: npt.NDArray[np.int64]
    category_ids: npt.NDArray[np.int64]
    boxes_xywh_px: npt.NDArray[np.float64]
    """(n, 4); NaN where the box is not four numbers."""
    areas_px2: npt.NDArray[np.float64]
    """NaN where the annotation has none."""
    is_crowd: npt.NDArray[np.bool_]
    segmentations: list[Any] | None = None
    """As the file has them, None where an annotation has none; None where nobody asked for masks."""


@dataclass(frozen=True)
class AnnotationFile:
    categories: tuple[Category, ...]
    """In the order of their ids."""
    images: list[ImageEntry]
    """Each id once; those whose id is ambiguous are left out."""
    listed_ids: frozenset[int]
    """Of all images in the file, ambiguous ones among them."""
    objects: ObjectTable
    is_normalised: bool = False
    """Whether boxes are fractions of their image's sides, so that nothing says what size the images have."""


def read_annotations(path: Path, findings: Findings, *, with_masks: bool = False) -> AnnotationFile:
    """
    Raises:
        DataError: the file is missing, is not JSON, or lacks one of COCO's lists.
        StorageError: the file cannot be read.
    """
    document = _load(path)
    images = _images(document["images"], findings)
    counted: dict[int, list[ImageEntry]] = {}
    for entry in images:
        counted.setdefault(entry.image_id, []).append(entry)
    return AnnotationFile(
        categories=_categories(document["categories"], findings),
        images=_each_once(counted, findings),
        listed_ids=frozenset(counted),
        objects=_objects(document["annotations"], findings, with_masks=with_masks),
    )


def _load(path: Path) -> dict[str, list[Any]]:
    try:
        document = json.loads(path.read_bytes())
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
            "the annotation file is not in COCO format: an object with images, annotations and categories is wanted",
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
    return document


def _categories(entries: list[Any], findings: Findings) -> tuple[Category, ...]:
    by_id: dict[int, str] = {}
    names: set[str] = set()
    for place, entry in enumerate(entries):
        fields = _fields(entry)
        category_id, name = _whole(fields.get("id")), fields.get("name")
        if category_id is None or not isinstance(name, str) or not name:
            findings.add("malformed_category", f"categories[{place}]")
            continue
        if category_id in by_id:
            findings.add("duplicate_category_id", f"{category_id}: {by_id[category_id]}, {name}")
        if name in names:
            findings.add("duplicate_category_name", name)
        by_id.setdefault(category_id, name)
        names.add(name)
    return tuple(Category(id=category_id, name=by_id[category_id]) for category_id in sorted(by_id))


def _images(entries: list[Any], findings: Findings) -> list[ImageEntry]:
    images = []
    for place, entry in enumerate(entries):
        fields = _fields(entry)
        image_id, file_name = _whole(fields.get("id")), fields.get("file_name")
        if image_id is None or not isinstance(file_name, str) or not file_name:
            findings.add("malformed_image", f"images[{place}]")
            continue
        width, height = _whole(fields.get("width")), _whole(fields.get("height"))
        size_px = (width, height) if width and height and width > 0 and height > 0 else None
        images.append(ImageEntry(image_id=image_id, file_name=file_name, size_px=size_px))
    return images


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


def _objects(entries: list[Any], findings: Findings, *, with_masks: bool) -> ObjectTable:
    names: list[str] = []
    image_ids: list[int] = []
    category_ids: list[int] = []
    boxes: list[tuple[float, ...]] = []
    areas: list[float] = []
    crowds: list[bool] = []
    segmentations: list[Any] | None = [] if with_masks else None
    row_of_id: dict[object, int] = {}
    for place, entry in enumerate(entries):
        fields = _fields(entry)
        annotation_id = fields.get("id")
        name = f"annotations[{place}]" if annotation_id is None else f"annotation {annotation_id}"
        image_id, category_id = _whole(fields.get("image_id")), _whole(fields.get("category_id"))
        if image_id is None or category_id is None or fields.get("bbox") is None:
            findings.add("malformed_annotation", name)
            continue
        box = _box(fields["bbox"])
        if annotation_id is None:
            findings.add("annotation_without_id", name)
        elif (twin := row_of_id.setdefault(str(annotation_id), len(names))) != len(names):
            if (image_ids[twin], category_ids[twin], boxes[twin]) == (image_id, category_id, box):
                findings.add("repeated_annotation", name)
                continue
            findings.add("duplicate_annotation_id", name)
        if annotation_id == 0:
            findings.add("annotation_id_zero", name)
        if "iscrowd" not in fields:
            findings.add("annotation_without_iscrowd", name)
        area = _number(fields.get("area"))
        if not area > 0:
            findings.add("annotation_without_area", name)
            area = float("nan")
        names.append(name)
        image_ids.append(image_id)
        category_ids.append(category_id)
        boxes.append(box)
        areas.append(area)
        crowds.append(bool(fields.get("iscrowd", 0)))
        if segmentations is not None:
            segmentations.append(fields.get("segmentation"))
    return ObjectTable(
        names=names,
        image_ids=np.array(image_ids, dtype=np.int64),
        category_ids=np.array(category_ids, dtype=np.int64),
        boxes_xywh_px=np.array(boxes, dtype=np.float64).reshape(-1, 4),
        areas_px2=np.array(areas, dtype=np.float64),
        is_crowd=np.array(crowds, dtype=np.bool_),
        segmentations=segmentations,
    )


def _fields(entry: Any) -> Mapping[str, Any]:
    return entry if isinstance(entry, dict) else {}


def _whole(value: Any) -> int | None:
    """`value` as an int that an array of 64 bits can hold; True and 1.5 are none, 3.0 is 3."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        return None
    return int(value) if abs(value) < 2**63 else None


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300:
        return float("nan")
    return float(value)


def _box(value: Any) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) != 4:
        return (float("nan"),) * 4
    return tuple(_number(number) for number in value)
