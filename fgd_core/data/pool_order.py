"""Decides which images of a pool each step shows: a pure function of (seed, number of the step)."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from fgd_core.data.epoch_order import EpochOrder
from fgd_core.data.samples import DetectionDataset
from fgd_core.data.training_examples import Place
from fgd_core.errors import DataError
from fgd_core.spec.data import Sampling

_POOL = 4
"""First number of the seed here; see `training_examples`."""


class PoolOrder:
    """Shows the whole pool in a new order again and again, whatever the length of the labelled epochs.

    Args:
        per_step: images of the pool in each step, of all ranks together.
        seed: from `pool_seed`.
    Raises:
        DataError: the pool has fewer images than a step shows.
    """

    def __init__(self, pool: DetectionDataset, *, per_step: int, seed: int) -> None:
        num_images = len(pool.samples)
        if per_step > num_images:
            raise DataError(
                f"each step shows {per_step} images of the pool, and the pool has {num_images}; lower pool.ratio or "
                "training.batch_size, or add images",
                per_step=per_step,
                num_images=num_images,
            )
        self._order = EpochOrder(pool.samples, Sampling(), batch_size=per_step, seed=seed)
        # Steps come one after another, and each pass has its own order.
        self._pass = lru_cache(maxsize=1)(self._order.batches)

    def places(self, number: int) -> Sequence[Place]:
        """Return the images of the step after `number` others; `epoch` of a place counts the passes over the pool."""
        passes, step = divmod(number, self._order.steps_per_epoch)
        return self._pass(passes)[step]


def pool_seed(seed: int) -> int:
    """Return the seed of the pool's order and changes, so that they do not repeat those of the labelled images."""
    return int(np.random.SeedSequence((_POOL, seed)).generate_state(1)[0])
