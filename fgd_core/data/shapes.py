"""Generates a synthetic data set from a seed: shapes that differ only in their outline.

The same seed gives the same pixels on any machine. Random numbers are integers from numpy's Generator, sines and
cosines are rounded to 1/4096, and every comparison or colour is computed in integers, or in floats that are exact.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fgd_core.data import masks, outlines, painting
from fgd_core.data.cache import ImageCache
from fgd_core.data.samples import Category, Sample, Split, count
from fgd_core.spec import data as spec
from fgd_core.stopping import stoppable

CATEGORIES = tuple(Category(id=i, name=name) for i, name in enumerate(outlines.OUTLINES, start=1))
WITH_KEYPOINTS = tuple(replace(category, keypoints=outlines.KEYPOINTS) for category in CATEGORIES)

EMPTY_ONE_IN = 20
"""One of this many images has no object."""
MAX_TILT_DEG = 20


@dataclass(frozen=True, kw_only=True)
class Scene:
    """How hard the images are."""

    num_classes: int
    """The first of `CATEGORIES`."""
    max_objects: int
    diameter_px: tuple[int, int]
    """Smallest and largest circle around a shape, in an image of 128 px; scaled with the image."""
    min_visible: float
    """At least this share of an object's area is visible, despite objects in front and the image border."""
    min_contrast: int
    """See `painting.paint`."""


SCENES: Mapping[spec.Scene, Scene] = {
    "simple": Scene(num_classes=5, max_objects=3, diameter_px=(32, 80), min_visible=0.6, min_contrast=90),
    "crowded": Scene(num_classes=10, max_objects=10, diameter_px=(14, 72), min_visible=0.4, min_contrast=45),
}

_TRIES = 8
_IMAGES_PER_STOP_CHECK = 256

# First numbers of the random seeds. Layout and paint have separate streams, so boxes are known without painting.
_STREAM = {"train": 0, "val": 1}
_LAYOUT, _PAINT = 0, 1


class _Place(NamedTuple):
    """Holds where a shape is, which may be past the border."""

    x_px: float
    """Of the centre."""
    y_px: float
    diameter_px: int
    angle_deg: int

    def keypoints(self, label: int) -> npt.NDArray[np.float64]:
        """Return (5, 2) x and y in pixels of a shape here."""
        points = np.array(outlines.keypoints(CATEGORIES[label].name, self.angle_deg))
        return points * (self.diameter_px / 2) + (self.x_px, self.y_px)


@dataclass(frozen=True, eq=False)
class _Object:
    """Holds one shape in an image."""

    label: int
    place: _Place
    mask: npt.NDArray[np.bool_]
    """(S, S) the visible part."""


class ShapesDataset:
    """Implements `DetectionDataset`. Computes the boxes when opened, and paints an image when it is first loaded."""

    def __init__(
        self, shapes: spec.Shapes, split: Split, *, with_masks: bool = False, with_keypoints: bool = False
    ) -> None:
        self._scene = SCENES[shapes.scene]
        self.categories = (WITH_KEYPOINTS if with_keypoints else CATEGORIES)[: self._scene.num_classes]
        self._shapes = shapes
        self._split: Split = split
        self._with_masks, self._with_keypoints = with_masks, with_keypoints
        num_images = shapes.num_train if split == "train" else shapes.num_val
        self.samples: Sequence[Sample] = [
            self._sample(index) for index in stoppable(range(num_images), every=_IMAGES_PER_STOP_CHECK)
        ]
        self.checked = count(split, self.categories, self.samples, [])
        self.fingerprint = self.checked.fingerprint
        self.refusal = None
        self._cache = ImageCache()

    def load_image(self, index: int) -> Tensor:
        """Return an image as (3, S, S) uint8 RGB; see `DetectionDataset`."""
        return self._cache.get(index, self._paint)

    def visible_objects(self, index: int) -> list[_Object]:
        """Return the objects of an image in the order of its boxes."""
        return _layout(self._rng(_LAYOUT, index), self._shapes.image_size_px, self._scene)

    def _sample(self, index: int) -> Sample:
        objects = self.visible_objects(index)
        size_px = self._shapes.image_size_px
        boxes = [_box_xyxy_px(each.mask) for each in objects]
        return Sample(
            image_id=index + 1,
            file_name=f"{self._split}_{index + 1:05d}.png",
            height=size_px,
            width=size_px,
            boxes_xyxy_px=np.array(boxes, dtype=np.float32).reshape(-1, 4),
            labels=np.array([each.label for each in objects], dtype=np.int64),
            is_crowd=np.zeros(len(objects), dtype=np.bool_),
            areas_px2=np.array([each.mask.sum() for each in objects], dtype=np.float64),
            masks=masks.encode([each.mask for each in objects], (size_px, size_px)) if self._with_masks else None,
            keypoints=_keypoints(objects) if self._with_keypoints else None,
        )

    def _paint(self, index: int) -> Tensor:
        visible = [each.mask for each in self.visible_objects(index)]
        size_px = self._shapes.image_size_px
        if self._shapes.shows == "depth":
            pixels = painting.depth_map(size_px, visible)
        else:
            pixels = painting.paint(self._rng(_PAINT, index), size_px, visible, self._scene.min_contrast)
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()

    def _rng(self, purpose: int, index: int) -> np.random.Generator:
        return np.random.default_rng((_STREAM[self._split], purpose, self._shapes.seed, index))


def _keypoints(objects: Sequence[_Object]) -> npt.NDArray[np.float32]:
    """Return (n, 5, 3) x, y and visibility: 0 outside the image, 1 behind another object, 2 visible."""
    rows = [_with_visibility(each.place.keypoints(each.label), each.mask) for each in objects]
    return np.array(rows, dtype=np.float32).reshape(-1, len(outlines.KEYPOINTS), 3)


def _with_visibility(points: npt.NDArray[np.float64], mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Add the visibility to points (5, 2) of an object with the visible part `mask` (S, S): (5, 3).

    A point on the outline may lie just outside of the mask, so the pixels around its own count as well.
    """
    found = np.zeros((len(points), 3))
    for row, (x, y) in zip(found, points, strict=True):
        if 0 <= x < len(mask) and 0 <= y < len(mask):
            left, top = max(int(x) - 1, 0), max(int(y) - 1, 0)
            row[:] = x, y, 2 if mask[top : int(y) + 2, left : int(x) + 2].any() else 1
    return found


def _layout(rng: np.random.Generator, size_px: int, scene: Scene) -> list[_Object]:
    """Place shapes over each other. A shape that would hide too much of another is retried, then left out."""
    if rng.integers(EMPTY_ONE_IN) == 0:
        return []
    labels: list[int] = []
    places: list[_Place] = []
    full_areas: list[int] = []
    owner = np.full((size_px, size_px), -1, dtype=np.int8)
    for _ in range(int(rng.integers(1, scene.max_objects + 1))):
        for _ in range(_TRIES):
            label = int(rng.integers(scene.num_classes))
            place, rows, columns, mask, full_area = _draw(rng, label, size_px, scene.diameter_px)
            tried = owner.copy()
            tried[rows, columns][mask] = len(labels)
            visible = np.bincount(tried[tried >= 0], minlength=len(labels) + 1)
            if all(
                seen >= scene.min_visible * full for seen, full in zip(visible, [*full_areas, full_area], strict=True)
            ):
                labels.append(label)
                places.append(place)
                full_areas.append(full_area)
                owner = tried
                break
    return [
        _Object(label, place, owner == number) for number, (label, place) in enumerate(zip(labels, places, strict=True))
    ]


def _draw(
    rng: np.random.Generator, label: int, size_px: int, diameter_px: tuple[int, int]
) -> tuple[_Place, slice, slice, npt.NDArray[np.bool_], int]:
    """Choose a shape of random size, tilt and position, which may extend past the border.

    Returns:
        Its place, the rows and the columns of the image that it covers, its mask there, and its area in px², including
        the part past the border.
    """
    # Below 6 px a shape has only a few pixels, and a thin one has none.
    smallest, largest = (max(6, bound * size_px // 128) for bound in diameter_px)
    # The smaller of two draws: small objects are more frequent, as in photographs.
    diameter = int(rng.integers(smallest, largest + 1, size=2).min())
    angle_deg = int(rng.integers(-MAX_TILT_DEG, MAX_TILT_DEG + 1))
    # In half pixels, so that centres lie on pixel centres or between them, and are exact.
    margin = diameter * 3 // 5
    x2, y2 = (int(v) for v in rng.integers(margin, 2 * size_px - margin + 1, size=2))
    mask = outlines.draw(list(outlines.OUTLINES)[label], diameter, angle_deg, x2 % 2, y2 % 2)
    left, top = x2 // 2 - mask.shape[1] // 2, y2 // 2 - mask.shape[0] // 2
    x1, y1 = max(left, 0), max(top, 0)
    x_end, y_end = min(left + mask.shape[1], size_px), min(top + mask.shape[0], size_px)
    inside = mask[y1 - top : y_end - top, x1 - left : x_end - left]
    place = _Place(x2 / 2, y2 / 2, diameter, angle_deg)
    return place, slice(y1, y_end), slice(x1, x_end), inside, int(mask.sum())


def _box_xyxy_px(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
