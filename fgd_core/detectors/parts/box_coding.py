"""Expresses boxes as corrections of anchors or regions."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

_LARGEST_GROWTH = math.log(1000 / 16)
"""The logarithm of the largest factor on a side, so that an untrained network cannot decode infinite boxes."""


class BoxCoder(NamedTuple):
    """Encodes boxes as shifts of the centre, relative to the sides, and logarithms of the change of the sides.

    It computes what torchvision's coder computes, to the bit, but makes no tensor of constants, for which the host
    would wait in each step.

    Source: appendix C of arXiv:1311.2524.
    """

    shift_weight: float = 1.0
    """Multiplies the shifts when encoding."""
    growth_weight: float = 1.0
    """Multiplies the logarithms when encoding."""

    def encode(self, boxes: Tensor, anchors: Tensor) -> Tensor:
        """Encode boxes (…, 4) xyxy as corrections (…, 4) of anchors (…, 4) xyxy; no side may be 0."""
        own, of_anchors = _placed(boxes), _placed(anchors)
        shifts = self.shift_weight * (own.centres - of_anchors.centres) / of_anchors.sides
        growth = self.growth_weight * torch.log(own.sides / of_anchors.sides)
        return torch.cat([shifts, growth], -1)

    def decode(self, deltas: Tensor, anchors: Tensor) -> Tensor:
        """Decode corrections (…, 4) of anchors (…, 4) xyxy to boxes (…, 4) xyxy."""
        centres, sides = _placed(anchors.to(deltas.dtype))
        centres = deltas[..., :2] / self.shift_weight * sides + centres
        growth = (deltas[..., 2:] / self.growth_weight).clamp(max=_LARGEST_GROWTH)
        half = 0.5 * (growth.exp() * sides)
        return torch.cat([centres - half, centres + half], -1)


class _Placed(NamedTuple):
    """Holds boxes by centre and sides, (…, 2) each, x first."""

    centres: Tensor
    sides: Tensor


def _placed(boxes: Tensor) -> _Placed:
    sides = boxes[..., 2:] - boxes[..., :2]
    return _Placed(boxes[..., :2] + 0.5 * sides, sides)
