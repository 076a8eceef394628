"""Connects the ranks of one run to its caller: rank 0 reports and decides, and the run ends the same on all ranks."""

import itertools
import time
from pathlib import Path

import torch.distributed as dist

from fgd_core.ranks import leave, rank, store
from fgd_core.spec.events import RunEvent, RunFinished
from fgd_core.training.context import AwaitsVerdicts, ChangesInFlight, RunContext, StoresFiles

_POLL_S = 0.2
_runs = itertools.count()


class RankContext:
    """Wraps the `RunContext` of a rank; that of rank 0 does everything, the others only find checkpoints.

    Ranks above 0 notice in long work that another rank has ended early. A rank that waits in a collective operation
    notices it when the group ends, see `end`.

    The teacher is not shared with other runs: only rank 0 would know what another run has already measured.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context
        # Kept, because after the end of the group every process would take itself for rank 0.
        self._rank, self._store = rank(), store()
        number = next(_runs)
        self._count, self._ended = f"fgd/run {number}/ends", f"fgd/run {number}/end"
        self._polled_s, self._has_ended = 0.0, False

    @property
    def job_dir(self) -> Path:
        """The folder of the run; ranks above 0 write nothing that is kept there."""
        return self._context.job_dir

    def emit(self, event: RunEvent) -> None:
        """Report an event of rank 0."""
        if self._rank == 0:
            self._context.emit(event)

    def should_stop(self) -> bool:
        """Return whether the run should stop; on ranks above 0 whether another rank has ended early."""
        return (self._rank == 0 and self._context.should_stop()) or self._another_has_ended()

    def resolve_checkpoint(self, source: str) -> Path:
        """Return the local file of a checkpoint."""
        return self._context.resolve_checkpoint(source)

    @property
    def may_change(self) -> frozenset[str]:
        """The parts of the spec that may differ from the checkpoint's."""
        return self._context.may_change if isinstance(self._context, ChangesInFlight) else frozenset()

    def wait_for_verdict(self) -> None:
        """Wait on rank 0; the other ranks wait for its next `should_stop`."""
        if self._rank == 0 and isinstance(self._context, AwaitsVerdicts):
            self._context.wait_for_verdict()

    def store_file(self, path: Path) -> None:
        """Store a file of rank 0."""
        if self._rank == 0 and isinstance(self._context, StoresFiles):
            self._context.store_file(path)

    def flush_files(self) -> None:
        """Wait until all files of rank 0 are stored."""
        if self._rank == 0 and isinstance(self._context, StoresFiles):
            self._context.flush_files()

    def end(self, finished: RunFinished) -> RunFinished:
        """Return how the run ends on all ranks: as it did on the first rank that did not succeed.

        If the run did not succeed, this ends the process group, so that no rank waits for another one for ever.
        """
        if finished.outcome == "succeeded":
            return finished
        try:
            agreed = self._agree(finished)
        except dist.DistError:
            agreed = finished  # the process that holds the store is gone
        leave()
        return agreed

    def _agree(self, finished: RunFinished) -> RunFinished:
        if self._store.add(self._count, 1) == 1:
            finished = _of_worker(finished, self._rank)
            self._store.set(self._ended, finished.model_dump_json())
            return finished
        return RunFinished.model_validate_json(self._store.get(self._ended))

    def _another_has_ended(self) -> bool:
        if not self._has_ended and time.monotonic() - self._polled_s > _POLL_S:
            self._has_ended = self._store.check([self._ended])
            self._polled_s = time.monotonic()
        return self._has_ended


def _of_worker(finished: RunFinished, rank: int) -> RunFinished:
    """Note in the error of a run on which worker the error occurred."""
    if finished.error is None:
        return finished
    details = {**finished.error.details, "worker": rank}
    return finished.model_copy(update={"error": finished.error.model_copy(update={"details": details})})
