"""Finds keypoints in their heat maps, with numpy alone: as `fgd_core.detectors.parts.keypoint_maps.locate`."""

import numpy as np
import numpy.typing as npt

_A = -0.75
"""The free number of the bicubic kernel; PyTorch's value."""


def locate(heat_maps: npt.NDArray[np.float32], boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Find each keypoint at the maximum of its heat map, which is stretched over its box with bicubic sampling.

    Args:
        heat_maps: (n, K, M, M) logits.
        boxes: (n, 4) xyxy in pixels.
    Returns:
        (n, K, 3): x and y in pixels, and the logit there.
    """
    found = [_locate_one(*each) for each in zip(heat_maps, boxes, strict=True)]
    return np.stack(found) if found else np.zeros((0, heat_maps.shape[1], 3), np.float32)


def _locate_one(heat_maps: npt.NDArray[np.float32], box: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Find the keypoints (K, 3) of one box (4,) in heat maps (K, M, M)."""
    sides = np.maximum(box[2:] - box[:2], 1)
    width, height = (int(side) for side in np.ceil(sides))
    cells = heat_maps.shape[-1]
    stretched = _weights(height, cells) @ heat_maps @ _weights(width, cells).T  # (K, height, width)
    flat = stretched.reshape(len(heat_maps), -1)
    place = flat.argmax(1)
    pixels = np.stack([place % width, place // width], axis=1) + 0.5
    places = pixels * (sides / [width, height]) + box[:2]
    return np.concatenate([places, flat.max(1)[:, None]], axis=1).astype(np.float32)


def _weights(size: int, cells: int) -> npt.NDArray[np.float32]:
    """Compute the weight of each cell for each pixel along one axis: (size, cells)."""
    places = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(cells / size) - np.float32(0.5)
    first = np.floor(places).astype(np.int64)
    weights = np.zeros((size, cells), np.float32)
    for offset in (-1, 0, 1, 2):
        cell = first + offset
        # Beyond the border, the value at the border counts.
        np.add.at(weights, (np.arange(size), cell.clip(0, cells - 1)), _cubic(np.abs(places - cell)))
    return weights


def _cubic(distance: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the bicubic kernel at distances (n,) below 2, in cells."""
    near = ((_A + 2) * distance - (_A + 3)) * distance**2 + 1
    far = ((_A * distance - 5 * _A) * distance + 8 * _A) * distance - 4 * _A
    return np.where(distance <= 1, near, far).astype(np.float32)
