"""Reads the detections of a run; `fgd_core.evaluation.detections_file` writes and describes the file."""

import io
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fgd_core.spec.worst_images import DETECTIONS_VERSION, MIN_SCORE, FoundBox, TrueBox

MAX_BYTES = 1 << 28
"""Limit of the unpacked size. COCO's 5,000 images with 100 detections each take 15 MB."""
_WITHOUT_TRUTH = 1
"""The version without names, sizes and true boxes."""
_Arrays: TypeAlias = dict[str, npt.NDArray[Any]]
_KINDS = {
    **dict.fromkeys(("fingerprint", "class_names"), "U"),
    **dict.fromkeys(("version", "image_ids", "starts", "label", "truth"), "iu"),
    **dict.fromkeys(("boxes", "score"), "f"),
    "ignored": "b",
}
_KINDS_OF_TRUTH = {"file_names": "U", "sizes": "iu", "true_boxes": "f", "true_label": "iu", "true_starts": "iu"}


class FoundObjects:
    """The detections of one run on a split. Its methods take the place of an image, from 0.

    Args:
        arrays: of the file; `read` has checked them.
    """

    def __init__(self, arrays: _Arrays) -> None:
        self._arrays = arrays
        self.fingerprint = str(arrays["fingerprint"])
        self.image_ids: npt.NDArray[np.int64] = arrays["image_ids"]
        """(I,)"""

    @property
    def has_truth(self) -> bool:
        """Whether the file has the images' names, sizes and true boxes."""
        return "true_starts" in self._arrays

    def name(self, place: int) -> str:
        """Return the name of the image's file."""
        return str(self._arrays["file_names"][place])

    def size(self, place: int) -> tuple[int, int]:
        """Return the image's width and height in pixels."""
        width, height = self._arrays["sizes"][place].tolist()
        return width, height

    def truth(self, place: int) -> list[TrueBox]:
        """Return the objects of the image."""
        arrays, rows = self._arrays, self._rows("true_starts", place)
        boxes, labels = arrays["true_boxes"][rows].tolist(), arrays["true_label"][rows]
        return [TrueBox(box_xyxy_px=tuple(box), label=self._label(of)) for box, of in zip(boxes, labels, strict=True)]

    def found(self, place: int) -> list[FoundBox]:
        """Return the detections of the image with a score that is shown."""
        arrays, rows = self._arrays, self._rows("starts", place)
        return [
            FoundBox(
                box_xyxy_px=tuple(arrays["boxes"][row].tolist()),
                label=self._label(arrays["label"][row]),
                score=float(arrays["score"][row]),
                truth=int(arrays["truth"][row]),
                is_ignored=bool(arrays["ignored"][row]),
            )
            for row in range(rows.start, rows.stop)
            if arrays["score"][row] >= MIN_SCORE
        ]

    def is_found(self) -> npt.NDArray[np.bool_]:
        """(G,) whether a detection that is shown has found the object, over all images."""
        arrays = self._arrays
        right = (arrays["score"] >= MIN_SCORE) & (arrays["truth"] >= 0)
        first = np.repeat(arrays["true_starts"][:-1], np.diff(arrays["starts"]))
        found = np.zeros(int(arrays["true_starts"][-1]), np.bool_)
        found[(first + arrays["truth"])[right]] = True
        return found

    def num_wrong(self) -> npt.NDArray[np.int64]:
        """(I,) number of false positives that are shown."""
        arrays = self._arrays
        wrong = (arrays["score"] >= MIN_SCORE) & (arrays["truth"] < 0) & ~arrays["ignored"]
        return np.diff(np.concatenate([[0], np.cumsum(wrong)])[arrays["starts"]])

    def image_of_object(self) -> npt.NDArray[np.int64]:
        """(G,) place of each object's image."""
        return np.repeat(np.arange(self.image_ids.size), np.diff(self._arrays["true_starts"]))

    def _rows(self, starts: str, place: int) -> slice:
        first, last = self._arrays[starts][place : place + 2].tolist()
        return slice(first, last)

    def _label(self, label: int) -> str:
        return str(self._arrays["class_names"][label])


def read(content: bytes) -> FoundObjects | None:
    """Return what the file `detections.npz` of a run holds; None if it is damaged or of a version to come."""
    arrays = _read(content)
    return FoundObjects(arrays) if arrays is not None and _is_sound(arrays) else None


def found_on(content: bytes, fingerprint: str, image_ids: Iterable[int]) -> Mapping[int, list[FoundBox]]:
    """Return what a run has found on some images, with a score that is shown.

    Args:
        content: of the run's `detections.npz`.
        fingerprint: of the data that the images belong to.
    Returns:
        By image id; empty if the file is damaged, of another version or of other data: a report is useful without it.
    """
    run = read(content)
    if run is None or run.fingerprint != fingerprint:
        return {}
    places = {int(image_id): place for place, image_id in enumerate(run.image_ids)}
    return {image_id: run.found(places[image_id]) for image_id in image_ids if image_id in places}


def _read(content: bytes) -> _Arrays | None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
                return None
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            version = int(stored["version"])
            if version not in (_WITHOUT_TRUTH, DETECTIONS_VERSION):
                return None
            return {name: stored[name] for name in _kinds(version)}
    except (OSError, ValueError, TypeError, KeyError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error):
        return None


def _kinds(version: int) -> Mapping[str, str]:
    return _KINDS if version == _WITHOUT_TRUTH else _KINDS | _KINDS_OF_TRUTH


def _is_sound(arrays: _Arrays) -> bool:
    """Whether every index of `FoundObjects` is inside its array."""
    num_images, num_found, num_classes = (arrays[name].size for name in ("image_ids", "score", "class_names"))
    num_true = arrays["true_label"].size if "true_label" in arrays else 0
    shapes = {
        **dict.fromkeys(("version", "fingerprint"), ()),
        **dict.fromkeys(("score", "label", "truth", "ignored"), (num_found,)),
        "boxes": (num_found, 4),
        **dict.fromkeys(("image_ids", "file_names"), (num_images,)),
        **dict.fromkeys(("starts", "true_starts"), (num_images + 1,)),
        "class_names": (num_classes,),
        "sizes": (num_images, 2),
        "true_boxes": (num_true, 4),
        "true_label": (num_true,),
    }
    kinds = _KINDS | _KINDS_OF_TRUTH
    return (
        all(array.shape == shapes[name] for name, array in arrays.items())
        and all(array.dtype.kind in kinds[name] for name, array in arrays.items())
        and all(np.isfinite(array).all() for array in arrays.values() if array.dtype.kind == "f")
        and all(_inside(arrays[name], num_classes) for name in ("label", "true_label") if name in arrays)
        and _are_starts(arrays["starts"], num_found)
        and ("true_starts" not in arrays or (_are_starts(arrays["true_starts"], num_true) and _names_objects(arrays)))
    )


def _inside(labels: npt.NDArray[Any], num_classes: int) -> bool:
    return bool(((labels >= 0) & (labels < num_classes)).all())


def _are_starts(starts: npt.NDArray[Any], total: int) -> bool:
    return bool((np.diff(starts) >= 0).all()) and (int(starts[0]), int(starts[-1])) == (0, total)


def _names_objects(arrays: _Arrays) -> bool:
    """Whether each detection names an object of its own image, or none."""
    num_objects = np.repeat(np.diff(arrays["true_starts"]), np.diff(arrays["starts"]))
    return bool((arrays["truth"] < num_objects).all())
