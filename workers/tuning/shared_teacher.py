"""One teacher for all trials of a sweep that run on a node.

Whoever first needs a batch's maps computes them with its own copy of the teacher and puts them into the node's shared
memory; who comes while it computes does not wait, but computes those of the next batch that nobody has yet, so that no
core idles and the work falls on all trials alike. Nothing has to be alive for others to go on: see `teacher_store`.

The other design, a process of its own that computes ahead for all, was measured beside it, with four trials on two
cores: as much CPU time, but a process more (4.6 GiB instead of 3.5), which needs a place on a GPU, is no more than one
core's worth of teacher, and has to be watched.
"""

import pickle
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from fgd_core.data.loading import Batch, TrainLoader
from fgd_core.detectors.base import Detector
from fgd_core.spec.events import RunEvent, Warned
from fgd_core.stopping import raise_if_stopped
from fgd_core.training.teacher_maps import OwnTeacher, TeacherMaps
from workers.tuning import teacher_store
from workers.tuning.teacher_batches import Account, SharedMaps
from workers.tuning.teacher_store import TeacherStore
from workers.tuning.teacher_weights import share_weights

_GIB = 2**30
_POLL_S = 0.01
# The teacher's AP takes an evaluation, maps a forward pass.
_PATIENCE_FOR_AP = 30
_TROUBLES = (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError)


@dataclass(frozen=True)
class SharedTeacher:
    """Made by a sweep's driver, and handed to the actors of its trials; picklable.

    A trial's run context gives `source_for(...)` as its `teacher_sharing`, and closes it when the trial is over.
    """

    sweep_id: str
    max_bytes: int = 2 * _GIB
    """Of maps in shared memory, on each node."""
    patience_s: float = 20.0
    """A run waits so long for maps that another one computes, then it computes them itself."""
    parent: Path | None = None
    """Folder in memory; the node's, unless given."""

    def source_for(self, trial: int, emit: Callable[[RunEvent], None]) -> "TrialTeacher":
        """What one trial shares; opened in the process that runs it."""
        return TrialTeacher(self, trial, emit)

    def clear(self) -> None:
        """Free this node's memory at the end of a sweep; a run that still shares goes on by itself."""
        teacher_store.clear(self.sweep_id, self.parent)


class TrialTeacher:
    """A `TeacherSharing` for one trial. Where sharing fails, the trial goes on by itself, and says so once."""

    def __init__(self, shared: SharedTeacher, trial: int, emit: Callable[[RunEvent], None]) -> None:
        self.account = Account()
        self._shared, self._trial, self._emit = shared, trial, emit
        self._held = ExitStack()
        self._has_warned = False
        self._store: TeacherStore | None = None
        try:
            self._store = TeacherStore(shared.sweep_id, shared.max_bytes, shared.parent)
            self._held.callback(self._store.close)
        except OSError as error:
            self._turn_off(error)

    def ap(self, key: str, measure: Callable[[], float | None]) -> float | None:
        give_up_s = time.monotonic() + _PATIENCE_FOR_AP * self._shared.patience_s
        while self._store is not None and time.monotonic() < give_up_s:
            with ExitStack() as claim:
                try:
                    is_ours = claim.enter_context(self._store.claim(f"ap-{key}"))
                    noted = self._store.noted(f"ap-{key}")
                except (OSError, ValueError) as error:
                    self._turn_off(error)
                    break
                if noted:
                    return None if noted[0] is None else float(noted[0])
                if is_ours:
                    ap = measure()
                    with suppress(OSError):  # then the next one measures, too
                        self._store.note(f"ap-{key}", ap)
                    return ap
            raise_if_stopped()
            time.sleep(_POLL_S)
        return measure()

    def maps(self, key: str, teacher: Detector, loader: TrainLoader) -> TeacherMaps:
        own = OwnTeacher(teacher)
        if self._store is None:
            return own
        with suppress(*_TROUBLES):  # it has its own
            share_weights(teacher, self._store, patience_s=self._shared.patience_s)
        try:
            seat = self._held.enter_context(self._store.seat())
        except _TROUBLES as error:
            self._turn_off(error)
            return own
        shared = SharedMaps(
            key,
            own,
            loader,
            store=self._store,
            seat=seat,
            account=self.account,
            patience_s=self._shared.patience_s,
        )
        return _WithFallBack(shared, own, self.account, warn=self._warn)

    def close(self) -> None:
        """The trial asks for nothing more; idempotent."""
        self._held.close()
        self._store = None

    def _turn_off(self, error: Exception) -> None:
        self._store = None
        self._warn(str(error))

    def _warn(self, reason: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            message = f"the trial computes what its teacher says by itself, with the same result: {reason}"
            self._emit(Warned(code="shared_teacher_off", message=message, details={"trial": self._trial}))


class _WithFallBack:
    def __init__(self, shared: SharedMaps, own: OwnTeacher, account: Account, *, warn: Callable[[str], None]) -> None:
        self._shared: SharedMaps | None = shared
        self._own, self._account, self._warn = own, account, warn

    def maps(self, batch: Batch) -> Sequence[Tensor]:
        if self._shared is not None:
            try:
                return self._shared.maps(batch)
            except TimeoutError as error:
                self._warn(str(error))  # the next batch may do better
            except _TROUBLES as error:
                self._shared = None
                self._warn(f"{type(error).__name__}: {error}")
        self._account.alone += 1
        return self._own.maps(batch)
