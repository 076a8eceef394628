"""Generates boxes of fixed sizes and ratios around every cell of a pyramid."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import box_iou

from fgd_core.data.targets import Targets
from fgd_core.detectors.parts.grid import corner_points, is_batch_padding
from fgd_core.outputs import BACKGROUND, IGNORED


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
        if not are_rounded:
            self.cell_anchors = [_exact(sizes, height_to_width) for sizes in sizes_px]

    def on(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Generate the anchors of a batch; they are the same for every image.

        Args:
            features: for each level (N, C, H, W).
        Returns:
            For each level (cells x anchors of a cell, 4) float32 xyxy in pixels, cells row by row.
        """
        device = features[0].device
        self.set_cell_anchors(torch.float32, device)
        return list(
            self.grid_anchors(
                [list(level.shape[2:]) for level in features],
                [[torch.tensor(stride, device=device)] * 2 for stride in self.strides],
            )
        )

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
        points = torch.cat(
            [corner_points(level, stride) for level, stride in zip(features, self.strides, strict=True)]
        )  # (cells, 2)
        matches = []
        for boxes, image_size in zip(targets.boxes, targets.image_sizes, strict=True):
            is_padding = is_batch_padding(points, image_size) & ignores_padding
            is_padding = is_padding.repeat_interleave(len(anchors) // len(points))  # (A,)
            of_image = torch.full((len(anchors),), BACKGROUND, device=anchors.device)
            if len(boxes):
                of_image = matcher(box_iou(boxes.float(), anchors).masked_fill(is_padding, 0))
            matches.append(of_image.masked_fill(is_padding, IGNORED))
        return torch.stack(matches)


def _exact(sizes: Sequence[float], height_to_width: Sequence[float]) -> Tensor:
    """Generate (ratios x sizes, 4) around the origin, in torchvision's order: all sizes of a ratio, then the next."""
    root = torch.tensor(height_to_width).sqrt()[:, None]
    sides = torch.tensor(sizes)
    half_widths, half_heights = (sides / root).flatten() / 2, (sides * root).flatten() / 2
    return torch.stack([-half_widths, -half_heights, half_widths, half_heights], dim=1)
