"""Prepares training images: reads, resizes, flips and changes them, each by a generator of its own."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

import fgd_core.no_compiler  # noqa: F401  # before torchvision is imported
from fgd_core.data.augments import augmented
from fgd_core.data.combining import Draw
from fgd_core.data.examples import Example, flipped, read_example, resized
from fgd_core.data.keypoints import mirrored_order, names_of_keypoints
from fgd_core.data.pictures import Pictures
from fgd_core.data.samples import DetectionDataset, has_masks
from fgd_core.data.training_share import training_share
from fgd_core.spec.augments import AugmentSpec, Stage
from fgd_core.spec.data import InputSpec

# First number of each random seed, so that no two purposes share a stream; `epoch_order` has 0. The choices of
# `input.augment` have their own stream each: they change neither the flips nor the sizes.
_AUGMENTATION, _AUGMENT, _DRAWS = 1, 2, 3

Chosen: TypeAlias = Sequence[tuple[AugmentSpec, Draw]]
"""Changes, each with what it draws from."""


class Place(NamedTuple):
    """Says which image of which epoch is prepared; with the settings and the seed it determines the result."""

    epoch: int
    image: int
    """Index of the sample in the split."""
    repetition: int = 0
    """How often the epoch has shown the image before."""

    def entropy(self, purpose: int, seed: int, number: int | None = None) -> tuple[int, ...]:
        """Return the numbers that seed a generator; without a repetition they are as they were before there were any.

        A zero at the end would not change a generator, so the numbers differ between all places.
        """
        numbers = (purpose, seed, self.epoch, self.image) + (() if number is None else (number,))
        return (*numbers, self.repetition) if self.repetition else numbers


class TrainingExamples:
    """Gives the training images as a detector sees them, before they are normalised and padded.

    Args:
        pictures: other pictures of the images, which get the same changes.
        with_masks: whether the examples have masks; changes that need them read them in any case. Default: if the data
            set has masks.
    """

    def __init__(
        self,
        dataset: DetectionDataset,
        input_spec: InputSpec,
        seed: int,
        pictures: Sequence[Pictures] = (),
        *,
        with_masks: bool = True,
    ) -> None:
        self._dataset = dataset
        self._input_spec = input_spec
        self._share = training_share(len(dataset.samples), input_spec.sampling)
        self._seed = seed
        self._pictures = pictures
        self._keeps_masks = with_masks
        self._reads_masks = has_masks(dataset.samples) and (with_masks or input_spec.needs_masks)
        self._keypoint_order = mirrored_order(names_of_keypoints(dataset.categories))

    def at(self, place: Place) -> Example:
        """Return the image at a place.

        Raises:
            DataError: it cannot be read, or a change does not suit the data.
        """
        rng = np.random.default_rng(place.entropy(_AUGMENTATION, self._seed))
        is_flipped = bool(rng.random() < self._input_spec.flip_probability)
        input_spec = self._at_drawn_size(rng)
        chosen = self._chosen(place, input_spec)
        example = augmented(self._read(place.epoch, place.image), _of(chosen, "original"))
        example = self._resized(example, input_spec, _of(chosen, "resizing"), is_flipped=is_flipped)
        example = augmented(example, _of(chosen, "resized"))
        return example if self._keeps_masks else example._replace(masks=None)

    def seed_of_draws(self, place: Place) -> int:
        """Return the seed of the draws of detectors and methods for the image."""
        return int(np.random.SeedSequence(place.entropy(_DRAWS, self._seed)).generate_state(1)[0])

    def _at_drawn_size(self, rng: np.random.Generator) -> InputSpec:
        spec = self._input_spec
        if not (sizes := spec.train_shorter_px):
            return spec
        is_range = spec.train_shorter_from == "range"
        size = rng.integers(min(sizes), max(sizes) + 1) if is_range else rng.choice(sizes)
        return spec.model_copy(update={"shorter_px": int(size)})

    def _chosen(self, place: Place, input_spec: InputSpec) -> Chosen:
        """Return the changes in the epoch of a place."""
        applied = [
            (number, each)
            for number, each in enumerate(self._input_spec.augment)
            if each.until_epoch is None or place.epoch < each.until_epoch
        ]
        resizing = [each for _, each in applied if each.stage == "resizing"]

        def another(rng: np.random.Generator) -> Example:
            example = self._read(place.epoch, int(self._share[rng.integers(len(self._share))]))
            chosen = [(each, Draw(rng, input_spec, another)) for each in resizing]
            is_flipped = bool(rng.random() < input_spec.flip_probability)
            return self._resized(example, input_spec, chosen, is_flipped=is_flipped)

        return [
            (each, Draw(np.random.default_rng(place.entropy(_AUGMENT, self._seed, number)), input_spec, another))
            for number, each in applied
        ]

    def _read(self, epoch: int, index: int) -> Example:
        pictures = {each.name: each for each in self._pictures if each.is_read_in(epoch)}
        return read_example(self._dataset, index, pictures, with_masks=self._reads_masks)

    def _resized(self, example: Example, input_spec: InputSpec, chosen: Chosen, *, is_flipped: bool) -> Example:
        example = augmented(example, chosen) if chosen else resized(example, input_spec)
        return flipped(example, self._keypoint_order) if is_flipped else example


def _of(chosen: Chosen, stage: Stage) -> Chosen:
    return [each for each in chosen if each[0].stage == stage]
