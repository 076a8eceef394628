"""Reads annotations of COCO's own form many times faster than one by one; finds those that are not of this form.

An annotation is plain if nothing about it needs a finding or a conversion. `coco_objects` reads the others. The text is
read in blocks, by several processes, so that its numbers are never all objects of Python at the same time.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, islice, pairwise
from typing import NamedTuple, TypeVar, cast

import msgspec
import numpy as np
import numpy.typing as npt

from fgd_core.data.collection import paused_collection
from fgd_core.data.image_headers import num_readers
from fgd_core.data.processes import map_in_processes

BLOCK_BYTES = 4 * 2**20
_BETWEEN_OBJECTS = re.compile(rb"\}\s*(,)\s*\{")
_LARGEST = 1e300
_MAX_COORDINATE = 1e6
_KEY_END = b'":'
_QUOTE, _COLON = _KEY_END
_MIN_NUMBERS = 6
"""Of a polygon: x and y of three corners."""

MISSING = msgspec.Raw(b"")
"""A value that an object lacks."""

T = TypeVar("T")


class _Annotation(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The fields that COCO's own files have, and no others: see `_may_repeat_keys`."""

    id: int
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    area: float
    iscrowd: int
    segmentation: msgspec.Raw = MISSING


_NUM_FIELDS = len(_Annotation.__struct_fields__)
_ANNOTATIONS = msgspec.json.Decoder(list[_Annotation])
_POLYGONS = msgspec.json.Decoder(list[list[list[float]]])


class PlainColumns(NamedTuple):
    """Holds the n annotations of a block as columns; the values of those that are not plain mean nothing."""

    is_plain: npt.NDArray[np.bool_]
    """(n,)"""
    ids: npt.NDArray[np.int64]
    """(n,)"""
    image_ids: npt.NDArray[np.int64]
    """(n,)"""
    category_ids: npt.NDArray[np.int64]
    """(n,)"""
    boxes_xywh_px: npt.NDArray[np.float64]
    """(n, 4)"""
    areas_px2: npt.NDArray[np.float64]
    """(n,)"""
    is_crowd: npt.NDArray[np.bool_]
    """(n,)"""
    outlines_xyxy_px: npt.NDArray[np.float64]
    """(n, 4) bounds of the polygons; NaN without polygons"""


def none_plain(number: int) -> PlainColumns:
    """Return the columns of annotations of which none is plain."""
    integers, numbers, flags = np.zeros(number, np.int64), np.zeros((number, 4)), np.zeros(number, np.bool_)
    return PlainColumns(flags, integers, integers, integers, numbers, numbers[:, 0], flags, numbers)


def joined(parts: Sequence[PlainColumns]) -> PlainColumns:
    """Return the columns of consecutive annotations as one."""
    return PlainColumns(*map(np.concatenate, zip(*(parts or [none_plain(0)]), strict=True)))


def blocks_of(annotations: memoryview) -> list[memoryview]:
    """Cut the text of a JSON list of objects into blocks; see `text_of`.

    A cut may lie within a nested list, or within a text. Then the block before it is no JSON, because what is open at
    its end is not closed in it. So if all blocks are lists, they have the elements of the whole.
    """
    cuts = [0]
    while (found := _BETWEEN_OBJECTS.search(annotations, cuts[-1] + BLOCK_BYTES)) is not None:
        cuts.append(found.start(1))
    return [annotations[start + 1 : stop] for start, stop in pairwise([*cuts, len(annotations) - 1])]


def text_of(block: memoryview) -> bytes:
    """Return the JSON list of the annotations in a block."""
    return b"".join((b"[", block, b"]"))


def read_plain(
    blocks: Sequence[memoryview], then: Sequence[Callable[[], T]] = ()
) -> tuple[Iterator[PlainColumns | None], Iterator[T]]:
    """Read the blocks, and then do other work, in the same processes.

    Returns:
        The columns of each block, None if a block has annotations of another form; and the results of `then`, which
        are ready only after all blocks.
    """
    work: list[Callable[[], object]] = [*(partial(_read_block, block) for block in blocks), *then]
    results = map_in_processes(_call, work, processes=num_readers() if then else None)
    return cast("Iterator[PlainColumns | None]", islice(results, len(blocks))), cast("Iterator[T]", results)


def _call(work: Callable[[], T]) -> T:
    return work()


@paused_collection()
def _read_block(block: memoryview) -> PlainColumns | None:
    text = text_of(block)
    try:
        rows = _ANNOTATIONS.decode(text)
        segmentations = [bytes(row.segmentation) for row in rows]
        if _may_repeat_keys(text, segmentations):
            return None
        return _columns(rows, _outlines(segmentations))
    except (msgspec.MsgspecError, OverflowError):  # Overflow: an id beyond 64 bits.
        return None


def num_keys(text: bytes) -> int:
    """Return how many keys the objects in a JSON text have, or more: a text may end with a quote before a colon."""
    marks = np.frombuffer(text, dtype=np.uint8)
    return int(np.count_nonzero((marks[:-1] == _QUOTE) & (marks[1:] == _COLON)))


def _may_repeat_keys(text: bytes, segmentations: Sequence[bytes]) -> bool:
    """Return whether an object may have a key twice: the text then has more keys than the objects have fields."""
    in_segmentations = sum([each.count(_KEY_END) for each in segmentations if each.startswith(b"{")])
    num_missing = segmentations.count(b"")
    return num_keys(text) != _NUM_FIELDS * len(segmentations) - num_missing + in_segmentations


def _is_object(segmentation: bytes) -> bool:
    return segmentation.startswith(b"{")


def _is_run_length(segmentation: bytes) -> bool:
    """Return whether this is certainly an object with the keys of a run length, each once, that needs no conversion."""
    if not _is_object(segmentation) or segmentation.count(_KEY_END) != 2:
        return False
    has_keys = b'"size"' in segmentation and b'"counts"' in segmentation
    return has_keys and segmentation.isascii() and not any(mark in segmentation for mark in (b"b'", b'b\\"'))


class _Outlines(NamedTuple):
    xyxy_px: npt.NDArray[np.float64]
    """(n, 4) bounds of the polygons; NaN without polygons"""
    are_plain: npt.NDArray[np.bool_]
    """(n,)"""


def _outlines(segmentations: Sequence[bytes]) -> _Outlines:
    """Return the bounds of n segmentations.

    Raises:
        MsgspecError: a segmentation is a list, but not of polygons.
    """
    xyxy_px = np.full((len(segmentations), 4), np.nan)
    are_plain = np.array([each in (b"", b"null") or _is_run_length(each) for each in segmentations], dtype=np.bool_)
    rows = np.array([row for row, each in enumerate(segmentations) if each.startswith(b"[")], dtype=np.int64)
    lists = _POLYGONS.decode(b"[" + b",".join(segmentations[row] for row in rows.tolist()) + b"]")
    xyxy_px[rows], are_plain[rows] = _bounds(lists)
    return _Outlines(xyxy_px, are_plain)


def _bounds(lists: Sequence[Sequence[Sequence[float]]]) -> _Outlines:
    """Return the bounds of n lists of polygons, each polygon x and y of its corners in turn.

    Raises:
        MsgspecError: a polygon has an odd number of coordinates.
    """
    polygons = [*chain.from_iterable(lists)]
    lengths = np.fromiter(map(len, polygons), dtype=np.int64)
    if (lengths % 2).any():
        raise msgspec.ValidationError("a polygon has an odd number of coordinates")
    x, y = np.array([*chain.from_iterable(polygons)], dtype=np.float64).reshape(-1, 2).T
    polygon_ends = np.fromiter(map(len, lists), dtype=np.int64).cumsum()
    corner_ends = np.concatenate([[0], lengths.cumsum() // 2])[polygon_ends]
    least, most = np.minimum, np.maximum
    sides = [_reduced(of, axis, corner_ends, np.nan) for of, axis in ((least, x), (least, y), (most, x), (most, y))]
    xyxy_px = np.stack(sides, axis=1)
    is_long = _reduced(least, lengths, polygon_ends, _MIN_NUMBERS) >= _MIN_NUMBERS
    is_near = ~np.logical_or.reduce(np.abs(xyxy_px) > _MAX_COORDINATE, axis=1)
    return _Outlines(xyxy_px, is_long & is_near)


def _reduced(
    reduce: np.ufunc, values: npt.NDArray[np.generic], ends: npt.NDArray[np.int64], default: float
) -> npt.NDArray[np.float64]:
    """Reduce consecutive parts of values, (m,) to (n,).

    Args:
        ends: (n,) where each part ends; a part may be empty.
        default: for empty parts.
    """
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    reduced = np.full(len(ends), default, dtype=np.float64)
    is_full = ends > starts
    if is_full.any():
        reduced[is_full] = reduce.reduceat(values, starts[is_full])
    return reduced


def _columns(rows: Sequence[_Annotation], outlines: _Outlines) -> PlainColumns:
    ids = np.array([row.id for row in rows], dtype=np.int64)
    boxes = np.array([*chain.from_iterable(row.bbox for row in rows)], dtype=np.float64).reshape(-1, 4)
    areas = np.array([row.area for row in rows], dtype=np.float64)
    crowd = np.array([row.iscrowd for row in rows], dtype=np.int64)
    has_plain_box = (np.abs(boxes) <= _LARGEST).all(axis=1) & boxes.any(axis=1)
    has_plain_area = (areas > 0) & (areas <= _LARGEST)
    return PlainColumns(
        is_plain=outlines.are_plain & (ids != 0) & has_plain_box & has_plain_area & np.isin(crowd, (0, 1)),
        ids=ids,
        image_ids=np.array([row.image_id for row in rows], dtype=np.int64),
        category_ids=np.array([row.category_id for row in rows], dtype=np.int64),
        boxes_xywh_px=boxes,
        areas_px2=areas,
        is_crowd=crowd == 1,
        outlines_xyxy_px=outlines.xyxy_px,
    )
