"""Resizes the small mask that a detector predicts in a box to a mask of the whole image, with numpy alone."""

import numpy as np
import numpy.typing as npt

_THRESHOLD = 0.5


def paste_mask(
    mask: npt.NDArray[np.float32], box: npt.NDArray[np.float64], size_px: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """Stretch a mask bilinearly over its box; pixels of at least 0.5 belong to the object.

    Args:
        mask: (M, M) in [0, 1].
        box: (4,) xyxy in pixels of the image.
        size_px: (height, width) of the image.
    Returns:
        (height, width), with contiguous columns as pycocotools needs them.
    """
    (rows, down), (columns, across) = (
        _interpolation(box[start], box[end], size, len(mask))
        for start, end, size in ((1, 3, size_px[0]), (0, 2, size_px[1]))
    )
    pasted = np.zeros(size_px, dtype=np.bool_, order="F")
    pasted[rows, columns] = down @ mask @ across.T >= _THRESHOLD
    return pasted


def _interpolation(start_px: float, end_px: float, size_px: int, cells: int) -> tuple[slice, npt.NDArray[np.float32]]:
    """Compute, along one axis, which pixels have their centre in the box and the weight of each cell (pixels, cells).

    Beyond the centres of the first and the last cell the mask is zero.
    """
    first, last = (int(np.clip(np.ceil(edge - 0.5), 0, size_px)) for edge in (start_px, end_px))
    centres = np.arange(first, last) + 0.5
    places = (centres - start_px) / (end_px - start_px) * cells - 0.5 if last > first else centres
    weights = 1 - np.abs(places[:, None] - np.arange(cells))
    return slice(first, last), weights.clip(0).astype(np.float32)
