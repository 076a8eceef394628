"""Reads the outputs of an exported graph."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from fgd_core.prediction.keypoints import locate
from fgd_core.prediction.model import RawDetections


def split(names: Sequence[str], outputs: Sequence[npt.NDArray[np.generic]]) -> list[RawDetections]:
    """Divide the outputs of a graph by image, without rows that hold no detection.

    Args:
        names: of the outputs: `boxes`, `scores`, `labels`, and `masks` or `heat_maps`.
        outputs: each (N, D, …).
    """
    by_name = dict(zip(names, outputs, strict=True))
    return [_one({name: values[index] for name, values in by_name.items()}) for index in range(len(by_name["scores"]))]


def _one(outputs: Mapping[str, npt.NDArray[np.generic]]) -> RawDetections:
    """Return the detections of one image from outputs (D, …)."""
    scores = outputs["scores"].astype(np.float32, copy=False)
    is_real = scores > 0
    parts = {name: values[is_real].astype(np.float32, copy=False) for name, values in outputs.items()}
    boxes, heat_maps = parts["boxes"], parts.get("heat_maps")
    return RawDetections(
        boxes=boxes,
        scores=scores[is_real],
        labels=outputs["labels"][is_real].astype(np.int64, copy=False),
        masks=parts.get("masks"),
        keypoints=None if heat_maps is None else locate(heat_maps, boxes),
    )
