"""Composes a loss of parts: weights of cells and channels, a transform, a distance; `spec.methods.Composed`.

With reduction `sum` and distance `l2`, for example, the loss is the sum of M A (f(S) - f(T))^2 / N, where M are the
weights of the cells, A is the teacher's attention and f the transform.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from fgd_core.methods.base import Terms, adapter
from fgd_core.methods.fgd import ContextBlock
from fgd_core.methods.parts.attention import attention, temperature_of
from fgd_core.methods.parts.forms import (
    DISTANCES,
    Temperature,
    Total,
    Weights,
    each_standardised,
    largest_of_squares,
    transformed,
)
from fgd_core.methods.parts.objects import Objects, box_mask, gaussian_mask
from fgd_core.methods.parts.precision import in_float32
from fgd_core.methods.parts.scale_masks import scale_masks
from fgd_core.methods.parts.statistics import standardised
from fgd_core.spec.methods.composed import Composed


class Place(NamedTuple):
    """Says what n compared maps (n, C, H, W) show: the images of a batch, or regions of them."""

    num_images: int
    """Of the batch."""
    size: tuple[int, int]
    """(height, width) of what a map shows, in pixels."""
    stride: float
    """Pixels per cell."""
    objects: Callable[[], Objects]
    """Returns the objects on each map, with boxes (n, most, 4) in its pixels."""
    cut_out: Callable[[Tensor], Tensor]
    """Turns the maps into those of single objects, (objects, C, 7, 7)."""
    scores: Callable[[], Tensor]
    """Returns the teacher's highest class score at each cell of a grid over the maps, (n, 1, h, w) in [0, 1]."""
    grows: bool = True
    """Whether larger images have more cells here."""


class Composition(nn.Module):
    """Compares maps; a student of other channels gets a trained 1x1 convolution."""

    def __init__(self, method: Composed, student_channels: int, teacher_channels: int) -> None:
        super().__init__()
        self.adapter = adapter(student_channels, teacher_channels)
        has_context = method.transform == "context"
        blocks = [ContextBlock(teacher_channels) if has_context else nn.Identity() for _ in range(2)]
        self.student_context, self.teacher_context = blocks
        self._method = method

    def compare(self, student: Tensor, teacher: Tensor, place: Place) -> Terms:
        """Compare a student's maps (n, C, H, W) with a teacher's (n, C', H, W)."""
        with in_float32(self.adapter(student), teacher.detach()) as maps:
            ours, theirs = self.student_context(maps[0]), self.teacher_context(maps[1])
            return Terms({"difference": self._loss(ours, theirs, place)}, {"difference": self._method.weight})

    def _loss(self, ours: Tensor, theirs: Tensor, place: Place) -> Tensor:
        """Compare maps (n, C, H, W) of the same channels in float32: ()."""
        method = self._method
        cuts_out = method.cells == "each_object"
        if cuts_out:
            ours, theirs = (place.cut_out(each) for each in (ours, theirs))
        if not len(ours):
            nothing = ours.sum()
            return Total(nothing, nothing.detach()).mean
        given = theirs.detach()
        temperature = temperature_of(given) if method.temperature == "auto" else method.temperature
        weights = self._weights(given, place, temperature)
        if method.attention_of == "each":
            ours, theirs = (self._attended(each, temperature) for each in (ours, theirs))
        ours, theirs, weights = largest_of_squares(ours, theirs, weights, method.pooling)
        standardise = each_standardised if cuts_out else standardised
        ours, theirs = (transformed(each, method.transform, temperature, standardise) for each in (ours, theirs))
        total = DISTANCES[method.distance](ours, theirs, weights.suited(ours.shape), temperature)
        if method.reduction == "mean":
            return total.mean
        return total.value / place.num_images * (method.cell_factor(place.size) if place.grows and not cuts_out else 1)

    @torch.no_grad()
    def _weights(self, teacher: Tensor, place: Place, temperature: Temperature) -> Weights:
        """Weigh the cells and channels of the teacher's maps (n, C, H, W)."""
        cells = self._cells(teacher, place)
        if self._method.attention_of == "each":
            return Weights(cells)
        of_cells, of_channels = self._attention(teacher, temperature)
        if of_cells is not None:
            cells = of_cells if cells is None else cells * of_cells
        return Weights(cells, of_channels)

    def _attention(self, features: Tensor, temperature: Temperature) -> Weights:
        """Compute the chosen attention of maps (n, C, H, W)."""
        chosen = self._method.attention
        if chosen == "none":
            return Weights()
        of_cells, of_channels = attention(features, temperature)
        return Weights(
            None if chosen == "channels" else of_cells[:, None],
            None if chosen == "cells" else of_channels[:, :, None, None],
        )

    def _attended(self, features: Tensor, temperature: Temperature) -> Tensor:
        """Multiply maps (n, C, H, W) with the root of their own attention."""
        product = self._attention(features, temperature).product
        return features if product is None else features * product.sqrt()

    def _cells(self, like: Tensor, place: Place) -> Tensor | None:
        """Weigh the cells of maps (n, C, H, W) by where objects are: (n, 1, H, W)."""
        match self._method.cells:
            case "object_areas" | "background_areas" as kind:
                (masks,) = scale_masks(place.objects().boxes.unbind(), [place.size], [like])
                return (masks.foreground if kind == "object_areas" else masks.background)[:, None]
            case "objects" | "background" as kind:
                mask = box_mask(place.objects(), place.stride, like)
                return (mask if kind == "objects" else 1 - mask)[:, None]
            case "gaussian":
                return gaussian_mask(place.objects(), place.stride, like)[:, None]
            case "confidence":
                scores, grid = place.scores().to(like.dtype), like.shape[2:]
                return scores if scores.shape[2:] == grid else interpolate(scores, grid, mode="bilinear")
        return None
