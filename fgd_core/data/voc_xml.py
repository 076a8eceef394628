"""Reads one XML annotation of Pascal VOC, without judging its content."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias
from xml.etree import ElementTree

from fgd_core import confined
from fgd_core.data.text_files import GIT_LFS, decode_text
from fgd_core.errors import StorageError

_LARGEST_BYTES = 16 * 2**20
"""Limit for the annotation of one image; the largest of VOC2012 has 30 kB."""

_DECLARATION = re.compile(rb"\s*<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9._-]+)[\"']")
_BARE_AMPERSAND = re.compile(r"&(?!(amp|lt|gt|quot|apos|#\d+|#x[0-9a-fA-F]+);)")
_UNREADABLE = "\ufffd"
_POINT = re.compile(r"([xy])(\d+)")

_YES = ("1", "true", "yes", "y", "t")
_NO = ("", "0", "false", "no", "n", "f", "unspecified", "none", "null")

XmlProblem: TypeAlias = Literal["missing_annotation_file", "git_lfs_pointer", "malformed_xml", "undecodable_xml"]
Corners: TypeAlias = tuple[float, float, float, float]


@dataclass(frozen=True)
class VocObject:
    """Holds one object of an annotation."""

    class_name: str
    """Empty if the object has no name."""
    corners: Corners | None
    """xmin, ymin, xmax, ymax as written; NaN for a text that is not a number, None if the object has no box."""
    is_difficult: bool | None
    """None if the text is neither yes nor no."""
    is_polygon: bool = False
    """Whether the object has a polygon and no box; `corners` is then the box around the polygon."""
    is_rotated: bool = False
    """Whether the object has only a rotated box."""


@dataclass(frozen=True)
class XmlAnnotation:
    """Holds the content of an XML file."""

    file_name: str
    """Name of the image file; empty if the annotation does not give it."""
    size_px: tuple[int, int] | None
    """(width, height) of the image; None if the annotation does not give it."""
    objects: tuple[VocObject, ...]
    """Without parts of objects, such as hands."""


def read_xml(path: Path) -> XmlAnnotation | XmlProblem:
    """Read an annotation, or return what is wrong with it.

    Raises:
        StorageError: the file exists but cannot be read.
    """
    try:
        content = confined.read_bytes(path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return "missing_annotation_file"
    except OSError as error:
        raise StorageError("an annotation cannot be read", path=str(path), cause=str(error)) from error
    if content.startswith(GIT_LFS.encode()):
        return "git_lfs_pointer"
    root = _parse(content)
    if root is None:
        return "malformed_xml"
    objects = tuple(_object(found) for found in root.findall("object"))
    if any(_UNREADABLE in found.class_name for found in objects):
        return "undecodable_xml"
    return XmlAnnotation(file_name=_text(root, "filename"), size_px=_size_px(root.find("size")), objects=objects)


def _parse(content: bytes) -> ElementTree.Element | None:
    text = _decoded(content) if len(content) <= _LARGEST_BYTES else None
    # A document type may define entities that grow without limit or read other files. No annotation needs one, so files
    # with one are rejected. The search is in the decoded text, where no encoding can hide it.
    if text is None or "<!DOCTYPE" in text or "<!ENTITY" in text:
        return None
    try:
        root = _element(text)
    except (ElementTree.ParseError, ValueError):
        return None
    return root if root.tag == "annotation" else None


def _element(text: str) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError:
        # Some tools write a file name such as "R&D.jpg" without escaping the ampersand.
        return ElementTree.fromstring(_BARE_AMPERSAND.sub("&amp;", text))


def _decoded(content: bytes) -> str | None:
    """Decode the text in its declared encoding, with replacement characters for invalid bytes; None if impossible."""
    try:
        if content[:3] == b"\xef\xbb\xbf" or content[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\x00" in content:
            return decode_text(content).lstrip()
        declared = _DECLARATION.match(content)
        encoding = declared[1].decode().lower() if declared else "utf-8"
        if encoding.startswith(("utf-16", "utf-32", "ucs-")):
            encoding = "utf-8"  # A declaration readable as bytes cannot be in UTF-16, although .NET declares it so.
        # Tools that declare GB2312 also write characters of its extensions.
        return content.decode("gb18030" if encoding in ("gb2312", "gbk") else encoding).lstrip()
    except UnicodeError:
        # The image's folder is often in the encoding of the annotator's machine; only class names must be correct.
        return None if b"\x00" in content else content.decode("utf-8", errors="replace").lstrip()
    except LookupError:
        return None


def _object(element: ElementTree.Element) -> VocObject:
    boxes, polygon = element.findall("bndbox"), element.find("polygon")
    box = boxes[0] if boxes else None
    is_polygon = box is None and polygon is not None
    if len(boxes) > 1:
        corners: Corners | None = None
    elif box is not None:
        xmin, ymin, xmax, ymax = (_number(_text(box, name)) for name in ("xmin", "ymin", "xmax", "ymax"))
        corners = (xmin, ymin, xmax, ymax)
    else:
        corners = _around(polygon) if polygon is not None else None
    difficult = _text(element, "difficult").lower().removesuffix(".0")
    return VocObject(
        class_name=_text(element, "name"),
        corners=corners,
        is_difficult=True if difficult in _YES else False if difficult in _NO else None,
        is_polygon=is_polygon,
        is_rotated=box is None and polygon is None and element.find("robndbox") is not None,
    )


def _around(polygon: ElementTree.Element) -> Corners | None:
    """Return the box around a polygon of `x1 y1 x2 y2 …` or of `pt` elements; None for fewer than three points."""
    points: dict[str, dict[str, float]] = {"x": {}, "y": {}}
    for each in polygon:
        point = _POINT.fullmatch(each.tag)
        if point:
            points[point[1]][point[2]] = _number((each.text or "").strip())
    for place, each in enumerate(polygon.findall("pt")):
        for axis in ("x", "y"):
            points[axis][f"pt {place}"] = _number(_text(each, axis))
    x, y = points["x"], points["y"]
    if len(x) < 3 or x.keys() != y.keys():
        return None
    if any(map(math.isnan, (*x.values(), *y.values()))):
        return (math.nan,) * 4
    return (min(x.values()), min(y.values()), max(x.values()), max(y.values()))


def _size_px(element: ElementTree.Element | None) -> tuple[int, int] | None:
    if element is None:
        return None
    width, height = (_number(_text(element, name)) for name in ("width", "height"))
    is_valid = width > 0 and height > 0 and width == width // 1 and height == height // 1
    return (int(width), int(height)) if is_valid and max(width, height) < 2**31 else None


def _text(element: ElementTree.Element, name: str) -> str:
    return (element.findtext(name) or "").strip()


def _number(text: str) -> float:
    try:
        value = float(text.replace(",", ".") if text.count(",") == 1 and "." not in text else text)
    except ValueError:
        return float("nan")
    return value if abs(value) < 1e300 else float("nan")
