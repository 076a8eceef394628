"""One row of a label file: a class and numbers. What the numbers are is decided over all rows, in `yolo_layout`."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

_LEAST_NUMBERS = 4
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?(\d+(,\d+)?|,\d+)")
_MOST_NUMBERS_IN_NAME = 3


@dataclass(frozen=True, slots=True)
class Row:
    class_index: int
    numbers: tuple[float, ...]
    """Four or more, finite."""
    has_class_name: bool = False
    """Whether the row names its class where the index belongs."""
    has_commas: bool = False
    """Whether commas stand for decimal points, or commas or semicolons between the numbers."""


@dataclass(frozen=True)
class UnknownClass:
    name: str
    """What stands where the index of a class belongs."""


def read_row(line: str, class_indices: Mapping[str, int]) -> Row | UnknownClass | None:
    """
    Args:
        class_indices: by the name of the class.
    Returns:
        None where the line is no class with four numbers or more.
    """
    words = line.split()
    found = _plain_row(words) or _row(words, class_indices)
    if found is None and ("," in line or ";" in line):
        found = _row(_without_commas(line), class_indices)
        return replace(found, has_commas=True) if isinstance(found, Row) else found
    return found


def _plain_row(words: Sequence[str]) -> Row | None:
    """The usual row, without a look at each word; None where it is another or none."""
    try:
        index, *numbers = map(float, words)
    except ValueError:
        return None
    is_usual = len(numbers) >= _LEAST_NUMBERS and index.is_integer() and all(map(math.isfinite, numbers))
    # Python reads 1_000 as a number.
    return Row(int(index), tuple(numbers)) if is_usual and not any("_" in word for word in words) else None


def _row(words: Sequence[str], class_indices: Mapping[str, int]) -> Row | UnknownClass | None:
    numbers: list[float] = []
    for word in reversed(words):
        if not _NUMBER.fullmatch(word):
            break
        numbers.append(float(word))
    numbers.reverse()
    if not all(map(math.isfinite, numbers)):
        return None
    if len(numbers) == len(words):
        if len(numbers) > _LEAST_NUMBERS and numbers[0].is_integer():
            return Row(int(numbers[0]), tuple(numbers[1:]))
        if len(numbers) > _LEAST_NUMBERS and words[0] in class_indices:
            return Row(class_indices[words[0]], tuple(numbers[1:]), has_class_name=True)
        return None
    # A name of several words may end in a number: "box 2 0.5 0.5 0.1 0.1".
    first = len(words) - len(numbers)
    for end in range(first, min(first + _MOST_NUMBERS_IN_NAME, len(words) - _LEAST_NUMBERS) + 1):
        name = " ".join(words[:end])
        if name in class_indices:
            return Row(class_indices[name], tuple(numbers[end - first :]), has_class_name=True)
    is_label = len(numbers) >= _LEAST_NUMBERS and not _is_almost_a_number(words[first - 1])
    return UnknownClass(" ".join(words[:first])) if is_label else None


def _is_almost_a_number(word: str) -> bool:
    return word[:1].isdigit() or word.lower().lstrip("+-") in ("nan", "inf", "infinity")


def _without_commas(line: str) -> list[str]:
    """The words of the line, read with commas between the numbers or else as decimal points; whichever is meant."""
    line = line.replace(";", " ")
    words = line.split()
    if len(words) == 1 or all(word.endswith(",") for word in words[:-1]):
        return [word.strip() for word in line.split(",") if word.strip()]
    if all(_DECIMAL_COMMA.fullmatch(word) for word in words[-_LEAST_NUMBERS:]):
        return [word.replace(",", ".") if _DECIMAL_COMMA.fullmatch(word) else word for word in words]
    return words
