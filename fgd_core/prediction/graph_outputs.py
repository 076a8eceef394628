"""Reads the outputs of an exported graph."""

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from fgd_core.prediction.keypoints import locate
from fgd_core.prediction.model import RawDetections


def split(names: Sequence[str], outputs: Sequence[npt.NDArray[Any]]) -> list[RawDetections]:
    """Divide the outputs of a graph by image, without rows that hold no detection.

    Args:
        names: of the outputs: `boxes`, `scores`, `labels`, and `masks` or `heat_maps`.
        outputs: each (N, D, …).
    """
    by_name = dict(zip(names, outputs, strict=True))
    found = []
    for index, scores in enumerate(by_name["scores"]):
        is_real = scores > 0
        own = {name: values[index][is_real] for name, values in by_name.items()}
        heat_maps = own.pop("heat_maps", None)
        keypoints = None if heat_maps is None else locate(heat_maps, own["boxes"])
        found.append(RawDetections(**own, keypoints=keypoints))
    return found
