"""Keeps decoded images in memory, up to a budget."""

from collections.abc import Callable

from torch import Tensor
from torch.utils.data import get_worker_info

BUDGET_BYTES = 512 * 2**20


class ImageCache:
    """Keeps the first images that fit the budget and never evicts any.

    Training reads every image once in each epoch, in a new order. If the data set is larger than the budget, evicting
    the oldest image would give almost no hits. Keeping the first images gives hits in proportion to the budget.
    """

    def __init__(self, budget_bytes: int = BUDGET_BYTES) -> None:
        self._budget_bytes = budget_bytes
        self._used_bytes = 0
        self._images: dict[int, Tensor] = {}

    def get(self, index: int, load: Callable[[int], Tensor]) -> Tensor:
        """Return the image (3, H, W) at `index` from the cache, or load and cache it."""
        cached = self._images.get(index)
        if cached is not None:
            return cached
        image = load(index)
        if self._used_bytes + image.nbytes <= self._worker_budget_bytes():
            self._images[index] = image
            self._used_bytes += image.nbytes
        return image

    def _worker_budget_bytes(self) -> int:
        # Every loader process has its own copy of the cache; all copies together must stay within the budget.
        worker = get_worker_info()
        return self._budget_bytes // (worker.num_workers if worker else 1)

    # A pickled cache is empty: sending half a gigabyte to another process costs more than decoding again.
    def __reduce__(self) -> tuple[type["ImageCache"], tuple[int]]:
        return ImageCache, (self._budget_bytes,)
