"""Splits a batch into the parts that a step processes one after another."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from fgd_core.data.loading import Batch

T = TypeVar("T")


class Part(NamedTuple):
    """Holds the images of one forward and backward pass."""

    batch: Batch
    share: float
    """Of the loss of the step; the shares of all parts sum up to 1."""


def weighed_parts(batch: Batch, number: int) -> list[Part]:
    """Split the labelled images of a step into `number` parts, and those of its pool into parts of the same size."""
    labelled = parts_of(batch, number)
    size = len(labelled[0].images)
    pool = [] if batch.pool is None else parts_of(batch.pool, len(batch.pool.images) // size)
    weight = sum(each.weight for each in (*labelled, *pool))
    return [Part(each, each.weight / weight) for each in (*labelled, *pool)]


def parts_of(batch: Batch, number: int) -> list[Batch]:
    """Split a batch of N images into `number` batches of N / number images each, without its pool.

    The images keep the padding of the whole batch, so that their maps have the same values as in one pass.
    """
    if number == 1:
        return [replace(batch, pool=None)]
    size = len(batch.images) // number
    return [_images(batch, slice(first, first + size)) for first in range(0, number * size, size)]


def _images(batch: Batch, own: slice) -> Batch:
    return replace(
        batch,
        images=batch.images[own],
        image_sizes=batch.image_sizes[own],
        boxes=batch.boxes[own],
        labels=batch.labels[own],
        image_ids=batch.image_ids[own],
        original_sizes=batch.original_sizes[own],
        masks=_of(batch.masks, own),
        keypoints=_of(batch.keypoints, own),
        pictures={name: images[own] for name, images in batch.pictures.items()},
        seeds=_of(batch.seeds, own),
        pool=None,
    )


def _of(values: Sequence[T] | None, own: slice) -> list[T] | None:
    return None if values is None else [*values[own]]
