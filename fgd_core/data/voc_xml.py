"""One XML annotation of Pascal VOC: what it says, without a judgement on it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from fgd_core.errors import StorageError

_LARGEST_BYTES = 16 * 2**20
"""Of a file that is one image's annotation; the largest of VOC2012 has 30 kB."""


@dataclass(frozen=True)
class VocObject:
    class_name: str
    """Empty where none is given."""
    corners: tuple[float, float, float, float] | None
    """xmin, ymin, xmax, ymax as written; NaN where it is no number, None where the object has no box."""
    is_difficult: bool


@dataclass(frozen=True)
class Annotation:
    file_name: str
    """Of the image, as the annotation has it; empty where it has none."""
    size_px: tuple[int, int] | None
    """(width, height), None where it does not say."""
    objects: tuple[VocObject, ...]
    """Parts of objects, such as hands, are left out."""


def read_annotation(path: Path) -> Annotation | Literal["missing_annotation_file", "malformed_xml"]:
    """
    Raises:
        StorageError: the file is there and cannot be read.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return "missing_annotation_file"
    except OSError as error:
        raise StorageError("an annotation cannot be read", path=str(path), cause=str(error)) from error
    root = _parse(content)
    if root is None:
        return "malformed_xml"
    return Annotation(
        file_name=_text(root, "filename"),
        size_px=_size_px(root.find("size")),
        objects=tuple(_object(found) for found in root.findall("object")),
    )


def _parse(content: bytes) -> ElementTree.Element | None:
    # A document type may define entities that grow without bound or that name other files. No annotation has one, so
    # none is looked into: searched for as bytes, which no encoding that has no NULs in it can hide from.
    if len(content) > _LARGEST_BYTES or b"<!DOCTYPE" in content or b"<!ENTITY" in content or b"\x00" in content:
        return None
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError):
        return None
    return root if root.tag == "annotation" else None


def _object(element: ElementTree.Element) -> VocObject:
    box = element.find("bndbox")
    corners = None if box is None else tuple(_number(_text(box, name)) for name in ("xmin", "ymin", "xmax", "ymax"))
    assert corners is None or len(corners) == 4
    return VocObject(
        class_name=_text(element, "name"), corners=corners, is_difficult=_text(element, "difficult") in ("1", "true")
    )


def _size_px(element: ElementTree.Element | None) -> tuple[int, int] | None:
    if element is None:
        return None
    width, height = (_number(_text(element, name)) for name in ("width", "height"))
    is_sound = width > 0 and height > 0 and width == width // 1 and height == height // 1
    return (int(width), int(height)) if is_sound and max(width, height) < 2**31 else None


def _text(element: ElementTree.Element, name: str) -> str:
    return (element.findtext(name) or "").strip()


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return float("nan")
    return value if abs(value) < 1e300 else float("nan")
