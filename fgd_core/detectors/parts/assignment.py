"""Assigns objects to the locations or anchors of a batch, and counts the assigned ones."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fgd_core.data.targets import Targets
from fgd_core.detectors.parts.torchvision_private import Matcher


class Positives(NamedTuple):
    """Holds the P locations that have an object, image by image, then in the order of the locations."""

    image: Tensor
    """(P,) int64"""
    location: Tensor
    """(P,) int64, index over all levels"""
    boxes: Tensor
    """(P, 4) xyxy in pixels, of the location's object"""
    labels: Tensor
    """(P,) int64"""


class EveryBoxMatcher(Matcher):  # type: ignore[misc]
    """Assigns to every box the anchors that overlap it most, even if they overlap another box more.

    torchvision's matcher assigns such an anchor to the box that it overlaps most, so the other box may get no anchor.
    If two boxes claim an anchor, the later box gets it. Source: the default of mmdetection's assigner.

    Args:
        claim_from: the least overlap at which a box claims its best anchors.
    """

    def __init__(self, high_threshold: float, low_threshold: float, *, claim_from: float = 0.0) -> None:
        super().__init__(high_threshold, low_threshold, allow_low_quality_matches=True)
        self._claim_from = claim_from

    def set_low_quality_matches_(self, matches: Tensor, all_matches: Tensor, match_quality_matrix: Tensor) -> None:
        """Assign claimed anchors to their boxes.

        Args:
            matches: (N,) the matches by the thresholds; changed in place.
            all_matches: (N,) unused.
            match_quality_matrix: (M, N) overlap of M boxes and N anchors.
        """
        best = match_quality_matrix.amax(1, keepdim=True)  # (M, 1)
        claims = (match_quality_matrix == best) & (best >= self._claim_from) & (best > 0)
        number = torch.arange(1, len(best) + 1, device=matches.device)[:, None]
        claimed = (claims * number).amax(0)  # (N,) 0 without a claim
        matches[:] = torch.where(claimed > 0, claimed - 1, matches)


def gather_positives(matches: Tensor, targets: Targets) -> Positives:
    """Collect the locations that have an object, with the box and label of the object.

    Args:
        matches: (N, locations) the index of each location's object within its image; negative without an object.
    """
    image, location = (matches >= 0).nonzero(as_tuple=True)
    # The objects of all images form one row; the objects of an image start after those of the images before it.
    counts = torch.tensor([0, *(len(boxes) for boxes in targets.boxes[:-1])], device=matches.device)
    chosen = matches[image, location] + counts.cumsum(0)[image]
    return Positives(image, location, torch.cat(targets.boxes)[chosen], torch.cat(targets.labels)[chosen])


def count_positives(matches: Sequence[Tensor] | Tensor) -> Tensor:
    """Count the locations of a batch that have an object, as mmdetection does: at least one for each image.

    Args:
        matches: for each image (locations,).
    Returns:
        Scalar float32.
    """
    return torch.stack([(of_image >= 0).sum().clamp(min=1) for of_image in matches]).sum().float()
