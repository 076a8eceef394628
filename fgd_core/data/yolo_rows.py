"""Reads one line of a label file: a class and numbers. `yolo_layout` decides from all lines what the numbers mean."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

_MIN_NUMBERS = 4
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?(\d+(,\d+)?|,\d+)")
_MAX_NUMBERS_IN_NAME = 3


@dataclass(frozen=True, slots=True)
class LabelRow:
    """Holds a line of a label file."""

    class_index: int
    numbers: tuple[float, ...]
    """At least four, finite."""
    has_class_name: bool = False
    """Whether the line contains the name of the class in place of its index."""
    has_commas: bool = False
    """Whether the line has decimal commas, or commas or semicolons between numbers."""


@dataclass(frozen=True)
class UnknownClass:
    """Holds the text of a line that is in place of a class index but is not the name of a class."""

    name: str


def read_row(line: str, class_indices: Mapping[str, int]) -> LabelRow | UnknownClass | None:
    """Read a line; None if it is not a class with at least four numbers.

    Args:
        class_indices: name of the class -> index.
    """
    words = line.split()
    row = _usual_row(words) or _row(words, class_indices)
    if row is None and ("," in line or ";" in line):
        row = _row(_without_commas(line), class_indices)
        return replace(row, has_commas=True) if isinstance(row, LabelRow) else row
    return row


def _usual_row(words: Sequence[str]) -> LabelRow | None:
    """Read a class index and numbers, without matching each word; None for any other line."""
    try:
        index, *numbers = map(float, words)
    except ValueError:
        return None
    is_usual = len(numbers) >= _MIN_NUMBERS and index.is_integer() and all(map(math.isfinite, numbers))
    # Python would read 1_000 as a number.
    return LabelRow(int(index), tuple(numbers)) if is_usual and not any("_" in word for word in words) else None


def _row(words: Sequence[str], class_indices: Mapping[str, int]) -> LabelRow | UnknownClass | None:
    numbers: list[float] = []
    for word in reversed(words):
        if not _NUMBER.fullmatch(word):
            break
        numbers.append(float(word))
    numbers.reverse()
    if not all(map(math.isfinite, numbers)):
        return None
    if len(numbers) == len(words):
        if len(numbers) > _MIN_NUMBERS and numbers[0].is_integer():
            return LabelRow(int(numbers[0]), tuple(numbers[1:]))
        if len(numbers) > _MIN_NUMBERS and words[0] in class_indices:
            return LabelRow(class_indices[words[0]], tuple(numbers[1:]), has_class_name=True)
        return None
    # A class name of several words may end with a number: "box 2 0.5 0.5 0.1 0.1".
    first = len(words) - len(numbers)
    for end in range(first, min(first + _MAX_NUMBERS_IN_NAME, len(words) - _MIN_NUMBERS) + 1):
        name = " ".join(words[:end])
        if name in class_indices:
            return LabelRow(class_indices[name], tuple(numbers[end - first :]), has_class_name=True)
    is_label = len(numbers) >= _MIN_NUMBERS and not _is_almost_a_number(words[first - 1])
    return UnknownClass(" ".join(words[:first])) if is_label else None


def _is_almost_a_number(word: str) -> bool:
    return word[:1].isdigit() or word.lower().lstrip("+-") in ("nan", "inf", "infinity")


def _without_commas(line: str) -> list[str]:
    """Split a line in which commas are either between numbers or decimal points."""
    line = line.replace(";", " ")
    words = line.split()
    if len(words) == 1 or all(word.endswith(",") for word in words[:-1]):
        return [word.strip() for word in line.split(",") if word.strip()]
    if all(_DECIMAL_COMMA.fullmatch(word) for word in words[-_MIN_NUMBERS:]):
        return [word.replace(",", ".") if _DECIMAL_COMMA.fullmatch(word) else word for word in words]
    return words
