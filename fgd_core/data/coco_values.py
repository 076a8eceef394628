"""Reads the values of a COCO file, also in an unusual form if it can mean only one thing.

Each reader adds to `odd` the names of the problems (see `problems.PROBLEMS`) that describe the unusual form.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from itertools import count
from typing import TypeAlias

Fields: TypeAlias = Mapping[str, object]
"""A JSON object."""
Id: TypeAlias = int | str
Box: TypeAlias = tuple[float, float, float, float]

_INTEGER = re.compile(r"[+-]?[0-9]{1,40}(\.0*)?")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_LARGEST = 1e300
_NAN = float("nan")
_UPRIGHT_DEG = 0.5

NO_BOX: Box = (_NAN, _NAN, _NAN, _NAN)


class IdNumbers:
    """Maps ids, which may be any numbers or texts, to integers of 64 bits.

    An integer id is its own number if all ids are integers that fit; otherwise all ids are numbered from 1.
    """

    def __init__(self, ids: Iterable[Id], *, is_sorted: bool = False) -> None:
        """
        Args:
            is_sorted: number the ids in ascending order, not in file order, so that two files with the same ids agree.
        """
        unique = list(dict.fromkeys(ids))
        self.is_renumbered = not all(map(fits_int64, unique))
        """Whether the numbers are not the ids."""
        if is_sorted:
            unique.sort(key=lambda each: (isinstance(each, str), each))
        self._numbers = {
            each: place if self.is_renumbered or not isinstance(each, int) else each
            for place, each in enumerate(unique, start=1)
        }
        self.listed = frozenset(self._numbers.values())
        """The numbers of all ids."""
        self.unknown = next(number for number in count(-1, -1) if number not in self.listed)
        """The number for every unlisted id that is not a number itself."""

    def number_of(self, each: Id) -> int:
        """Return the number of an id; for an unlisted id, a number that no listed id has."""
        known = self._numbers.get(each)
        if known is not None:
            return known
        return each if isinstance(each, int) and fits_int64(each) and not self.is_renumbered else self.unknown


def fits_int64(each: Id) -> bool:
    """Return whether an id is an integer of 64 bits."""
    return isinstance(each, int) and -(2**63) <= each < 2**63


def read_id(value: object, odd: set[str]) -> Id | None:
    """Return an integer of any size, or a text that is not a number; None for other values. 3.0 and "3" are 3."""
    if type(value) is int:
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if not isinstance(value, str) or not value.strip():
        return None
    odd.add("id_as_text")
    text = value.strip()
    return int(text.split(".")[0]) if _INTEGER.fullmatch(text) else text


def read_text(value: object) -> str | None:
    """Return a text that is not blank and is valid in UTF-8 and in a path; None for other values."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value


def show_fields(fields: Fields, *names: str) -> str:
    """Return the named fields as text for findings."""
    return ", ".join(f"{name} {repr(fields.get(name))[:60]}" for name in names)


def read_number(value: object, odd: set[str]) -> float:
    """Return a finite number, which may be written as text; NaN for other values."""
    if type(value) is float or type(value) is int:  # by far the most frequent case, among millions
        return float(value) if -_LARGEST <= value <= _LARGEST else _NAN
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        odd.add("number_as_text")
        return read_number(float(value), odd)
    return _NAN


def read_side(value: object, odd: set[str]) -> int | None:
    """Return the width or height of an image in pixels; None if it is not an integer above 0."""
    side = read_number(value, odd)
    return int(side) if 0 < side < 2**31 and side.is_integer() else None


def read_flag(value: object, odd: set[str]) -> bool | None:
    """Read 0, 1, true and false, also as text; None for other values."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        odd.add("number_as_text")
        return value.strip().lower() == "true"
    number = read_number(value, odd)
    return bool(number) if number in (0, 1) else None


def read_box(value: object, odd: set[str]) -> Box:
    """Return left, top, width and height of a box; NaN if it is invalid.

    An object is read only if the names of its fields are unambiguous. `x` and `y` alone are ambiguous: some tools mean
    the top left corner, others the centre.
    """
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return NO_BOX
        odd.add("number_as_text")
    if isinstance(value, Mapping):
        odd.add("box_as_object")
        return _box_of_object(value, odd)
    if not isinstance(value, list) or len(value) != 4:
        return NO_BOX
    x, y, width, height = value
    return read_number(x, odd), read_number(y, odd), read_number(width, odd), read_number(height, odd)


def is_missing_box(value: object) -> bool:
    """Return whether a `bbox` is missing: absent, null, an empty list or four zeros."""
    return value is None or value in ([], "", {}) or (isinstance(value, list) and len(value) == 4 and not any(value))


def rotation_deg(fields: Fields) -> float:
    """Return by how many degrees a box is rotated about its centre; 0 if no field says so, and for half turns."""
    if "attributes" not in fields and "rotation" not in fields:
        return 0.0
    attributes = fields.get("attributes")
    value = attributes.get("rotation") if isinstance(attributes, Mapping) else None
    angle = read_number(value if value is not None else fields.get("rotation"), set())
    if not math.isfinite(angle):
        return 0.0
    return 0.0 if abs(math.remainder(angle, 180)) < _UPRIGHT_DEG else angle


_NAMES: Mapping[str, tuple[str, ...]] = {
    "left": ("left", "xmin", "x_min", "x1"),
    "top": ("top", "ymin", "y_min", "y1"),
    "right": ("right", "xmax", "x_max", "x2"),
    "bottom": ("bottom", "ymax", "y_max", "y2"),
    "width": ("width", "w"),
    "height": ("height", "h"),
    "centre_x": ("cx", "x_center", "center_x"),
    "centre_y": ("cy", "y_center", "center_y"),
    "x": ("x",),
    "y": ("y",),
}


def _box_of_object(value: Mapping[object, object], odd: set[str]) -> Box:
    by_name = {str(key).lower(): number for key, number in value.items()}

    def first(name: str) -> float:
        return next((read_number(by_name[key], odd) for key in _NAMES[name] if key in by_name), _NAN)

    left, top, right, bottom = first("left"), first("top"), first("right"), first("bottom")
    width, height, centre_x, centre_y = first("width"), first("height"), first("centre_x"), first("centre_y")
    x, y = first("x"), first("y")
    # If the centre is also given, x and y are the corner. Rounding can shift a centre by half a pixel.
    if abs(x + width / 2 - centre_x) <= 1 and abs(y + height / 2 - centre_y) <= 1:
        left, top = x, y
    for box in (
        (left, top, right - left, bottom - top),
        (left, top, width, height),
        (centre_x - width / 2, centre_y - height / 2, width, height),
    ):
        if all(map(math.isfinite, box)):
            return box
    return NO_BOX
