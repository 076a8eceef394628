"""Draws where networks look: the spatial attention of a student and of its teachers, and where they differ."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from fgd_core.data.loading import Batch
from fgd_core.methods.parts.scale_masks import scale_masks
from fgd_core.outputs import FeatureLevel
from fgd_core.spec.worst_images import AttentionMap

_LONGER_PX = 128
_BRIGHTEST = 0.995
"""The quantile that is drawn brightest: single hot cells must not darken the whole map."""
_STOPS = np.array([[0, 0, 4], [81, 18, 124], [183, 55, 121], [252, 137, 97], [252, 253, 191]], dtype=np.float64)
"""Colours from low to high, which differ in brightness too."""
_HALF_AN_OCTAVE = 0.5


class Pyramid(NamedTuple):
    """Holds the maps of one image."""

    maps: Sequence[Tensor]
    """Each (1, C, H, W) on the CPU."""
    levels: Sequence[FeatureLevel]
    scale: float
    """Size of the network's own image relative to the given one."""


def attention_maps(batch: Batch, student: Pyramid, teachers: Mapping[str, Pyramid]) -> list[AttentionMap]:
    """Draw the foreground mask, the student's attention, and for each teacher its attention and the difference.

    A teacher without a level of about the same stride as one of the student's is left out.

    Args:
        batch: one image.
        student: its levels are those of the image.
        teachers: by name.
    """
    own = _levels(student)
    found = [
        _map("foreground", _on_image(_foreground(batch, student), batch)),
        _map("attention", _mean([_on_image(level, batch) for level in own.values()])),
    ]
    for name, teacher in teachers.items():
        pairs = _pairs(own, _levels(teacher))
        if pairs:
            ours = [_on_image(level, batch) for level, _ in pairs]
            theirs = [_on_image(level, batch) for _, level in pairs]
            gap = _mean([(a - b).abs() for a, b in zip(ours, theirs, strict=True)])
            top = _top(_mean(ours), _mean(theirs))
            found.append(_map(f"attention of the {name}", _mean(theirs), top))
            found.append(_map(f"difference from the {name}", gap, top))
    return found


def spatial_attention(features: Tensor) -> Tensor:
    """Compute the mean magnitude over channels, with mean 1 over the cells: (1, C, H, W) to (H, W).

    FGD's spatial attention (arXiv:2111.11837 §3.1) before its softmax, whose temperature belongs to the method.
    """
    magnitude = features.abs().mean((0, 1))
    return magnitude / magnitude.mean().clamp(min=torch.finfo(magnitude.dtype).tiny)


def _levels(pyramid: Pyramid) -> dict[float, Tensor]:
    """Return the attention (H, W) of each level that is no copy of another, by pixels of the image per cell."""
    pairs = zip(pyramid.levels, pyramid.maps, strict=True)
    return {level.stride / pyramid.scale: spatial_attention(own) for level, own in pairs if not level.is_derived}


def _pairs(ours: Mapping[float, Tensor], theirs: Mapping[float, Tensor]) -> list[tuple[Tensor, Tensor]]:
    pairs = []
    for stride, own in ours.items():
        nearest = min(theirs, key=lambda other: abs(math.log2(other / stride)), default=None)
        if nearest is not None and abs(math.log2(nearest / stride)) < _HALF_AN_OCTAVE:
            pairs.append((own, theirs[nearest]))
    return pairs


def _foreground(batch: Batch, student: Pyramid) -> Tensor:
    """Weigh the cells of the finest level as FGD does: (H, W), brightest on the smallest objects."""
    padded = (batch.images.shape[2], batch.images.shape[3])
    weights = scale_masks(batch.boxes, [padded], student.maps[:1])[0].foreground[0]
    # The square root shows large objects too, whose weight is that of small ones divided by their area.
    return (weights / weights.max().clamp(min=torch.finfo(weights.dtype).tiny)).sqrt()


def _on_image(cells: Tensor, batch: Batch) -> Tensor:
    """Resize a map (H, W) of a padded batch, and cut the padding off: (height, width) of a reduced image."""
    (height, width), padded = batch.image_sizes[0], batch.images.shape[2:]
    ratio = min(1.0, _LONGER_PX / max(height, width))
    size = [max(1, round(side * ratio)) for side in padded]
    resized = interpolate(cells[None, None], size, mode="bilinear", align_corners=False)[0, 0]
    return resized[: max(1, round(height * ratio)), : max(1, round(width * ratio))]


def _mean(maps: Sequence[Tensor]) -> Tensor:
    return torch.stack([*maps]).mean(0)


def _top(*maps: Tensor) -> float:
    return max(float(each.flatten().quantile(_BRIGHTEST)) for each in maps)


def _map(name: str, values: Tensor, top: float | None = None) -> AttentionMap:
    """Colour a map (h, w) of values from 0 up; `top` is drawn brightest."""
    brightest = max(_top(values) if top is None else top, 1e-9)
    share = (values / brightest).clamp(0, 1).double().numpy()
    file = io.BytesIO()
    Image.fromarray(_coloured(share)).save(file, "PNG", compress_level=4)
    return AttentionMap(name=name, png=base64.b64encode(file.getvalue()).decode())


def _coloured(share: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Colour values in [0, 1], the higher the less transparent: (h, w) to (h, w, 4) RGBA."""
    places = np.linspace(0, 1, len(_STOPS))
    channels = [np.interp(share, places, _STOPS[:, channel]) for channel in range(3)]
    return np.stack([*channels, 255 * (0.25 + 0.6 * share)], axis=2).round().astype(np.uint8)
