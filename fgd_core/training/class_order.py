"""Shows outputs in the order of the data's classes, or with the classes that both detectors know.

So no method has to know another order.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from fgd_core.data.targets import Targets
from fgd_core.methods.base import Outputs
from fgd_core.outputs import IGNORED, DenseOutputs, RegionHead, RegionReading, Regions


class ClassOrder:
    """Selects the data's classes among those of a detector.

    Args:
        indices: for each class of the data the detector's.
    """

    def __init__(self, indices: Sequence[int]) -> None:
        self._indices = torch.tensor(indices)

    def outputs(self, outputs: Outputs) -> Outputs:
        """Return the outputs with logits of the data's classes: (N, A_l, K_theirs) to (N, A_l, K) for each level."""
        if not isinstance(outputs, DenseOutputs):
            return outputs  # proposals have no class
        return replace(outputs, logits=[self.columns(level, dim=2) for level in outputs.logits])

    def region_head(self, head: RegionHead | None) -> RegionHead | None:
        """Return the head with outputs of the data's classes; None if there is none."""
        return None if head is None else _OrderedHead(head, self)

    def columns(self, values: Tensor, dim: int) -> Tensor:
        """Select the data's classes along a dimension of any tensor (…, K_theirs, …)."""
        self._indices = self._indices.to(values.device)  # a copy to the device in the first step only
        return values.index_select(dim, self._indices)


def class_order(classes: Sequence[int | None] | None, num_theirs: int) -> ClassOrder | None:
    """Return how the data's classes are selected; None if all are in place already, or if one is lacking.

    Args:
        classes: for each class of the data the detector's, or None if the detector lacks it; None: the same classes.
        num_theirs: number of the detector's classes.
    """
    found = [index for index in classes or () if index is not None]
    is_needed = found != [*range(num_theirs)] and len(found) == len(classes or ())
    return ClassOrder(found) if found and is_needed else None


class SharedClasses(NamedTuple):
    """Shows two dense detectors as if they knew only the classes that both know.

    This is possible because a dense detector scores each class by itself. The scores of a region add up to 1 over all
    classes, so they would have another meaning.
    """

    student: ClassOrder
    teacher: ClassOrder
    is_shared: Tensor
    """(K,) bool, for each class of the student."""

    def of_student(self, outputs: DenseOutputs, labels: Sequence[Tensor]) -> DenseOutputs:
        """Return the student's outputs with logits (N, a, K_shared) of each level, and no anchors of other objects.

        Args:
            labels: for each image (n,), of its objects.
        """
        matches = outputs.matches
        if matches is not None:
            matches = torch.stack([self._known(*each) for each in zip(matches, labels, strict=True)])
        logits = [self.student.columns(level, dim=2) for level in outputs.logits]
        return replace(outputs, logits=logits, matches=matches)

    def _known(self, matches: Tensor, labels: Tensor) -> Tensor:
        """Mark the anchors (A,) of objects with an unshared label as ignored; labels (n,)."""
        if not len(labels):
            return matches
        is_known = self.is_shared.to(labels.device)[labels][matches.clamp(min=0)]
        return matches.masked_fill((matches >= 0) & ~is_known, IGNORED)


def shared_classes(classes: Sequence[int | None] | None) -> SharedClasses | None:
    """Return the classes that two dense detectors share; None if the teacher knows all of the student's, or none.

    Args:
        classes: for each class of the student the teacher's, or None if the teacher lacks it; None: the same classes.
    """
    shared = [(ours, theirs) for ours, theirs in enumerate(classes or ()) if theirs is not None]
    if not shared or len(shared) == len(classes or ()):
        return None
    ours, theirs = zip(*shared, strict=True)
    is_shared = torch.tensor([theirs is not None for theirs in classes or ()])
    return SharedClasses(ClassOrder(ours), ClassOrder(theirs), is_shared)


class _OrderedHead:
    """Selects the data's classes from the outputs of a region head."""

    def __init__(self, head: RegionHead, order: ClassOrder) -> None:
        self._head, self._order = head, order

    @property
    def vector_size(self) -> int:
        """Length of the last hidden vector of a region."""
        return self._head.vector_size

    @property
    def pools_aligned(self) -> bool:
        """Whether it pools regions with aligned pixel centres."""
        return self._head.pools_aligned

    def sample(self, proposals: Sequence[Tensor], targets: Targets) -> Regions:
        """Sample from proposals (n, 4) of each image; the labels are the data's already."""
        return self._head.sample(proposals, targets)

    def on(self, maps: Sequence[Tensor], boxes: Sequence[Tensor]) -> RegionReading:
        """Run the head on maps (N, C, H, W) and boxes (n, 4): logits (n, 1 + K) and deltas (n, K, 4) of the data."""
        reading = self._head.on(maps, boxes)
        background, classes = reading.logits.split_with_sizes([1, reading.logits.shape[1] - 1], 1)
        deltas = self._head.class_columns(reading.deltas)
        return reading._replace(
            logits=torch.cat([background, self._order.columns(classes, dim=1)], dim=1),
            deltas=self._order.columns(deltas, dim=1),
        )

    def decode(self, deltas: Tensor, boxes: Sequence[Tensor]) -> list[Tensor]:
        """Apply deltas (n, K, 4) to the boxes (n, 4) of all images: (n, K, 4) for each image."""
        return self._head.decode(deltas, boxes)

    def class_columns(self, columns: Tensor) -> Tensor:
        """Return (n, K, …): the columns are those of the data's classes already."""
        return columns
