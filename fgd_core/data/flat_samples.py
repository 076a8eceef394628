"""Stores the samples of a split in flat arrays, which loader processes share; a sample is built when it is read."""

import hashlib
import operator
from collections.abc import Sequence
from typing import NamedTuple, overload

import numpy as np
import numpy.typing as npt

from fgd_core.data.array_file import Arrays
from fgd_core.data.masks import ObjectMasks
from fgd_core.data.packed import Packed
from fgd_core.data.samples import Category, Sample, Split, keypoints_fingerprint, masks_fingerprint
from fgd_core.spec.events import DataChecked, Finding


class Columns(NamedTuple):
    """Holds N images and their n objects as columns; the objects are sorted by image."""

    image_ids: npt.NDArray[np.int64]
    """(N,)"""
    sizes_px: npt.NDArray[np.int64]
    """(N, 2) width and height"""
    file_names: Packed
    """N names in UTF-8"""
    object_ends: npt.NDArray[np.int64]
    """(N,) number of objects in this image and all before it"""
    boxes_xyxy_px: npt.NDArray[np.float32]
    """(n, 4)"""
    labels: npt.NDArray[np.int64]
    """(n,)"""
    is_crowd: npt.NDArray[np.bool_]
    """(n,)"""
    areas_px2: npt.NDArray[np.float64]
    """(n,)"""
    masks: Packed | None = None
    """Run lengths of the n objects; None without masks"""
    keypoints: npt.NDArray[np.float32] | None = None
    """(n, K, 3); None without keypoints"""

    def as_arrays(self) -> Arrays:
        """Return the columns that exist, by name."""
        arrays: dict[str, npt.NDArray[np.generic]] = {}
        for name, column in self._asdict().items():
            if isinstance(column, Packed):
                arrays |= column.as_arrays(name)
            elif column is not None:
                arrays[name] = column
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "Columns":
        """Return what `as_arrays` was called on."""
        return cls(
            image_ids=arrays["image_ids"].view(np.int64),
            sizes_px=arrays["sizes_px"].view(np.int64),
            file_names=Packed.from_arrays(arrays, "file_names"),
            object_ends=arrays["object_ends"].view(np.int64),
            boxes_xyxy_px=arrays["boxes_xyxy_px"].view(np.float32),
            labels=arrays["labels"].view(np.int64),
            is_crowd=arrays["is_crowd"].view(np.bool_),
            areas_px2=arrays["areas_px2"].view(np.float64),
            masks=Packed.from_arrays(arrays, "masks") if "masks.ends" in arrays else None,
            keypoints=arrays["keypoints"].view(np.float32) if "keypoints" in arrays else None,
        )


class FlatSamples(Sequence[Sample]):
    """Gives access to samples in flat arrays.

    A hundred thousand images as objects of Python take a hundred megabytes, and each forked loader process soon has its
    own copy of them, because reading an object counts a reference to it. Arrays stay shared.
    """

    def __init__(self, columns: Columns) -> None:
        self._columns = columns

    @property
    def columns(self) -> Columns:
        """The arrays; callers must not modify them."""
        return self._columns

    def __len__(self) -> int:
        return len(self._columns.image_ids)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(index, slice):
            return [self._at(each) for each in range(len(self))[index]]
        return self._at(range(len(self))[operator.index(index)])

    def _at(self, index: int) -> Sample:
        columns = self._columns
        width, height = columns.sizes_px[index].tolist()
        start, end = int(columns.object_ends[index - 1]) if index else 0, int(columns.object_ends[index])
        masks = columns.masks
        return Sample(
            image_id=int(columns.image_ids[index]),
            file_name=columns.file_names.at(index).decode(),
            height=height,
            width=width,
            boxes_xyxy_px=columns.boxes_xyxy_px[start:end],
            labels=columns.labels[start:end],
            is_crowd=columns.is_crowd[start:end],
            areas_px2=columns.areas_px2[start:end],
            masks=None if masks is None else ObjectMasks(height, width, masks.between(start, end)),
            keypoints=None if columns.keypoints is None else columns.keypoints[start:end],
        )


def count_columns(
    split: Split, categories: Sequence[Category], samples: FlatSamples, findings: Sequence[Finding]
) -> DataChecked:
    """Count the contents of a split; the same as `count` of the samples, without building them."""
    columns = samples.columns
    is_box = ~columns.is_crowd
    boxes_up_to = np.concatenate([[0], is_box.cumsum()])[columns.object_ends]
    per_category = np.bincount(columns.labels[is_box], minlength=len(categories))
    return DataChecked(
        split=split,
        num_images=len(samples),
        num_images_without_boxes=int(np.count_nonzero(np.diff(boxes_up_to, prepend=0) == 0)),
        num_boxes=int(is_box.sum()),
        num_crowd=int(columns.is_crowd.sum()),
        boxes_per_category={c.name: int(n) for c, n in zip(categories, per_category, strict=True)},
        masks_fingerprint=masks_fingerprint(samples),
        keypoints_fingerprint=keypoints_fingerprint(samples),
        findings=list(findings),
        fingerprint=_fingerprint(categories, columns),
    )


def _fingerprint(categories: Sequence[Category], columns: Columns) -> str:
    """Return the `fingerprint` of the samples in the columns."""
    arrays = (columns.boxes_xyxy_px.astype("<f4"), columns.labels.astype("<i8"), columns.is_crowd)
    boxes, labels, is_crowd = (array.tobytes() for array in arrays)
    parts = [f"{category.id} {category.name}\n".encode() for category in categories]
    start = 0
    images = zip(columns.file_names.all(), columns.sizes_px.tolist(), columns.object_ends.tolist(), strict=True)
    for name, (width, height), end in images:
        parts += (
            b"%s\n%d %d %d\n" % (name, height, width, end - start),
            boxes[16 * start : 16 * end],
            labels[8 * start : 8 * end],
            is_crowd[start:end],
        )
        start = end
    return hashlib.sha256(b"".join(parts)).hexdigest()
