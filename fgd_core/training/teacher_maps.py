"""Sources of the teacher's feature maps: the teacher itself, or another process that has already computed them."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from pydantic import JsonValue
from torch import Tensor

from fgd_core.data.loading import Batch, ComingBatches
from fgd_core.detectors.base import Detector
from fgd_core.detectors.folding import fold_norms


class TeacherMaps(Protocol):
    """Gives a distiller the teacher's feature maps."""

    def maps(self, batch: Batch) -> Sequence[Tensor]:
        """Return the teacher's maps of a batch, without gradient; bit-identical to the teacher's own output.

        Args:
            batch: on the teacher's device.
        Returns:
            The levels of the pyramid from fine to coarse, each (N, C, H, W); behind them the stages of the backbone, if
            the method compares them.
        """
        ...


class OwnTeacher:
    """Runs the teacher's backbone and pyramid in this process, with its norms folded into its convolutions.

    Args:
        teacher: in eval mode. With the first maps its norms are folded, which changes the names of its weights.
        with_stages: whether the maps of the backbone are wanted, too.
    """

    def __init__(self, teacher: Detector, *, with_stages: bool = False) -> None:
        self.teacher, self._with_stages = teacher, with_stages
        self._compiles = False

    # Not in inference mode: autograd keeps no tensor of it for the gradient of a loss.
    @torch.no_grad()
    def maps(self, batch: Batch) -> Sequence[Tensor]:
        """Return the teacher's maps, each (N, C, H, W); see `TeacherMaps.maps`."""
        return self._features(batch.images)

    def compile_maps(self) -> None:
        """Compile the backbone and the pyramid; the compiler runs with the first maps."""
        self._compiles = True

    @cached_property
    def _features(self) -> Callable[[Tensor], list[Tensor]]:
        # Only now, when the teacher is on its device.
        fold_norms(self.teacher)
        features = self.teacher.all_maps if self._with_stages else self.teacher.features
        return torch.compile(features) if self._compiles else features


class TeacherSharing(Protocol):
    """Shares a teacher's work between runs. Where sharing is not possible, the work is done here; no call fails because
    of it."""

    def ap(self, key: str, measure: Callable[[], JsonValue]) -> JsonValue:
        """Return the teacher's AP: the value that another run measured for this key, or else the result of `measure`.

        Args:
            key: identifies everything that determines the AP.
            measure: returns the AP as JSON.
        """
        ...

    def maps(self, key: str, own: OwnTeacher, batches: ComingBatches, *, num_batches: int | None = None) -> TeacherMaps:
        """Return a source of the teacher's maps for this run's batches.

        Args:
            key: identifies everything that determines the maps of a batch, except the number of the batch.
            own: the run's own teacher, on its device.
            batches: of this run, with the picture that the teacher sees in place of the images.
            num_batches: number of batches, from the first one of the training, whose maps the run needs; None: all.
        """
        ...


@runtime_checkable
class SharesTeacher(Protocol):
    """A `RunContext` may implement this: its run shares the teacher with other runs."""

    @property
    def teacher_sharing(self) -> TeacherSharing | None:
        """The sharing of this run; None if it shares nothing."""
        ...
