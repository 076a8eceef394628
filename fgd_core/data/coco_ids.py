"""Whole numbers of 64 bits in the place of a COCO file's ids, which may be any numbers or texts."""

from collections.abc import Iterable
from itertools import count

from fgd_core.data.coco_values import Id

_BITS_63 = 2**63


class Numbers:
    """Each id is its own number where that works for all of them; else all are numbered from 1."""

    def __init__(self, ids: Iterable[Id], *, in_order: bool = False) -> None:
        """
        Args:
            in_order: number by size, not by place in the file, so that two files with the same ids agree.
        """
        given = list(dict.fromkeys(ids))
        self.are_new = not all(map(fits, given))
        if in_order:
            given.sort(key=lambda one: (isinstance(one, str), one))
        self._numbers = {
            one: place if self.are_new or not isinstance(one, int) else one for place, one in enumerate(given, start=1)
        }
        taken = set(self._numbers.values())
        self.unknown = next(number for number in count(-1, -1) if number not in taken)
        """Stands for ids that are not listed and no numbers of 64 bits."""

    def of(self, one: Id) -> int:
        """Of an id that is not listed: a number that no listed id has."""
        known = self._numbers.get(one)
        if known is not None:
            return known
        return one if isinstance(one, int) and fits(one) and not self.are_new else self.unknown


def fits(one: Id) -> bool:
    """Whether it is a whole number of 64 bits."""
    return isinstance(one, int) and -_BITS_63 <= one < _BITS_63
