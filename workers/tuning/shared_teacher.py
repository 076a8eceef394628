"""One teacher for all trials of a sweep that run on a node."""

from collections.abc import Callable
from dataclasses import dataclass

from fgd_core.data.loading import TrainLoader
from fgd_core.detectors.base import Detector
from fgd_core.spec.events import RunEvent
from fgd_core.spec.jobs import DistillSpec, SweepSpec
from fgd_core.training.teacher_maps import OwnTeacher, TeacherMaps

_GIB = 2**30


@dataclass(frozen=True)
class SharedTeacher:
    """Made by a sweep's driver, and handed to the actors of its trials; picklable.

    A trial's run context gives `source_for(...)` as its `teacher_sharing`, and closes it when the trial is over.
    """

    sweep_id: str
    max_bytes: int = 2 * _GIB
    """Of maps in shared memory, on each node."""

    @classmethod
    def of(cls, spec: SweepSpec, *, sweep_id: str) -> "SharedTeacher | None":
        """None where nothing is to be shared."""
        shares = spec.shared_teacher == "auto" and spec.concurrent_trials > 1 and isinstance(spec.base, DistillSpec)
        return cls(sweep_id) if shares else None

    def source_for(self, trial: int, emit: Callable[[RunEvent], None]) -> "TrialTeacher":
        """What one trial shares; opened in the process that runs it."""
        return TrialTeacher(self, trial, emit)

    def clear(self) -> None:
        """Let go of what is in this node's memory; runs that still use it go on by themselves."""


class TrialTeacher:
    """A `TeacherSharing` for one trial."""

    def __init__(self, shared: SharedTeacher, trial: int, emit: Callable[[RunEvent], None]) -> None:
        self._shared, self._trial, self._emit = shared, trial, emit

    def ap(self, key: str, measure: Callable[[], float | None]) -> float | None:
        return measure()

    def maps(self, key: str, teacher: Detector, loader: TrainLoader) -> TeacherMaps:
        return OwnTeacher(teacher)

    def close(self) -> None:
        """The trial asks for nothing more; idempotent."""
