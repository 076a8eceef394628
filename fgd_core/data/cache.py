"""Decoded images kept in memory, as far as they fit."""

from collections.abc import Callable

from torch import Tensor
from torch.utils.data import get_worker_info

BUDGET_BYTES = 512 * 2**20


class ImageCache:
    """Keeps the first images that fit the budget and never lets one go.

    Training reads all images once an epoch in a new order, where throwing out the oldest would hit next to nothing as
    soon as the data set is larger than the budget; keeping the first gives hits in proportion to the budget.
    """

    def __init__(self, budget_bytes: int = BUDGET_BYTES) -> None:
        self._budget_bytes = budget_bytes
        self._used_bytes = 0
        self._images: dict[int, Tensor] = {}

    def get(self, index: int, load: Callable[[int], Tensor]) -> Tensor:
        """The image kept under `index`, or `load(index)`."""
        kept = self._images.get(index)
        if kept is not None:
            return kept
        image = load(index)
        if self._used_bytes + image.nbytes <= self._share_bytes():
            self._images[index] = image
            self._used_bytes += image.nbytes
        return image

    def _share_bytes(self) -> int:
        # Every loader process has a copy of its own, and together they must keep to the budget.
        worker = get_worker_info()
        return self._budget_bytes // (worker.num_workers if worker else 1)

    # A process that is sent a data set starts with nothing: sending half a gigabyte costs more than decoding.
    def __reduce__(self) -> tuple[type["ImageCache"], tuple[int]]:
        return ImageCache, (self._budget_bytes,)
