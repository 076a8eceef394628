"""Selects the detections of an image from masks of the whole image, and cuts each mask to its box."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import roi_align

from fgd_core.detectors.base import Detections
from fgd_core.detectors.parts.matrix_nms import matrix_nms_factors

MASK_SIZE = 112
"""Cells of a mask in each direction. In its box a mask of 400 px keeps 3.6 px a cell, as fine as the map that it comes
from (`CELL_PX`); see `tests/detectors/test_solo.py` for what the cut costs."""
CELL_PX = 4
"""Pixels of the resized image per cell of the masks."""
SIGMA = 2.0
COMPARED = 500
THRESHOLD = 0.5


class MaskCandidates(NamedTuple):
    """Holds the n masks of an image whose cells have a high score."""

    probabilities: Tensor
    """(n, H, W) float32 in [0, 1], at CELL_PX"""
    scores: Tensor
    """(n,) in [0, 1], of the class"""
    labels: Tensor
    """(n,) int64"""
    least_cells: Tensor
    """(n,) a mask of so few cells, or fewer, is left out"""

    def take(self, chosen: Tensor) -> "MaskCandidates":
        """Return some of the candidates.

        Args:
            chosen: (n,) bool, or (m,) indices.
        """
        return MaskCandidates(*(values[chosen] for values in self))

    def best(self, count: int) -> "MaskCandidates":
        """Return the candidates of the highest scores, highest first."""
        return self.take(self.scores.argsort(descending=True, stable=True)[:count])


def peak_scores(scores: Tensor) -> Tensor:
    """Set the score of a cell to 0 if the cell to its left, above it, or between these two has a higher one.

    Args:
        scores: (K, G, G) of a grid.
    Returns:
        (K, G, G)
    """
    highest = functional.max_pool2d(scores[None], 2, stride=1, padding=1)[0, :, :-1, :-1]
    return scores * (highest == scores)


def select_masks(
    found: MaskCandidates, image_size: tuple[int, int], *, score_threshold: float, max_detections: int
) -> Detections:
    """Score the masks, lower the scores of duplicates, and return the best, best first.

    Args:
        image_size: (height, width) in pixels, before padding.
        score_threshold: of the score after duplicates are lowered.
    """
    is_object = found.probabilities > THRESHOLD
    areas = is_object.sum((1, 2))
    certainty = (found.probabilities * is_object).sum((1, 2)) / areas.clamp(min=1)
    found = found._replace(scores=found.scores * certainty).take(areas > found.least_cells).best(COMPARED)
    factors = matrix_nms_factors((found.probabilities > THRESHOLD).flatten(1), found.labels, sigma=SIGMA)
    found = found._replace(scores=found.scores * factors)
    return _cut_to_boxes(found.take(found.scores >= score_threshold).best(max_detections), image_size)


def _cut_to_boxes(found: MaskCandidates, image_size: tuple[int, int]) -> Detections:
    """Find the box around each mask inside the image, and resample the mask to (M, M) over its box."""
    height, width = image_size
    probabilities = found.probabilities[:, : -(-height // CELL_PX), : -(-width // CELL_PX)]
    is_inside = (probabilities > THRESHOLD).any(1).any(1)
    found, probabilities = found.take(is_inside), probabilities[is_inside]
    cells = boxes_around(probabilities)
    number = torch.arange(len(cells), device=cells.device, dtype=cells.dtype)[:, None]
    masks = roi_align(
        probabilities[:, None], torch.cat([number, cells], dim=1), MASK_SIZE, sampling_ratio=1, aligned=True
    )[:, 0]
    boxes = (cells * CELL_PX).minimum(cells.new_tensor([width, height, width, height]))
    return Detections(boxes, found.scores, found.labels, masks)


def boxes_around(probabilities: Tensor) -> Tensor:
    """Find where masks fall to one half between the centres of two cells.

    Args:
        probabilities: (n, H, W), each with a value above one half.
    Returns:
        (n, 4) xyxy in cells.
    """
    (x1, x2), (y1, y2) = _ends(probabilities.amax(1)), _ends(probabilities.amax(2))
    return torch.stack([x1, y1, x2, y2], dim=1)


def _ends(profiles: Tensor) -> tuple[Tensor, Tensor]:
    """Find the first and the last place where profiles (n, cells) are one half: each (n,), from 0 to `cells`."""
    return _first(profiles), profiles.shape[1] - _first(profiles.flip(1))


def _first(profiles: Tensor) -> Tensor:
    # Beyond the border the profile is that of the border, so a mask that touches the border reaches it.
    cell = (profiles > THRESHOLD).int().argmax(1, keepdim=True)
    inside, outside = profiles.gather(1, cell), profiles.gather(1, (cell - 1).clamp(min=0))
    share = (inside - THRESHOLD) / (inside - outside).clamp(min=1e-6)
    return torch.where(cell > 0, cell + 0.5 - share, 0.0).squeeze(1)
