"""Decides which images of a training split a training shows: `Sampling.fraction` of them."""

import numpy as np
import numpy.typing as npt

from fgd_core.spec.data import Sampling

_SHARE = 5
"""The seed here, and the first number of no other seed; see `training_examples`."""


def training_share(num_images: int, sampling: Sampling) -> npt.NDArray[np.int64]:
    """Return the indices (n,) of the images that a training shows, in rising order.

    The draw does not depend on the seed of the run: runs with different seeds, and the arms of a study, then see the
    same images. A smaller share is a part of a larger one.
    """
    drawn = np.random.default_rng(_SHARE).permutation(num_images)
    return np.sort(drawn[: sampling.num_shown(num_images)])
