"""Generates boxes of fixed sizes and ratios around every cell of a pyramid."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import box_iou

from fgd_core.data.targets import Targets
from fgd_core.detectors.parts.constants import kept
from fgd_core.detectors.parts.grid import corner_points, grids_of, is_batch_padding
from fgd_core.outputs import BACKGROUND, IGNORED

_Cells: TypeAlias = tuple[tuple[tuple[float, ...], ...], ...]
"""For each level the anchors around the origin, xyxy in pixels."""
_Grids: TypeAlias = tuple[tuple[int, int], ...]
"""For each level (H, W) in cells."""


class Anchors(AnchorGenerator):  # type: ignore[misc]
    """Generates torchvision's anchors at the true strides.

    torchvision's own drift if the coarsest stride does not divide the input.

    Args:
        sizes_px: for each level the sides of its square anchors; anchors of other ratios have the same area.
        strides: of the levels.
        are_rounded: round corners to whole pixels, as torchvision does; mmdetection does not round.
        height_to_width: the ratios.
    """

    def __init__(
        self,
        sizes_px: Sequence[Sequence[float]],
        strides: Sequence[int],
        *,
        are_rounded: bool,
        height_to_width: Sequence[float] = (0.5, 1.0, 2.0),
    ) -> None:
        super().__init__(tuple(map(tuple, sizes_px)), (tuple(height_to_width),) * len(sizes_px))
        self.strides = tuple(strides)
        cells = self.cell_anchors if are_rounded else [_exact(sizes, height_to_width) for sizes in sizes_px]
        self._cells: _Cells = tuple(tuple(map(tuple, own.tolist())) for own in cells)

    def on(self, features: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the anchors of a batch; they are the same for every image.

        Args:
            features: for each level (N, C, H, W).
        Returns:
            For each level (cells x anchors of a cell, 4) float32 xyxy in pixels, cells row by row.
        """
        return self.joined_on(features).split_with_sizes(
            [height * width * len(own) for (height, width), own in zip(grids_of(features), self._cells, strict=True)]
        )

    def joined_on(self, features: Sequence[Tensor]) -> Tensor:
        """Return the anchors of all levels, (A, 4), of maps (N, C, H, W); see `on`."""
        return _on_grids(self._cells, self.strides, tuple(grids_of(features)), features[0].device)

    def match(
        self,
        matcher: Callable[[Tensor], Tensor],
        features: Sequence[Tensor],
        anchors: Tensor,
        targets: Targets,
        *,
        ignores_padding: bool,
    ) -> Tensor:
        """Assign an object to each anchor.

        Args:
            matcher: (n, A) overlaps of boxes and anchors -> (A,) matches.
            features: for each level (N, C, H, W).
            anchors: (A, 4) the anchors of `on`, of all levels.
            ignores_padding: whether the padding of a smaller image is ignored, as in mmdetection, or is background, as
                in torchvision.
        Returns:
            (N, A) the index of the object in its image, BACKGROUND or IGNORED.
        """
        corners = torch.cat(
            [corner_points(level, stride) for level, stride in zip(features, self.strides, strict=True)]
        )  # (cells, 2)
        matches = []
        for boxes, image_size in zip(targets.boxes, targets.image_sizes, strict=True):
            is_padding = None
            if ignores_padding:
                is_padding = is_batch_padding(corners, image_size).repeat_interleave(len(anchors) // len(corners))
            matches.append(_matched(matcher, boxes.float(), anchors, is_padding))
        return torch.stack(matches)


def _matched(matcher: Callable[[Tensor], Tensor], boxes: Tensor, anchors: Tensor, is_padding: Tensor | None) -> Tensor:
    """Assign one of the boxes (n, 4) of an image to each anchor (A, 4): (A,).

    Args:
        is_padding: (A,) bool, the anchors that are ignored; None ignores none.
    """
    if not len(boxes):
        matches = torch.full((len(anchors),), BACKGROUND, device=anchors.device)
        return matches if is_padding is None else matches.masked_fill(is_padding, IGNORED)
    overlaps = box_iou(boxes, anchors)
    if is_padding is None:
        return matcher(overlaps)
    return matcher(overlaps.masked_fill(is_padding, 0)).masked_fill(is_padding, IGNORED)


@kept
def _on_grids(cells: _Cells, strides: tuple[int, ...], grids: _Grids, device: torch.device) -> Tensor:
    """Generate the anchors of all levels: (A, 4) float32 xyxy in pixels, level by level, cells row by row."""
    anchors = []
    for own, stride, (height, width) in zip(cells, strides, grids, strict=True):
        ys, xs = torch.meshgrid(
            torch.arange(height, device=device, dtype=torch.float32) * stride,
            torch.arange(width, device=device, dtype=torch.float32) * stride,
            indexing="ij",
        )
        corners = torch.stack([xs, ys, xs, ys], -1).reshape(-1, 1, 4)
        anchors.append((corners + torch.tensor(own, device=device)).reshape(-1, 4))
    return torch.cat(anchors)


def _exact(sizes: Sequence[float], height_to_width: Sequence[float]) -> Tensor:
    """Generate (ratios x sizes, 4) around the origin, in torchvision's order: all sizes of a ratio, then the next."""
    # On the CPU, because a network may be built on the meta device, which keeps no numbers.
    root = torch.tensor(height_to_width, device="cpu").sqrt()[:, None]
    sides = torch.tensor(sizes, device="cpu")
    half_widths, half_heights = (sides / root).flatten() / 2, (sides * root).flatten() / 2
    return torch.stack([-half_widths, -half_heights, half_widths, half_heights], dim=1)
