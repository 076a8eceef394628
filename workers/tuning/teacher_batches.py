"""The teacher's maps of a run's batches; the first run of a node that needs a batch computes them for all."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import torch
from torch import Tensor

from fgd_core.data.loading import Batch, ComingBatches
from fgd_core.training.teacher_maps import OwnTeacher
from workers.tuning.teacher_store import Entry, RunPosition, TeacherStore

_AHEAD = 8
"""How many batches a waiting run computes ahead at most; more would only fill the memory."""
_POLL_S = 0.002
_ROW_STRIDE = 8
"""The checksum reads every eighth row; all rows would take longer and find no more differences."""


@dataclass
class SharingStats:
    """Counts the batches of a trial by how it got their maps."""

    shared: int = 0
    """Read from the store."""
    computed: int = 0
    """Computed and stored for all runs, when this run needed them."""
    ahead: int = 0
    """Computed and stored for all runs, while this run waited for another batch."""
    alone: int = 0
    """Computed for this run only, because sharing failed."""
    waited_s: float = 0.0
    """Seconds spent waiting for maps of other runs, with nothing to compute meanwhile."""


class SharedMaps:
    """A `TeacherMaps` for one run. If its `maps` raises, the run should compute the maps itself.

    Args:
        key: as in `TeacherSharing.maps`.
        position: shows the other runs which batch this one needs.
        patience_s: how long to wait for maps that another run computes.
        num_batches: as in `TeacherSharing.maps`.
    Raises:
        TimeoutError: another run takes too long to compute the maps.
        OSError, RuntimeError, ValueError: the memory is full, or the stored maps belong to other images.
    """

    def __init__(
        self,
        key: str,
        own: OwnTeacher,
        batches: ComingBatches,
        *,
        store: TeacherStore,
        position: RunPosition,
        stats: SharingStats,
        patience_s: float,
        num_batches: int | None = None,
    ) -> None:
        self._store, self._position, self._key, self._own, self._batches = store, position, key[:32], own, batches
        self._stats, self._patience_s, self._num_batches = stats, patience_s, num_batches
        self._slowest_s = 0.0

    def maps(self, batch: Batch) -> Sequence[Tensor]:
        """Return the teacher's maps, each (B, C, H, W), from the store or computed."""
        if batch.number is None:
            raise ValueError("the batch has no number; only the batches of a training can be shared")
        try:
            return self._shared_or_computed(batch, batch.number)
        finally:
            if batch.number + 1 == self._num_batches:
                self._position.leave()

    def _shared_or_computed(self, batch: Batch, number: int) -> Sequence[Tensor]:
        """Return the maps of a batch, each (B, C, H, W)."""
        group = self._group(batch)
        self._position.move(group, number)
        # On a busy machine, the teacher takes longer, and so do the other runs.
        patience_s = max(self._patience_s, 10 * self._slowest_s)
        deadline_s = time.monotonic() + patience_s
        may_work_ahead = True
        while time.monotonic() < deadline_s:
            maps = self._stored(group, batch)
            if maps is not None:
                self._stats.shared += 1
                return maps
            with self._store.claim(f"{group}.{number}") as is_ours:
                if is_ours and not self._store.has(group, number):
                    # From now on only the other runs need this batch; the store reads this when it makes space.
                    self._position.move(group, number + 1)
                    self._stats.computed += 1
                    return self._compute(group, batch)[0]
            if not is_ours:
                may_work_ahead = may_work_ahead and self._work_ahead(group, batch)
                if not may_work_ahead:
                    time.sleep(_POLL_S)
                    self._stats.waited_s += _POLL_S
        raise TimeoutError(f"no run computed the maps of batch {number} within {patience_s:.0f} s")

    def _work_ahead(self, group: str, batch: Batch) -> bool:
        """Compute and store the maps of the next batch without maps; returns False if there is none to store."""
        assert batch.number is not None
        for index in range(_AHEAD):
            number = batch.number + 1 + index
            if self._store.has(group, number):
                continue
            with self._store.claim(f"{group}.{number}") as is_ours:
                if not is_ours or self._store.has(group, number):
                    continue
                upcoming = self._batches.upcoming(index)
                if upcoming is None:
                    return False
                _, is_stored = self._compute(group, upcoming.to(batch.images.device))
                self._stats.ahead += is_stored
                return is_stored
        return False

    def _compute(self, group: str, batch: Batch) -> tuple[Sequence[Tensor], bool]:
        """Compute a batch's maps; returns (the maps, True if they were stored)."""
        assert batch.number is not None
        started_s = time.monotonic()
        maps = self._own.maps(batch)
        content: Entry = {"checksum": _checksum(batch), "maps": [each.cpu() for each in maps]}
        self._slowest_s = max(self._slowest_s, time.monotonic() - started_s)
        num_bytes = sum(each.nbytes for each in maps)
        return maps, self._store.put(group, batch.number, content, num_bytes)

    def _stored(self, group: str, batch: Batch) -> Sequence[Tensor] | None:
        assert batch.number is not None
        content = self._store.get(group, batch.number)
        if content is None:
            return None
        if content["checksum"] != _checksum(batch):
            raise ValueError(f"the stored maps of batch {batch.number} are those of other images")
        return [each.to(batch.images.device) for each in content["maps"]]

    def _group(self, batch: Batch) -> str:
        """Return the group of runs in which a batch's number determines its maps."""
        device = batch.images.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
        return f"{self._key}-{dtype}".replace("torch.", "")


def _checksum(batch: Batch) -> int:
    """Compute a checksum of the images' names and of some rows, which differ between flips and sizes."""
    rows = batch.images[:, :, ::_ROW_STRIDE].contiguous().cpu()
    names = repr((batch.image_ids, tuple(batch.images.shape)))
    return crc32(rows.numpy().data, crc32(names.encode()))
