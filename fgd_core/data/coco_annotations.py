"""Gives access to the annotations of a COCO file: as columns if they are plain, one by one if they are not."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from fgd_core.data.coco_values import Fields, Id, read_id
from fgd_core.data.image_headers import HeadersAhead, header_tasks, read_part
from fgd_core.data.plain_annotations import PlainColumns, blocks_of, joined, none_plain, read_plain, text_of

PairsHook: TypeAlias = Callable[[list[tuple[str, object]]], object]
"""`object_pairs_hook` of `json.loads`."""


class _Block(NamedTuple):
    """Some consecutive annotations, read as columns."""

    first: int
    """Index of the first of them in the file's list."""
    number: int
    text: memoryview


class AnnotationList:
    """Holds n annotations in file order."""

    def __init__(self, columns: PlainColumns, others: Mapping[int, Fields], blocks: Sequence[_Block] = ()) -> None:
        """
        Args:
            columns: of all n annotations.
            others: those that are not plain, by their index in the file's list.
            blocks: the text of those that are plain.
        """
        self.columns, self._others, self._blocks = columns, others, blocks

    def entries(self, is_wanted: npt.NDArray[np.bool_]) -> Iterator[tuple[int, Fields]]:
        """Yield the annotations where `is_wanted`, (n,), each with its index in the file's list.

        Plain annotations are read again, so ask for few of them.
        """
        blocks = iter(self._blocks)
        first, entries = 0, list[Fields]()
        for place in np.flatnonzero(is_wanted).tolist():
            if (known := self._others.get(place)) is not None:
                yield place, known
                continue
            while place >= first + len(entries):
                block = next(blocks)
                first = block.first
                entries = json.loads(text_of(block.text)) if place < first + block.number else []
            yield place, entries[place - first]

    def have_category(self, category_id: Id) -> bool:
        """Return whether an annotation has the category with this id."""
        columns = self.columns
        if isinstance(category_id, int) and bool((columns.category_ids[columns.is_plain] == category_id).any()):
            return True
        return any(read_id(entry.get("category_id"), set()) == category_id for entry in self._others.values())


def objects(entries: Sequence[object]) -> list[Fields]:
    """Return entries of a file; those that are not objects become empty."""
    return [entry if isinstance(entry, dict) else {} for entry in entries]


def listed(entries: Sequence[Fields]) -> AnnotationList:
    """Return a list of parsed annotations, all of which are read one by one."""
    return AnnotationList(none_plain(len(entries)), dict(enumerate(entries)))


def listed_in_blocks(
    annotations: memoryview, hook: PairsHook, images: Sequence[str] = ()
) -> tuple[AnnotationList, HeadersAhead | None]:
    """Read the text of a JSON list of annotations.

    Args:
        hook: for the annotations that are not plain.
        images: files whose headers are read by the same processes, after the annotations.
    Raises:
        ValueError: the text cannot be cut into blocks, or is not JSON.
    """
    texts = blocks_of(annotations)
    columns: list[PlainColumns] = []
    others: dict[int, Fields] = {}
    blocks: list[_Block] = []
    first = 0
    read, parts = read_plain(texts, [partial(read_part, task) for task in header_tasks(images)])
    for text, found in zip(texts, read, strict=True):
        own = found
        if own is None or not own.is_plain.all():
            entries = [
                entry if isinstance(entry, dict) else {} for entry in json.loads(text_of(text), object_pairs_hook=hook)
            ]
            own = own or none_plain(len(entries))
            others |= {first + place: entries[place] for place in np.flatnonzero(~own.is_plain).tolist()}
        blocks.append(_Block(first, len(own.ids), text))
        columns.append(own)
        first += len(own.ids)
    return AnnotationList(joined(columns), others, blocks), HeadersAhead(images, parts) if images else None
