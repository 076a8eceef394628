"""What a data set is to the rest of the library: categories, samples with their boxes, and pixels on demand."""

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from fgd_core.data.masks import ObjectMasks
from fgd_core.errors import DataError
from fgd_core.spec.events import DataChecked, Finding

Split: TypeAlias = Literal["train", "val"]

# Roboflow writes `valid`, and `fgd` asks for `val`.
_ALSO_CALLED = {"val": ("valid", "validation"), "valid": ("val", "validation"), "train": ("training",)}


def also_called(name: str) -> tuple[str, ...]:
    """Other names that tools give to the part of a data set."""
    return _ALSO_CALLED.get(name, ())


@dataclass(frozen=True)
class Category:
    id: int
    """As the annotation file has it: any integer, with gaps."""
    name: str


# Arrays have no single truth value, so the generated __eq__ would raise: samples are compared by identity.
@dataclass(frozen=True, eq=False)
class Sample:
    """One image and its objects, in pixels of the original image after its EXIF rotation."""

    image_id: int
    file_name: str
    height: int
    width: int
    boxes_xyxy_px: npt.NDArray[np.float32]
    """(n, 4), each with area and inside the image."""
    labels: npt.NDArray[np.int64]
    """(n,) indices into `DetectionDataset.categories`."""
    is_crowd: npt.NDArray[np.bool_]
    """(n,) regions of many objects: evaluation forgives detections there, training never sees them."""
    areas_px2: npt.NDArray[np.float64]
    """(n,) of the mask where the data set has one, else of the box; COCO sorts objects by it into small to large."""
    masks: ObjectMasks | None = None
    """Of the n objects; None where nobody asked for masks, or the data set has none."""


class DetectionDataset(Protocol):
    """One split of a data set, checked at opening."""

    @property
    def categories(self) -> tuple[Category, ...]:
        """In the order of their ids."""
        ...

    @property
    def samples(self) -> Sequence[Sample]: ...

    @property
    def fingerprint(self) -> str:
        """See `fingerprint`."""
        ...

    @property
    def checked(self) -> DataChecked: ...

    @property
    def refusal(self) -> DataError | None:
        """Why nobody can learn from it or be scored on it, with all that was found; None where it can be used."""
        ...

    def load_image(self, index: int) -> Tensor:
        """(3, H, W) uint8 RGB of `samples[index]`; not to be written to, for it may be kept for the next caller.

        Raises:
            DataError: the file cannot be decoded.
        """
        ...


def fingerprint(categories: Sequence[Category], samples: Sequence[Sample]) -> str:
    """SHA-256 over image names and sizes, categories and boxes: equal for the same split, whatever its folder."""
    digest = hashlib.sha256()
    for category in categories:
        digest.update(f"{category.id} {category.name}\n".encode())
    for sample in samples:
        digest.update(f"{sample.file_name}\n{sample.height} {sample.width} {len(sample.labels)}\n".encode())
        digest.update(sample.boxes_xyxy_px.astype("<f4").tobytes())
        digest.update(sample.labels.astype("<i8").tobytes())
        digest.update(sample.is_crowd.tobytes())
    return digest.hexdigest()


def has_masks(samples: Sequence[Sample]) -> bool:
    """Whether every object has one: a data set has them all or is read as one that has none."""
    return bool(samples) and all(sample.masks is not None for sample in samples)


def masks_fingerprint(samples: Sequence[Sample]) -> str | None:
    """SHA-256 over the masks; None where there are none.

    Not a part of `fingerprint`, so that the boxes that a detector with masks and one without are scored on are known to
    be the same.
    """
    if not has_masks(samples):
        return None
    digest = hashlib.sha256()
    for sample in samples:
        assert sample.masks is not None
        digest.update(f"{sample.file_name}\n{len(sample.masks)}\n".encode())
        digest.update(b"\n".join(sample.masks.counts))
    return digest.hexdigest()


def count(
    split: Split, categories: Sequence[Category], samples: Sequence[Sample], findings: Sequence[Finding]
) -> DataChecked:
    """What `samples` hold; crowd regions are counted apart from boxes."""
    objects = [sample.labels[~sample.is_crowd] for sample in samples]
    labels = np.concatenate([np.zeros(0, np.int64), *objects])
    per_category = np.bincount(labels, minlength=len(categories))
    return DataChecked(
        split=split,
        num_images=len(samples),
        num_images_without_boxes=sum(1 for found in objects if not len(found)),
        num_boxes=len(labels),
        num_crowd=sum(int(sample.is_crowd.sum()) for sample in samples),
        boxes_per_category={c.name: int(n) for c, n in zip(categories, per_category, strict=True)},
        masks_fingerprint=masks_fingerprint(samples),
        findings=list(findings),
        fingerprint=fingerprint(categories, samples),
    )


def look_of(name: str) -> str:
    """What a person sees of a name, but for case: spaces are one each, and what has no width is nothing."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return " ".join("".join(letter for letter in plain if unicodedata.category(letter) != "Cf").split())


def check_same_categories(train: DetectionDataset, val: DetectionDataset) -> None:
    """
    Raises:
        DataError: the splits number or name their categories differently, so that a label would change its meaning.
    """
    in_train, in_val = set(train.categories), set(val.categories)
    if in_train == in_val:
        return

    def shown(categories: set[Category]) -> list[str]:
        return [f"{category.id}: {category.name}" for category in sorted(categories, key=lambda c: c.id)]

    names = [{category.name for category in split} for split in (in_train, in_val)]
    looks = [{look_of(name) for name in own - other} for own, other in (names, names[::-1])]
    alike = "; some names differ by case, spaces or Unicode form only" if looks[0] & looks[1] else ""
    raise DataError(
        "the training and validation splits have different categories; give both files the same list of ids and names"
        + alike,
        only_in_train=list(shown(in_train - in_val)),
        only_in_val=list(shown(in_val - in_train)),
    )
