"""The interface between a data set and the rest of the library: categories, samples with boxes, images on demand."""

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

# Roboflow writes `valid`; the default of `fgd` is `val`.
_SPLIT_ALIASES = {"val": ("valid", "validation"), "valid": ("val", "validation"), "train": ("training",)}


def split_aliases(name: str) -> tuple[str, ...]:
    """Return the other names that tools use for a split."""
    return _SPLIT_ALIASES.get(name, ())


@dataclass(frozen=True)
class Category:
    """Holds one class of objects."""

    id: int
    """As in the annotation file: any integer; ids may have gaps."""
    name: str
    keypoints: tuple[str, ...] = ()
    """Names of the keypoints of each object; empty if the data set has none, or was opened without keypoints."""


# Samples are compared by identity: arrays have no single truth value, so a generated __eq__ would raise.
@dataclass(frozen=True, eq=False)
class Sample:
    """Holds one image's metadata and objects, in pixels of the original image after its EXIF rotation."""

    image_id: int
    file_name: str
    height: int
    width: int
    boxes_xyxy_px: npt.NDArray[np.float32]
    """(n, 4), each with area and inside the image."""
    labels: npt.NDArray[np.int64]
    """(n,) indices into `DetectionDataset.categories`."""
    is_crowd: npt.NDArray[np.bool_]
    """(n,) regions with many objects: evaluation ignores detections there, and training never uses them."""
    areas_px2: npt.NDArray[np.float64]
    """(n,) of the mask if the data set has masks, else of the box; COCO divides objects into small to large by it."""
    masks: ObjectMasks | None = None
    """Of the n objects; None if the data set was opened without masks, or has none."""
    keypoints: npt.NDArray[np.float32] | None = None
    """(n, K, 3) x and y in pixels, and visibility: 0 not labelled, 1 hidden, 2 visible; None if the data set was opened
    without keypoints, or has none."""


class DetectionDataset(Protocol):
    """Gives access to one split of a data set, which is checked when it is opened."""

    @property
    def categories(self) -> tuple[Category, ...]:
        """The classes, in the order of their ids."""

    @property
    def samples(self) -> Sequence[Sample]:
        """The usable images with their objects."""

    @property
    def fingerprint(self) -> str:
        """See `fingerprint`."""

    @property
    def checked(self) -> DataChecked:
        """Counts and findings of the split."""

    @property
    def refusal(self) -> DataError | None:
        """Why no run can train or evaluate on the split, with all its findings; None if the split is usable."""

    def load_image(self, index: int) -> Tensor:
        """Return `samples[index]` as (3, H, W) uint8 RGB. Callers must not modify the tensor: it may be cached.

        Raises:
            DataError: the file cannot be decoded.
        """


def fingerprint(categories: Sequence[Category], samples: Sequence[Sample]) -> str:
    """Return a SHA-256 over image names and sizes, categories and boxes; it does not depend on the folder."""
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
    """Return whether every object has a mask. A data set has masks for all objects, or is read without masks."""
    return bool(samples) and samples[0].masks is not None


def masks_fingerprint(samples: Sequence[Sample]) -> str | None:
    """Return a SHA-256 over the masks; None if there are none.

    It is separate from `fingerprint`. A detector with masks and a detector without masks can thus be shown to be
    evaluated on the same boxes.
    """
    if not has_masks(samples):
        return None
    digest = hashlib.sha256()
    for sample in samples:
        assert sample.masks is not None
        digest.update(f"{sample.file_name}\n{len(sample.masks)}\n".encode())
        digest.update(b"\n".join(sample.masks.counts))
    return digest.hexdigest()


def has_keypoints(samples: Sequence[Sample]) -> bool:
    """Return whether some object has a labelled keypoint. All samples of a data set have keypoints, or none has."""
    if not samples or samples[0].keypoints is None:
        return False
    return any(sample.keypoints is not None and bool((sample.keypoints[..., 2] > 0).any()) for sample in samples)


def keypoints_fingerprint(samples: Sequence[Sample]) -> str | None:
    """Return a SHA-256 over the keypoints; None if there are none. It is separate from `fingerprint`, like masks."""
    if not has_keypoints(samples):
        return None
    digest = hashlib.sha256()
    for sample in samples:
        assert sample.keypoints is not None
        digest.update(f"{sample.file_name}\n{sample.keypoints.shape}\n".encode())
        digest.update(sample.keypoints.astype("<f4").tobytes())
    return digest.hexdigest()


def count(
    split: Split, categories: Sequence[Category], samples: Sequence[Sample], findings: Sequence[Finding]
) -> DataChecked:
    """Count the contents of `samples`. Crowd regions are not counted as boxes, but separately."""
    objects = [sample.labels[~sample.is_crowd] for sample in samples]
    labels = np.concatenate([np.zeros(0, np.int64), *objects])
    per_category = np.bincount(labels, minlength=len(categories))
    return DataChecked(
        split=split,
        num_images=len(samples),
        num_images_without_boxes=sum(1 for own in objects if not len(own)),
        num_boxes=len(labels),
        num_crowd=sum(int(sample.is_crowd.sum()) for sample in samples),
        boxes_per_category={c.name: int(n) for c, n in zip(categories, per_category, strict=True)},
        masks_fingerprint=masks_fingerprint(samples),
        keypoints_fingerprint=keypoints_fingerprint(samples),
        findings=list(findings),
        fingerprint=fingerprint(categories, samples),
    )


def visible_form(name: str) -> str:
    """Return a name as a person sees it, in lower case, with single spaces and without invisible characters."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return " ".join("".join(letter for letter in plain if unicodedata.category(letter) != "Cf").split())


def check_same_categories(train: DetectionDataset, val: DetectionDataset) -> None:
    """Check that a label has the same meaning in both splits.

    Raises:
        DataError: the splits have different category ids, names or keypoints.
    """
    in_train, in_val = set(train.categories), set(val.categories)
    if in_train == in_val:
        return

    def shown(categories: set[Category]) -> list[str]:
        return [
            f"{category.id}: {category.name}" + "".join(f", {keypoint}" for keypoint in category.keypoints)
            for category in sorted(categories, key=lambda c: c.id)
        ]

    names = [{category.name for category in split} for split in (in_train, in_val)]
    forms = [{visible_form(name) for name in own - other} for own, other in (names, names[::-1])]
    names_differ = {(each.id, each.name) for each in in_train} != {(each.id, each.name) for each in in_val}
    lists = "ids and names" if names_differ else "keypoints for each category"
    similar = "; some names differ only by case, spaces or Unicode form" if forms[0] & forms[1] else ""
    raise DataError(
        "the training and validation splits have different categories; give both files the same list of "
        + lists
        + similar,
        only_in_train=list(shown(in_train - in_val)),
        only_in_val=list(shown(in_val - in_train)),
    )
