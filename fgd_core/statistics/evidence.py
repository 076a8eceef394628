"""Reads the file that a run writes for comparisons; `fgd_core.evaluation.evidence` writes and describes the format."""

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from fgd_core.errors import NotComparableError
from fgd_core.spec.comparison import EVIDENCE_VERSION

AREAS = ("all", "small", "medium", "large")
NUM_OVERLAPS = 10
MAX_BYTES = 1 << 30
"""Limit of the unpacked size. COCO's 5,000 images take 8 MB, so a larger file does not come from an evaluation."""

_Bools: TypeAlias = npt.NDArray[np.bool_]
_Arrays: TypeAlias = dict[str, npt.NDArray[Any]]
# Of NumPy's types: texts, integers, integers above 0, and floats.
_KINDS = {
    **dict.fromkeys(("fingerprint", "class_names", "areas"), "U"),
    **dict.fromkeys(("version", "image_ids", "starts", "truth_starts"), "iu"),
    **dict.fromkeys(("image", "right", "ignored", "truth_image", "truth_count"), "u"),
    **dict.fromkeys(("overlaps", "score"), "f"),
}
_DETECTIONS = ("starts", "image", "score", "right", "ignored")
_TRUTH, _GROUPS = "truth", "groups"
"""Only in files of newer versions, and of runs that were to store groups."""
_GROUPS_OF_IMAGES = TypeAdapter(dict[str, list[str | None]])


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassEvidence:
    """The D detections of one class, best first, and its true boxes, for A ranges of areas, T overlaps and G images."""

    image: npt.NDArray[np.intp]
    """(D,) index of the image."""
    scores: npt.NDArray[np.float64]
    """(D,)"""
    truth: npt.NDArray[np.intp] | None
    """(D,) number of the true box that the detection finds at IoU 0.5, or -1; None in files of older versions."""
    right: _Bools
    """(A, T, D): true positive."""
    ignored: _Bools
    """(A, T, D): neither true nor false positive."""
    truth_image: npt.NDArray[np.intp]
    """(G,) images with true boxes of the class."""
    truth_count: npt.NDArray[np.int64]
    """(G, A) number of true boxes."""

    @property
    def num_boxes(self) -> int:
        """The number of true boxes of all sizes."""
        return int(self.truth_count[:, 0].sum())


class Evidence:
    """The matched detections of one run.

    Args:
        arrays: the arrays of the file; `read` has checked them.
    """

    def __init__(self, arrays: _Arrays) -> None:
        self._arrays = arrays
        self.fingerprint = str(arrays["fingerprint"])
        self.class_names: tuple[str, ...] = tuple(arrays["class_names"].tolist())
        self.image_ids: tuple[int, ...] = tuple(arrays["image_ids"].tolist())

    def of_class(self, place: int) -> ClassEvidence:
        """Unpack one class; all classes at once would take eight times the memory."""
        arrays = self._arrays
        found = slice(*arrays["starts"][place : place + 2])
        truths = slice(*arrays["truth_starts"][place : place + 2])
        return ClassEvidence(
            image=arrays["image"][found].astype(np.intp),
            scores=arrays["score"][found].astype(np.float64),
            truth=arrays[_TRUTH][found].astype(np.intp) if _TRUTH in arrays else None,
            right=_unpacked(arrays["right"][found]),
            ignored=_unpacked(arrays["ignored"][found]),
            truth_image=arrays["truth_image"][truths].astype(np.intp),
            truth_count=arrays["truth_count"][truths].astype(np.int64),
        )

    @cached_property
    def groups(self) -> Mapping[str, Mapping[str, frozenset[int]]]:
        """By attribute, the ids of the images in each group; empty if the run stored none."""
        listed = _GROUPS_OF_IMAGES.validate_json(str(self._arrays[_GROUPS])) if _GROUPS in self._arrays else {}
        return {
            name: {
                group: frozenset(image for image, own in zip(self.image_ids, of_image, strict=True) if own == group)
                for group in sorted({group for group in of_image if group is not None})
            }
            for name, of_image in listed.items()
        }

    def has_same_detections(self, other: "Evidence") -> bool:
        """Whether all detections are equal, which runs with different seeds never have."""
        return all(np.array_equal(self._arrays[name], other._arrays[name]) for name in _DETECTIONS)


def read(path: Path, *, whose: str) -> Evidence:
    """Read and check the file of a run.

    Args:
        whose: names the run in errors.
    Raises:
        NotComparableError: the file does not exist, is damaged, or has another version.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
                raise _unreadable(whose, "it is larger than the file of an evaluation")
        with np.load(path, allow_pickle=False) as stored:
            arrays: _Arrays = {name: stored[name] for name in (*_KINDS, *{_TRUTH, _GROUPS} & set(stored.files))}
    except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as cause:
        raise _unreadable(whose, str(cause) or type(cause).__name__) from cause
    if arrays["version"].shape != () or int(arrays["version"]) != EVIDENCE_VERSION:
        raise _unreadable(whose, f"it is of version {arrays['version']}, and this server reads {EVIDENCE_VERSION}")
    if not _is_sound(arrays):
        raise _unreadable(whose, "its parts do not match")
    return Evidence(arrays)


def _unreadable(whose: str, why: str) -> NotComparableError:
    return NotComparableError(
        f"the file that {whose} wrote for comparisons cannot be read: {why}; evaluate its checkpoint again"
    )


def _is_sound(arrays: _Arrays) -> bool:
    """Whether every index of `of_class` is inside its array."""
    num_classes, num_images = arrays["class_names"].size, arrays["image_ids"].size
    num_found, num_truths = arrays["image"].size, arrays["truth_image"].size
    shapes = {
        "fingerprint": (),
        "class_names": (num_classes,),
        "image_ids": (num_images,),
        "areas": (len(AREAS),),
        "overlaps": (NUM_OVERLAPS,),
        "starts": (num_classes + 1,),
        **dict.fromkeys(("image", "score"), (num_found,)),
        **dict.fromkeys(("right", "ignored"), (num_found, len(AREAS) * NUM_OVERLAPS // 8)),
        "truth_starts": (num_classes + 1,),
        "truth_image": (num_truths,),
        "truth_count": (num_truths, len(AREAS)),
    }
    return (
        num_classes > 0
        and num_images > 0
        and all(arrays[name].shape == shape for name, shape in shapes.items())
        and all(arrays[name].dtype.kind in kinds for name, kinds in _KINDS.items())
        and (_TRUTH not in arrays or (arrays[_TRUTH].shape, arrays[_TRUTH].dtype.kind) == ((num_found,), "i"))
        and (_GROUPS not in arrays or _are_groups(arrays[_GROUPS], num_images))
        and arrays["right"].dtype == arrays["ignored"].dtype == np.uint8
        and tuple(arrays["areas"].tolist()) == AREAS
        and _are_starts(arrays["starts"], num_found)
        and _are_starts(arrays["truth_starts"], num_truths)
        and bool((arrays["image"] < num_images).all() and (arrays["truth_image"] < num_images).all())
    )


def _are_groups(groups: npt.NDArray[np.generic], num_images: int) -> bool:
    if groups.shape != () or groups.dtype.kind != "U":
        return False
    try:
        listed = _GROUPS_OF_IMAGES.validate_json(str(groups))
    except ValidationError:
        return False
    return all(len(of_image) == num_images for of_image in listed.values())


def _are_starts(starts: npt.NDArray[Any], total: int) -> bool:
    return int(starts[0]) == 0 and int(starts[-1]) == total and bool((starts[1:] >= starts[:-1]).all())


def _unpacked(bits: npt.NDArray[np.uint8]) -> _Bools:
    flags = np.unpackbits(bits, axis=1).reshape(len(bits), len(AREAS), NUM_OVERLAPS)
    return np.ascontiguousarray(flags.transpose(1, 2, 0)).astype(np.bool_)
