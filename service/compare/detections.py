"""Reads the detections of a run on some images; `fgd_core.evaluation.detections_file` writes and describes the file."""

import io
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fgd_core.spec.worst_images import DETECTIONS_VERSION, MIN_SCORE, FoundBox

MAX_BYTES = 1 << 28
"""Limit of the unpacked size. COCO's 5,000 images with 100 detections each take 15 MB."""
_Arrays: TypeAlias = dict[str, npt.NDArray[Any]]
_KINDS = {
    **dict.fromkeys(("fingerprint", "class_names"), "U"),
    **dict.fromkeys(("version", "image_ids", "starts", "label", "truth"), "iu"),
    **dict.fromkeys(("boxes", "score"), "f"),
    "ignored": "b",
}


def found_on(content: bytes, fingerprint: str, image_ids: Iterable[int]) -> Mapping[int, list[FoundBox]]:
    """Return what a run has found on some images, with a score that is shown.

    Args:
        content: of the run's `detections.npz`.
        fingerprint: of the data that the images belong to.
    Returns:
        By image id; empty if the file is damaged, of another version or of other data: a report is useful without it.
    """
    arrays = _read(content)
    if arrays is None or not _is_sound(arrays) or str(arrays["fingerprint"]) != fingerprint:
        return {}
    places = {int(image_id): place for place, image_id in enumerate(arrays["image_ids"])}
    return {image_id: _boxes(arrays, places[image_id]) for image_id in image_ids if image_id in places}


def _read(content: bytes) -> _Arrays | None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
                return None
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return {name: stored[name] for name in _KINDS}
    except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error):
        return None


def _is_sound(arrays: _Arrays) -> bool:
    """Whether every index of `_boxes` is inside its array."""
    num_images, num_found, num_classes = (arrays[name].size for name in ("image_ids", "score", "class_names"))
    shapes = {
        **dict.fromkeys(("version", "fingerprint"), ()),
        **dict.fromkeys(("score", "label", "truth", "ignored"), (num_found,)),
        "boxes": (num_found, 4),
        "image_ids": (num_images,),
        "class_names": (num_classes,),
        "starts": (num_images + 1,),
    }
    return (
        all(arrays[name].shape == shape for name, shape in shapes.items())
        and all(arrays[name].dtype.kind in kinds for name, kinds in _KINDS.items())
        and int(arrays["version"]) == DETECTIONS_VERSION
        and bool(((arrays["label"] >= 0) & (arrays["label"] < num_classes)).all())
        and bool(np.isfinite(arrays["boxes"]).all() and np.isfinite(arrays["score"]).all())
        and bool((np.diff(arrays["starts"]) >= 0).all())
        and (int(arrays["starts"][0]), int(arrays["starts"][-1])) == (0, num_found)
    )


def _boxes(arrays: _Arrays, place: int) -> list[FoundBox]:
    rows = range(*(int(each) for each in arrays["starts"][place : place + 2]))
    return [
        FoundBox(
            box_xyxy_px=tuple(arrays["boxes"][row].tolist()),
            label=str(arrays["class_names"][arrays["label"][row]]),
            score=float(arrays["score"][row]),
            truth=int(arrays["truth"][row]),
            is_ignored=bool(arrays["ignored"][row]),
        )
        for row in rows
        if arrays["score"][row] >= MIN_SCORE
    ]
