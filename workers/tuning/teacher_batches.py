"""The maps of a run's batches, computed by whichever of the runs of a node comes first."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import torch
from torch import Tensor

from fgd_core.data.loading import Batch, TrainLoader
from fgd_core.training.teacher_maps import OwnTeacher
from workers.tuning.teacher_store import Seat, TeacherStore

# So many batches a run that would wait computes ahead; more would only fill the memory.
_AHEAD = 8
_POLL_S = 0.002
# A checksum of all rows would cost more than it tells.
_ROW_STRIDE = 8


@dataclass
class Account:
    """Batches whose maps a trial"""

    shared: int = 0
    """found computed,"""
    computed: int = 0
    """computed for itself and the others,"""
    ahead: int = 0
    """computed for the others and itself while it would have waited,"""
    alone: int = 0
    """computed for itself alone, because sharing failed."""
    waited_s: float = 0.0
    """For maps that others computed, with nothing else to compute."""


class SharedMaps:
    """A `TeacherMaps` for one run. Its `maps` raises where it had better compute them by itself.

    Args:
        key: as in `TeacherSharing.maps`.
        seat: tells the other runs where this one is.
        patience_s: so long it waits for maps that another run computes.
    Raises:
        TimeoutError: another run takes too long over the maps.
        OSError, RuntimeError, ValueError: the memory is full, or what is there is not what it should be.
    """

    def __init__(
        self,
        key: str,
        own: OwnTeacher,
        loader: TrainLoader,
        *,
        store: TeacherStore,
        seat: Seat,
        account: Account,
        patience_s: float,
    ) -> None:
        self._store, self._seat, self._key, self._own, self._loader = store, seat, key[:32], own, loader
        self._account, self._patience_s = account, patience_s
        self._slowest_s = 0.0

    def maps(self, batch: Batch) -> Sequence[Tensor]:
        if batch.number is None:
            raise ValueError("a batch without a number is no batch of a training")
        group, number = self._group(batch), batch.number
        self._seat.move(group, number)
        # Of a machine so busy that the teacher takes long, more is to be expected.
        patience_s = max(self._patience_s, 10 * self._slowest_s)
        give_up_s = time.monotonic() + patience_s
        may_work_ahead = True
        while time.monotonic() < give_up_s:
            maps = self._found(group, batch)
            if maps is not None:
                self._account.shared += 1
                return maps
            with self._store.claim(f"{group}.{number}") as is_ours:
                if is_ours and not self._store.has(group, number):
                    # What this run has, it needs no more: only others count when room is made.
                    self._seat.move(group, number + 1)
                    self._account.computed += 1
                    return self._compute(group, batch)[0]
            if not is_ours:
                may_work_ahead = may_work_ahead and self._work_ahead(group, batch)
                if not may_work_ahead:
                    time.sleep(_POLL_S)
                    self._account.waited_s += _POLL_S
        raise TimeoutError(f"nobody had the maps of batch {number} ready within {patience_s:.0f} s")

    def _work_ahead(self, group: str, batch: Batch) -> bool:
        """Compute and store the maps of the next batch that nobody has; False where there is none to be stored."""
        assert batch.number is not None
        for index in range(_AHEAD):
            number = batch.number + 1 + index
            if self._store.has(group, number):
                continue
            with self._store.claim(f"{group}.{number}") as is_ours:
                if not is_ours or self._store.has(group, number):
                    continue
                upcoming = self._loader.upcoming(index)
                if upcoming is None:
                    return False
                _, is_stored = self._compute(group, upcoming.to(batch.images.device))
                self._account.ahead += is_stored
                return is_stored
        return False

    def _compute(self, group: str, batch: Batch) -> tuple[Sequence[Tensor], bool]:
        """The maps, and whether others find them."""
        assert batch.number is not None
        started_s = time.monotonic()
        maps = self._own.maps(batch)
        content = {"checksum": _checksum(batch), "maps": [each.cpu() for each in maps]}
        self._slowest_s = max(self._slowest_s, time.monotonic() - started_s)
        num_bytes = sum(each.nbytes for each in maps)
        return maps, self._store.put(group, batch.number, content, num_bytes)

    def _found(self, group: str, batch: Batch) -> Sequence[Tensor] | None:
        assert batch.number is not None
        content = self._store.get(group, batch.number)
        if content is None:
            return None
        if content["checksum"] != _checksum(batch):
            raise ValueError(f"the maps of batch {batch.number} are those of other images")
        return [each.to(batch.images.device) for each in content["maps"]]

    def _group(self, batch: Batch) -> str:
        """Within it a batch's maps follow from its number alone."""
        device = batch.images.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
        return f"{self._key}-{dtype}".replace("torch.", "")


def _checksum(batch: Batch) -> int:
    """Of the images' names and of some of their rows, which tell one flip or size from another."""
    rows = batch.images[:, :, ::_ROW_STRIDE].contiguous().cpu()
    names = repr((batch.image_ids, tuple(batch.images.shape)))
    return crc32(rows.numpy().data, crc32(names.encode()))
