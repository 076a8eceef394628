"""Decides which images an epoch shows, in which order and in which batches: a pure function of (seed, epoch)."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from fgd_core.data.samples import Sample
from fgd_core.data.training_examples import Place
from fgd_core.data.training_share import training_share
from fgd_core.spec.data import Sampling

_ORDER = 0
"""First number of the seeds here; see `training_examples`."""

Indices: TypeAlias = npt.NDArray[np.int64]


class _Shown(NamedTuple):
    """Holds the images of an epoch in their order."""

    indices: Indices
    repetitions: Indices
    """How often the epoch has shown the image before."""


class EpochOrder:
    """Divides each epoch into batches of all ranks together, as `Sampling` describes.

    Args:
        samples: of the whole split; the share that is shown has at least as many as a batch.
    """

    def __init__(self, samples: Sequence[Sample], sampling: Sampling, *, batch_size: int, seed: int) -> None:
        self._batch_size, self._seed = batch_size, seed
        self._share = training_share(len(samples), sampling)
        threshold = sampling.repeat_threshold
        self._factors = repeat_factors(self._of_share(samples), threshold) if threshold is not None else None
        self._groups = (
            aspect_groups(self._of_share(samples), sampling.aspect_groups) if sampling.aspect_groups else None
        )
        # All epochs have equally many steps, which schedules count in advance.
        num_shown = len(self._share) if self._factors is None else int(self._factors.sum())
        self.steps_per_epoch = num_shown // batch_size

    def batches(self, epoch: int) -> list[list[Place]]:
        """Return the batches of an epoch, without an incomplete last batch."""
        rng = np.random.default_rng((_ORDER, self._seed, epoch))
        shown = _Shown(rng.permutation(len(self._share)), np.zeros(len(self._share), np.int64))
        if self._factors is not None:
            shown = _repeated(shown.indices, self._factors, rng)
        if self._groups is None:
            rows = np.arange(self.steps_per_epoch * self._batch_size).reshape(-1, self._batch_size)
        else:
            rows = _grouped(self._groups[shown.indices], self.steps_per_epoch, self._batch_size, rng)
        indices, repetitions = self._share[shown.indices[rows]].tolist(), shown.repetitions[rows].tolist()
        return [
            [Place(epoch, *image) for image in zip(*batch, strict=True)]
            for batch in zip(indices, repetitions, strict=True)
        ]

    def _of_share(self, samples: Sequence[Sample]) -> list[Sample]:
        """Return the shown samples. A large split creates samples when they are read, so this is slow."""
        return [samples[index] for index in self._share.tolist()]


def repeat_factors(samples: Sequence[Sample], threshold: float) -> npt.NDArray[np.float64]:
    """Return how often an epoch shows each image, on average.

    Args:
        threshold: the fraction of images below which a class is rare.
    Returns:
        (number of images,) the largest max(1, sqrt(threshold / fraction)) of the classes on the image; 1 without
        objects. They are multiples of 2^-20, so that their sum is exact in any order.
    Source: LVIS, arXiv:1908.03195 appendix B.2.
    """
    present = [np.unique(sample.labels[~sample.is_crowd]) for sample in samples]
    num_images = np.bincount(np.concatenate([np.zeros(0, np.int64), *present]))
    of_class = np.sqrt(np.maximum(1, threshold * len(samples) / np.maximum(1, num_images)))
    factors: npt.NDArray[np.float64] = np.array([of_class[labels].max(initial=1) for labels in present])
    return np.round(factors * 2**20) / 2**20


def aspect_groups(samples: Sequence[Sample], steps_per_octave: int) -> Indices:
    """Return the group of each image (number of images,): its width over height, rounded down to a step.

    Args:
        steps_per_octave: steps from one half to 1, and from 1 to 2; ratios beyond are two further groups.
    """
    ratios: npt.NDArray[np.float64] = np.array([sample.width / sample.height for sample in samples])
    return np.asarray(np.digitize(ratios, 2.0 ** np.linspace(-1, 1, 2 * steps_per_octave + 1)), np.int64)


def _repeated(order: Indices, factors: npt.NDArray[np.float64], rng: np.random.Generator) -> _Shown:
    """Show each image as often as its factor says, rounded up or down with the fraction as probability.

    One random number rounds all factors (systematic sampling), so that epochs differ by one image at most.
    """
    ends = np.floor(factors[order].cumsum() + rng.random()).astype(np.int64)
    counts = np.diff(ends, prepend=0)
    repetitions = np.concatenate([np.arange(count) for count in counts])
    again = rng.permutation(len(repetitions))
    return _Shown(np.repeat(order, counts)[again], repetitions[again])


def _grouped(groups: Indices, steps: int, batch_size: int, rng: np.random.Generator) -> Indices:
    """Return the positions (steps, batch_size) of the images of each batch, in random order of the batches.

    Args:
        groups: (n,) of the images in their order.
    """
    by_group = np.argsort(groups, kind="stable")
    _, starts, counts = np.unique(groups[by_group], return_index=True, return_counts=True)
    number = np.arange(len(groups)) - np.repeat(starts, counts)
    is_left = number >= np.repeat(counts // batch_size * batch_size, counts)
    whole = by_group[~is_left].reshape(-1, batch_size)[:steps]
    # Which images the epoch leaves out depends on the order, not on the group.
    left = np.sort(by_group[is_left])[: (steps - len(whole)) * batch_size]
    shared = left[np.argsort(groups[left], kind="stable")].reshape(-1, batch_size)
    return rng.permutation(np.concatenate([whole, shared]))
