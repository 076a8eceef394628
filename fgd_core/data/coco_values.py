"""The values of a COCO file, as their author meant them where there is one right reading.

Each reader adds to `odd` the problem (see `problems.PROBLEMS`) that a value in an unusual form is counted under.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

Id: TypeAlias = int | str
Box: TypeAlias = tuple[float, float, float, float]

_WHOLE = re.compile(r"[+-]?[0-9]{1,40}(\.0*)?")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_LARGEST = 1e300
_NAN = float("nan")

NO_BOX: Box = (_NAN, _NAN, _NAN, _NAN)


def read_id(value: Any, odd: set[str]) -> Id | None:
    """A whole number of any size, or a text that spells none; None where it is neither. 3.0 and "3" are 3."""
    if type(value) is int:
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if not isinstance(value, str) or not value.strip():
        return None
    odd.add("id_as_text")
    text = value.strip()
    return int(text.split(".")[0]) if _WHOLE.fullmatch(text) else text


def read_text(value: Any) -> str | None:
    """A text that is not blank and can be written down as UTF-8 and as a path; None where it is none."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value


def shown(fields: Mapping[str, Any], *names: str) -> str:
    """Those fields as they stand, for findings."""
    return ", ".join(f"{name} {repr(fields.get(name))[:60]}" for name in names)


def read_number(value: Any, odd: set[str]) -> float:
    """NaN where it is none."""
    kind = type(value)
    if kind is float or kind is int:  # by far the most frequent, of millions
        return float(value) if -_LARGEST <= value <= _LARGEST else _NAN
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        odd.add("number_as_text")
        return read_number(float(value), odd)
    return _NAN


def read_side(value: Any, odd: set[str]) -> int | None:
    """Of an image, in pixels; None where it is no whole number above 0."""
    side = read_number(value, odd)
    return int(side) if 0 < side < 2**31 and side.is_integer() else None


def read_flag(value: Any, odd: set[str]) -> bool | None:
    """0 and 1, also as text, and true and false; None where it is neither."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        odd.add("number_as_text")
        return value.strip().lower() == "true"
    number = read_number(value, odd)
    return bool(number) if number in (0, 1) else None


def read_box(value: Any, odd: set[str]) -> Box:
    """Left, upper, width and height; NaN where the box is none.

    Objects are read where their names leave no doubt. `x` and `y` alone do: they are the upper left corner in some
    tools, the centre in others.
    """
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return NO_BOX
        odd.add("number_as_text")
    if isinstance(value, Mapping):
        odd.add("box_as_object")
        return _of_object(value, odd)
    if not isinstance(value, list) or len(value) != 4:
        return NO_BOX
    x, y, width, height = value
    return read_number(x, odd), read_number(y, odd), read_number(width, odd), read_number(height, odd)


def is_no_box(value: Any) -> bool:
    """Whether an annotation's `bbox` is left out, be it as null, an empty list or four zeros."""
    return value is None or value in ([], "", {}) or (isinstance(value, list) and len(value) == 4 and not any(value))


def turned_by_deg(fields: Mapping[str, Any]) -> float:
    """By what a box is turned about its centre, in degrees; 0 where nothing says so. Half turns count as none."""
    if "attributes" not in fields and "rotation" not in fields:
        return 0.0
    attributes = fields.get("attributes")
    told = attributes.get("rotation") if isinstance(attributes, Mapping) else None
    angle = read_number(told if told is not None else fields.get("rotation"), set())
    if not math.isfinite(angle):
        return 0.0
    return 0.0 if abs(math.remainder(angle, 180)) < _UPRIGHT_DEG else angle


_UPRIGHT_DEG = 0.5

_SIDES: Mapping[str, tuple[str, ...]] = {
    "left": ("left", "xmin", "x_min", "x1"),
    "upper": ("top", "ymin", "y_min", "y1"),
    "right": ("right", "xmax", "x_max", "x2"),
    "lower": ("bottom", "ymax", "y_max", "y2"),
    "width": ("width", "w"),
    "height": ("height", "h"),
    "centre_x": ("cx", "x_center", "center_x"),
    "centre_y": ("cy", "y_center", "center_y"),
    "x": ("x",),
    "y": ("y",),
}


def _of_object(value: Mapping[str, Any], odd: set[str]) -> Box:
    told = {str(key).lower(): number for key, number in value.items()}

    def first(name: str) -> float:
        return next((read_number(told[key], odd) for key in _SIDES[name] if key in told), _NAN)

    left, upper, right, lower = first("left"), first("upper"), first("right"), first("lower")
    width, height, centre_x, centre_y = first("width"), first("height"), first("centre_x"), first("centre_y")
    x, y = first("x"), first("y")
    # Rounding puts a centre off by half a pixel.
    if abs(x + width / 2 - centre_x) <= 1 and abs(y + height / 2 - centre_y) <= 1:
        left, upper = x, y
    for box in (
        (left, upper, right - left, lower - upper),
        (left, upper, width, height),
        (centre_x - width / 2, centre_y - height / 2, width, height),
    ):
        if all(map(math.isfinite, box)):
            return box
    return NO_BOX
