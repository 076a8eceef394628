"""Where a distiller gets the teacher's maps from: the teacher itself, or whoever has already computed them."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from fgd_core.data.loading import Batch, TrainLoader
from fgd_core.detectors.base import Detector


class TeacherMaps(Protocol):
    def maps(self, batch: Batch) -> Sequence[Tensor]:
        """The teacher's pyramid for `batch`, without gradient: bit for bit what the teacher itself gives.

        Args:
            batch: on the teacher's device.
        """
        ...


class OwnTeacher:
    """The teacher in this process."""

    def __init__(self, teacher: Detector) -> None:
        self.teacher = teacher

    @torch.no_grad()
    def maps(self, batch: Batch) -> Sequence[Tensor]:
        return self.teacher.features(batch.images)


class TeacherSharing(Protocol):
    """What runs that have a teacher in common share. What cannot be shared is computed; no call fails for its sake."""

    def ap(self, key: str, measure: Callable[[], float | None]) -> float | None:
        """The teacher's AP: the one that another run measured under this key, or `measure`'s.

        Args:
            key: all that the AP follows from, as one word.
        """
        ...

    def maps(self, key: str, teacher: Detector, loader: TrainLoader) -> TeacherMaps:
        """
        Args:
            key: all that the maps of a batch follow from but its number, as one word.
            teacher: on its device, in eval mode.
            loader: which gives this run's batches.
        """
        ...


@runtime_checkable
class SharesTeacher(Protocol):
    """A `RunContext` may be one."""

    @property
    def teacher_sharing(self) -> TeacherSharing | None: ...
