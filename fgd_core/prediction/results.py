"""Writes predictions in COCO's format of results, with numpy alone."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from fgd_core.prediction.model import Prediction
from fgd_core.spec.exports import ExportDescription

_DIGITS = 3
_SCORE_DIGITS = 5
_RADIX_BITS = 5
_FIRST_CHARACTER = 48


def coco_results(found: Prediction, image_id: int, description: ExportDescription) -> list[JsonValue]:
    """Convert the predictions of an image to COCO results: category ids are those of the detector's training data."""
    rows: list[JsonValue] = []
    for index, (label, score) in enumerate(zip(found.labels.tolist(), found.scores.tolist(), strict=True)):
        left, top, right, bottom = found.boxes_xyxy_px[index].astype(float).tolist()
        row: dict[str, JsonValue] = {
            "image_id": image_id,
            "category_id": description.classes[label].id,
            "bbox": [round(value, _DIGITS) for value in (left, top, right - left, bottom - top)],
            "score": round(score, _SCORE_DIGITS),
        }
        if found.masks is not None:
            row["segmentation"] = {"size": [*found.masks.shape[1:]], "counts": run_lengths(found.masks[index])}
        if found.keypoints is not None:
            row["keypoints"] = [round(value, _DIGITS) for value in found.keypoints[index].astype(float).flatten()]
        rows.append(row)
    return rows


def coco_images(sizes: Mapping[str, tuple[int, int]], description: ExportDescription) -> dict[str, JsonValue]:
    """List images by their names, with (height, width), and the categories, in COCO's format; ids count from 1."""
    return {
        "images": [
            {"id": number, "file_name": name, "height": height, "width": width}
            for number, (name, (height, width)) in enumerate(sizes.items(), start=1)
        ],
        "categories": [{"id": each.id, "name": each.name} for each in description.classes],
    }


def run_lengths(mask: npt.NDArray[np.bool_]) -> str:
    """Compress a mask (height, width) to COCO's run lengths, as pycocotools writes them.

    Source: `rleToString` of the COCO API: 5 bits a character, least significant first, of each length minus the one
    before the last.
    """
    flat = np.concatenate([[False], mask.flatten(order="F"), [not mask[-1, -1]]])
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    lengths: list[int] = np.diff(np.concatenate([[0], ends])).tolist()
    return "".join(
        _characters(length - lengths[index - 2] if index > 2 else length) for index, length in enumerate(lengths)
    )


def _characters(number: int) -> str:
    text = ""
    while True:
        bits = number & 0x1F
        number >>= _RADIX_BITS
        is_last = number == (-1 if bits & 0x10 else 0)
        text += chr(_FIRST_CHARACTER + (bits if is_last else bits | 0x20))
        if is_last:
            return text
