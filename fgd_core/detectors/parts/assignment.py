"""Assigns objects to the locations or anchors of a batch, and counts the assigned ones."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from fgd_core.data.targets import Targets
from fgd_core.outputs import BACKGROUND, IGNORED


class Positives(NamedTuple):
    """Holds P locations: first those that have an object, image by image, then in the order of the locations."""

    image: Tensor
    """(P,) int64"""
    location: Tensor
    """(P,) int64, index over all levels"""
    boxes: Tensor
    """(P, 4) xyxy in pixels, of the location's object"""
    labels: Tensor
    """(P,) int64"""
    exist: Tensor
    """(P,) bool, false for entries that only fill the tensors up; these are of any location"""


class ThresholdMatcher:
    """Assigns to each anchor the box that it overlaps most.

    Args:
        high: the least overlap at which an anchor trains its box.
        low: the least overlap at which an anchor does not train the background.
    """

    def __init__(self, high: float, low: float) -> None:
        self._high, self._low = high, low

    def __call__(self, overlaps: Tensor) -> Tensor:
        """Match from the overlaps (M, N) of M boxes, at least one, and N anchors.

        Returns:
            (N,) the index of a box, BACKGROUND or IGNORED.
        """
        best, box = overlaps.max(0)
        # Not with `torch.where`, which copies a number to the device.
        matches = box.masked_fill(best < self._high, IGNORED).masked_fill(best < self._low, BACKGROUND)
        return self._claimed(matches, box, overlaps)

    def _claimed(self, matches: Tensor, box: Tensor, overlaps: Tensor) -> Tensor:
        """Change matches by thresholds (N,) for boxes that no anchor overlaps enough.

        Args:
            box: (N,) the box that each anchor overlaps most.
            overlaps: (M, N).
        """
        return matches


class BestAnchorMatcher(ThresholdMatcher):
    """Also assigns every anchor that overlaps a box as much as any anchor does to the box that it overlaps most itself.

    torchvision's matcher gives the same. But it counts these anchors, for which the host waits in each step.
    """

    def _claimed(self, matches: Tensor, box: Tensor, overlaps: Tensor) -> Tensor:
        is_best = (overlaps == overlaps.amax(1, keepdim=True)).any(0)
        return torch.where(is_best, box, matches)


class EveryBoxMatcher(ThresholdMatcher):
    """Assigns to every box the anchors that overlap it most, even if they overlap another box more.

    `BestAnchorMatcher` assigns such an anchor to the box that it overlaps most, so the other box may get no anchor.
    If two boxes claim an anchor, the later box gets it. Source: the default of mmdetection's assigner.

    Args:
        claim_from: the least overlap at which a box claims its best anchors.
    """

    def __init__(self, high: float, low: float, *, claim_from: float = 0.0) -> None:
        super().__init__(high, low)
        self._claim_from = claim_from

    def _claimed(self, matches: Tensor, box: Tensor, overlaps: Tensor) -> Tensor:
        best = overlaps.amax(1, keepdim=True)  # (M, 1)
        claims = (overlaps == best) & (best >= self._claim_from) & (best > 0)
        number = torch.arange(1, len(best) + 1, device=matches.device)[:, None]
        claimed = (claims * number).amax(0)  # (N,) 0 without a claim
        return torch.where(claimed > 0, claimed - 1, matches)


class MatchedObjects(NamedTuple):
    """Holds the object of every location of a batch."""

    boxes: Tensor
    """(N, locations, 4) xyxy in pixels; a given box at locations without an object"""
    classes: Tensor
    """(N, locations) int64, the class of the object, BACKGROUND or IGNORED"""

    @property
    def exist(self) -> Tensor:
        """Whether the locations have an object, (N, locations) bool."""
        return self.classes >= 0


def objects_at(matches: Tensor, targets: Targets, *, otherwise: Tensor) -> MatchedObjects:
    """Look up the object of every location.

    Losses are then computed at all locations and masked. To select those with an object, the host would have to wait
    for their number.

    Args:
        matches: (N, locations) the index of each location's object within its image, BACKGROUND or IGNORED.
        otherwise: (locations, 4) the boxes of locations without an object.
    """
    has_object = (matches >= 0)[..., None]
    boxes = torch.where(has_object, _looked_up(targets.boxes, matches), otherwise)
    return MatchedObjects(boxes, classes_at(matches, targets))


def classes_at(matches: Tensor, targets: Targets) -> Tensor:
    """Look up the class of the object of every location; a location without one keeps its match: (N, locations)."""
    labels = _looked_up([own[:, None] for own in targets.labels], matches)[..., 0]
    return torch.where(matches >= 0, labels, matches)


def _looked_up(rows: Sequence[Tensor], matches: Tensor) -> Tensor:
    """Choose for every match (N, locations) a row of its image, from (n, D): (N, locations, D); any row for none."""
    filled = _filled_up(rows)
    return filled.gather(1, matches.clamp(min=0)[..., None].expand(-1, -1, filled.shape[2]))


def _filled_up(rows: Sequence[Tensor]) -> Tensor:
    """Fill up the rows (n, D) of each image with zeros to one number, at least 1: (N, most, D)."""
    most = max([1, *map(len, rows)])
    return torch.stack([pad(own, (0, 0, 0, most - len(own))) for own in rows])


def gather_positives(matches: Tensor, targets: Targets, *, most: int | None = None) -> Positives:
    """Collect the locations that have an object, with the box and label of the object.

    Args:
        matches: (N, locations) the index of each location's object within its image; negative without an object.
        most: the largest number of such locations, to which the tensors are filled up; None: the host waits for their
            number.
    """
    has_object = matches >= 0
    places = has_object.nonzero() if most is None else torch.nonzero_static(has_object, size=most, fill_value=0)
    image, location = places.unbind(1)
    chosen = image, matches[image, location].clamp(min=0)
    boxes, labels = (
        _filled_up(targets.boxes)[chosen],
        _filled_up([own[:, None] for own in targets.labels])[chosen][:, 0],
    )
    exist = torch.arange(len(places), device=matches.device) < has_object.sum()
    return Positives(image, location, boxes, labels, exist)


def count_positives(matches: Sequence[Tensor] | Tensor) -> Tensor:
    """Count the locations of a batch that have an object, as mmdetection does: at least one for each image.

    Args:
        matches: for each image (locations,).
    Returns:
        Scalar float32.
    """
    return torch.stack([(of_image >= 0).sum().clamp(min=1) for of_image in matches]).sum().float()
