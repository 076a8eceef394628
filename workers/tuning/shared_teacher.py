"""Shares one teacher among all trials of a sweep that run on a node.

The first trial that needs a batch's maps computes them with its own copy of the teacher, and writes them to the node's
shared memory. A trial that needs the same maps meanwhile does not wait: it computes the maps of the next batch that has
none. So no core is idle, and all trials do the same amount of work. No trial depends on another one being alive: see
`teacher_store`.

An alternative was measured with four trials on two cores: a separate process that computes ahead for all trials. It
needs the same CPU time, but one process more (4.6 GiB instead of 3.5), space on a GPU, and monitoring, and it computes
no more than one core can.
"""

import pickle
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue
from torch import Tensor

from fgd_core.data.loading import Batch, ComingBatches
from fgd_core.spec.events import RunEvent, Warned
from fgd_core.stopping import raise_if_stopped
from fgd_core.training.teacher_maps import OwnTeacher, TeacherMaps
from workers.tuning import teacher_store
from workers.tuning.teacher_batches import SharedMaps, SharingStats
from workers.tuning.teacher_store import TeacherStore
from workers.tuning.teacher_weights import share_weights

_GIB = 2**30
_POLL_S = 0.01
_PATIENCE_FOR_AP = 30
"""Times the patience for maps: the teacher's AP takes an evaluation, maps take a forward pass."""
_ERRORS = (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError)


@dataclass(frozen=True)
class SharedTeacher:
    """Describes the sharing to the actors of a sweep's trials; picklable.

    A trial's run context provides `source_for(...)` as its `teacher_sharing`, and closes it when the trial is over.
    """

    sweep_id: str
    max_bytes: int = 2 * _GIB
    """The limit of the maps in shared memory, on each node."""
    patience_s: float = 20.0
    """How long a run waits for maps that another one computes; then it computes them itself."""
    parent: Path | None = None
    """A folder in memory; the node's shared memory, unless given."""

    def source_for(self, trial: int, emit: Callable[[RunEvent], None]) -> "TrialTeacher":
        """Open the sharing for one trial, in the process that runs the trial."""
        return TrialTeacher(self, trial, emit)

    def clear(self) -> None:
        """Free this node's memory, unless a run of another process still shares it; the last process frees it."""
        teacher_store.clear(self.sweep_id, self.parent)


class TrialTeacher:
    """A `TeacherSharing` for one trial. If sharing fails, the trial continues on its own and emits one warning."""

    def __init__(self, shared: SharedTeacher, trial: int, emit: Callable[[RunEvent], None]) -> None:
        self.stats = SharingStats()
        self._shared, self._trial, self._emit = shared, trial, emit
        self._held = ExitStack()
        self._has_warned = False
        self._store: TeacherStore | None = None
        try:
            self._store = TeacherStore(shared.sweep_id, shared.max_bytes, shared.parent)
            self._held.callback(self._store.close)
        except OSError as error:
            self._turn_off(error)

    def ap(self, key: str, measure: Callable[[], JsonValue]) -> JsonValue:
        deadline_s = time.monotonic() + _PATIENCE_FOR_AP * self._shared.patience_s
        while self._store is not None and time.monotonic() < deadline_s:
            with ExitStack() as claim:
                try:
                    is_ours = claim.enter_context(self._store.claim(f"ap-{key}"))
                    found = self._store.values(f"ap-{key}")
                except (OSError, ValueError) as error:
                    self._turn_off(error)
                    break
                if found:
                    return found[0]
                if is_ours:
                    ap = measure()
                    with suppress(OSError):  # the next trial then measures the AP, too
                        self._store.set_value(f"ap-{key}", ap)
                    return ap
            raise_if_stopped()
            time.sleep(_POLL_S)
        return measure()

    def maps(self, key: str, own: OwnTeacher, batches: ComingBatches, *, num_batches: int | None = None) -> TeacherMaps:
        if self._store is None:
            return own
        with suppress(*_ERRORS):  # the teacher still has its own weights
            share_weights(own.teacher, self._store, patience_s=self._shared.patience_s)
        try:
            position = self._held.enter_context(self._store.register_run())
        except _ERRORS as error:
            self._turn_off(error)
            return own
        shared = SharedMaps(
            key,
            own,
            batches,
            num_batches=num_batches,
            store=self._store,
            position=position,
            stats=self.stats,
            patience_s=self._shared.patience_s,
        )
        return _WithFallback(shared, own, self.stats, warn=self._warn)

    def close(self) -> None:
        """End the sharing; idempotent."""
        self._held.close()
        self._store = None

    def _turn_off(self, error: Exception) -> None:
        self._store = None
        self._warn(str(error))

    def _warn(self, reason: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            message = f"the trial computes its teacher's maps on its own, with the same result: {reason}"
            self._emit(Warned(code="shared_teacher_off", message=message, details={"trial": self._trial}))


class _WithFallback:
    """Falls back to the trial's own teacher when sharing fails."""

    def __init__(
        self, shared: SharedMaps, own: OwnTeacher, stats: SharingStats, *, warn: Callable[[str], None]
    ) -> None:
        self._shared: SharedMaps | None = shared
        self._own, self._stats, self._warn = own, stats, warn

    def maps(self, batch: Batch) -> Sequence[Tensor]:
        if self._shared is not None:
            try:
                return self._shared.maps(batch)
            except TimeoutError as error:
                self._warn(str(error))  # the next batch may succeed
            except _ERRORS as error:
                self._shared = None
                self._warn(f"{type(error).__name__}: {error}")
        self._stats.alone += 1
        return self._own.maps(batch)
