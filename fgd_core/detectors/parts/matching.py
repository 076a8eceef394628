"""Which box an anchor is to find, by their overlap."""

import torch
from torch import Tensor
from torchvision.models.detection._utils import Matcher


class EveryBoxMatcher(Matcher):  # type: ignore[misc]
    """A matcher in which every box gets the anchors that overlap it most, whatever else they overlap.

    torchvision's gives such an anchor to the box that it overlaps most, which may leave the other box without any.
    Where two boxes claim an anchor, the later one has it. Source: what mmdetection's assigner does by default.

    Args:
        claim_from: the overlap from which on a box has a claim to its best anchors.
    """

    def __init__(self, high_threshold: float, low_threshold: float, *, claim_from: float = 0.0) -> None:
        super().__init__(high_threshold, low_threshold, allow_low_quality_matches=True)
        self._claim_from = claim_from

    def set_low_quality_matches_(self, matches: Tensor, all_matches: Tensor, match_quality_matrix: Tensor) -> None:
        """
        Args:
            matches: (N,) what the thresholds gave; changed in place.
            match_quality_matrix: (M, N) overlap of M boxes and N anchors.
        """
        best = match_quality_matrix.amax(1, keepdim=True)  # (M, 1)
        claims = (match_quality_matrix == best) & (best >= self._claim_from) & (best > 0)
        number = torch.arange(1, len(best) + 1, device=matches.device)[:, None]
        claimed = (claims * number).amax(0)  # (N,) 0 where nobody claims
        matches[:] = torch.where(claimed > 0, claimed - 1, matches)
