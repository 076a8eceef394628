"""Stores many short texts or byte strings in two flat arrays, which processes can share."""

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fgd_core.data.array_file import Arrays


class Packed(NamedTuple):
    """Holds n byte strings one after the other.

    A list of a million `bytes` takes 60 bytes more for each, and a forked process copies its memory page by page as it
    counts references. Arrays have neither cost.
    """

    content: npt.NDArray[np.uint8]
    """All bytes."""
    ends: npt.NDArray[np.int64]
    """(n,) where in `content` each string ends."""

    def at(self, index: int) -> bytes:
        """Return one string; `index` is not negative."""
        start = self.ends[index - 1] if index else 0
        return self.content[start : self.ends[index]].tobytes()

    def all(self) -> tuple[bytes, ...]:
        """Return all strings."""
        content, ends = self.content.tobytes(), self.ends.tolist()
        return tuple([content[start:end] for start, end in pairwise([0, *ends])])

    def between(self, start: int, end: int) -> tuple[bytes, ...]:
        """Return the strings with the indices from `start` to `end - 1`."""
        return tuple(self.at(index) for index in range(start, end))

    def as_arrays(self, name: str) -> Arrays:
        """Return the arrays with names that begin with `name`."""
        return {f"{name}.content": self.content, f"{name}.ends": self.ends}

    @classmethod
    def from_arrays(cls, arrays: Arrays, name: str) -> "Packed":
        """Return what `as_arrays` was called on."""
        return cls(arrays[f"{name}.content"].view(np.uint8), arrays[f"{name}.ends"].view(np.int64))


def pack(strings: Sequence[bytes]) -> Packed:
    """Store byte strings in flat arrays."""
    content = np.frombuffer(b"".join(strings), dtype=np.uint8)
    return Packed(content, _ends(map(len, strings)))


def _ends(lengths: Iterable[int]) -> npt.NDArray[np.int64]:
    return np.fromiter(accumulate(lengths), dtype=np.int64)
