"""Turns a data set into batches of tensors, in an order that a resumed run can continue."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import DataLoader, Dataset, Sampler

from fgd_core.data import normalising
from fgd_core.data.epoch_order import EpochOrder
from fgd_core.data.examples import Example, read_example, resized
from fgd_core.data.normalising import normalised_pixels
from fgd_core.data.pictures import Pictures
from fgd_core.data.pool_order import PoolOrder, pool_seed
from fgd_core.data.samples import DetectionDataset
from fgd_core.data.targets import Targets
from fgd_core.data.training_examples import Place, TrainingExamples
from fgd_core.errors import DataError, FgdError, SpecError
from fgd_core.ranks import largest, rank, world_size
from fgd_core.spec.data import IMAGE, InputSpec, Sampling

T = TypeVar("T")

MEAN = np.array(normalising.MEAN, dtype=np.float32)[:, None, None]
STD = np.array(normalising.STD, dtype=np.float32)[:, None, None]


@dataclass(frozen=True, eq=False)
class Batch:
    """Holds the images of one step and their objects; each list has one entry for each image."""

    images: Tensor
    """(N, 3, H, W), padded with zeros right and bottom; H and W are multiples of `pad_to_px`. uint8 as loaded, a byte
    for each value; float32 and normalised once `to` has moved the batch to the device that trains."""
    image_sizes: list[tuple[int, int]]
    """(height, width) after resizing, before padding."""
    boxes: list[Tensor]
    """(n, 4) float32 xyxy in pixels of the resized image, without crowd regions; n may be 0."""
    labels: list[Tensor]
    """(n,) int64 indices into the data set's categories."""
    image_ids: list[int]
    original_sizes: list[tuple[int, int]]
    """(height, width) of the image in the data set; detections are evaluated at this size."""
    number: int | None = None
    """Number of earlier batches in the whole training; None for evaluation batches."""
    masks: list[Tensor] | None = None
    """(n, height, width) uint8, 1 on the object; None if the data set was opened without masks."""
    keypoints: list[Tensor] | None = None
    """(n, K, 3) float32: x and y in pixels of the resized image, and visibility; None if the data set was opened
    without keypoints."""
    pictures: Mapping[str, Tensor] = field(default_factory=dict)
    """Other pictures of the same images, by name: like `images`, with the same objects at the same places."""

    seeds: Sequence[int] | None = None
    """For each image the seed of the random draws of detectors and methods; None in evaluation batches."""
    is_labelled: bool = True
    """False for images of a pool, whose boxes are unknown."""
    weight: float = 1.0
    """How much an image counts in the loss of a step, relative to the other images."""
    pool: "Batch | None" = None
    """Images without labels that the same step shows; None without a pool."""

    def showing(self, picture: str) -> "Batch":
        """Return the batch with another picture in place of the images; `image` returns the batch itself."""
        return self if picture == IMAGE else replace(self, images=self.pictures[picture], pictures={})

    @property
    def targets(self) -> Targets:
        """The objects, without the images."""
        return Targets(self.boxes, self.labels, self.image_sizes, self.masks, self.keypoints, self.seeds)

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch with all tensors on `device`, and its images normalised there."""
        return self._changed(lambda tensor: tensor.to(device, non_blocking=True)).normalised()

    def normalised(self) -> "Batch":
        """Return the batch with float32 images; images of that type are normalised already."""
        pictures = {name: self._normalised(each) for name, each in self.pictures.items()}
        pool = self.pool and self.pool.normalised()
        return replace(self, images=self._normalised(self.images), pictures=pictures, pool=pool)

    def _normalised(self, images: Tensor) -> Tensor:
        return normalised_pixels(images, self.image_sizes) if images.dtype == torch.uint8 else images

    def pin_memory(self) -> "Batch":
        """Return the batch in pinned memory, from which a GPU copies while it computes."""
        return self._changed(Tensor.pin_memory)

    def tensors(self) -> Iterator[Tensor]:
        """Yield all tensors."""
        lists = (self.boxes, self.labels, self.masks or (), self.keypoints or (), self.pictures.values())
        return chain([self.images], *lists, self.pool.tensors() if self.pool is not None else ())

    def _changed(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        return replace(
            self,
            images=change(self.images),
            boxes=_changed_at_once(self.boxes, change),
            labels=_changed_at_once(self.labels, change),
            masks=self.masks and [change(each) for each in self.masks],
            keypoints=self.keypoints and [change(each) for each in self.keypoints],
            pictures={name: change(each) for name, each in self.pictures.items()},
            pool=self.pool and self.pool._changed(change),
        )


def _changed_at_once(rows: Sequence[Tensor], change: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Change the rows (n, …) of all images together, as one tensor: a device gets one copy, not one for each image."""
    return list(change(torch.cat(list(rows))).split_with_sizes([len(own) for own in rows])) if rows else []


class ShownPool(NamedTuple):
    """Says which images without labels a training shows beside its labelled ones."""

    dataset: DetectionDataset
    """Its samples have no objects."""
    ratio: int
    """Images of the pool in each step for each labelled image."""
    weight: float
    """See `Batch`."""


class ComingBatches(Protocol):
    """Shows the batches that a loader will yield."""

    def upcoming(self, index: int) -> Batch | None:
        """Return the batch that comes after `index` others; None if the epoch ends before."""
        ...


class TrainLoader:
    """Yields shuffled, augmented training batches, with masks if the data set has them.

    The order depends only on (seed, epoch), and the augmentation of an image only on its place in the epoch. A run that
    resumes at any step thus gets the same batches, with any number of workers. Each rank gets its part of every batch,
    padded as the whole batch would be.
    """

    def __init__(
        self,
        dataset: DetectionDataset,
        input_spec: InputSpec,
        *,
        batch_size: int,
        seed: int,
        workers: int,
        pictures: Sequence[Pictures] = (),
        with_masks: bool = True,
        pool: ShownPool | None = None,
    ) -> None:
        """
        Args:
            batch_size: labelled images of all ranks together.
            workers: number of processes that read images; they live through all epochs. 0 reads in this process.
            pictures: other pictures of the images that the batches contain.
            with_masks: False leaves out the masks of a data set that has them.
            pool: adds images without labels to each batch, as its `pool`.
        Raises:
            DataError: the split, or the pool, has fewer images than a step shows.
            SpecError: the ranks cannot share a batch equally.
        """
        num_images = input_spec.sampling.num_shown(len(dataset.samples))
        if batch_size > num_images:
            of = " that input.sampling.fraction leaves" if num_images < len(dataset.samples) else ""
            raise DataError(
                f"a batch of {batch_size} images is larger than the training split of {num_images}{of}; "
                f"set training.batch_size to {num_images} or less, or add images",
                batch_size=batch_size,
                num_images=num_images,
            )
        if batch_size % world_size():
            raise SpecError(
                f"training.batch_size {batch_size} is not a multiple of the {world_size()} processes that share it; "
                "change the batch size, or resources.workers",
                batch_size=batch_size,
                workers=world_size(),
            )
        order = EpochOrder(dataset.samples, input_spec.sampling, batch_size=batch_size, seed=seed)
        examples = TrainingExamples(dataset, input_spec, seed, pictures, with_masks=with_masks)
        self.steps_per_epoch = order.steps_per_epoch
        of_pool, pool_order = None, None
        if pool is not None:
            own_seed = pool_seed(seed)
            # `input.sampling` is about the labelled images.
            whole_pool = input_spec.model_copy(update={"sampling": Sampling()})
            examples_of_pool = TrainingExamples(pool.dataset, whole_pool, own_seed)
            of_pool = _AugmentedPool(pool, examples_of_pool, input_spec.pad_to_px)
            pool_order = PoolOrder(pool.dataset, per_step=pool.ratio * batch_size, seed=own_seed)
        self._batches = _AugmentedBatches(dataset, examples, input_spec.pad_to_px, of_pool)
        self._sampler = _EpochSampler(order, pool_order)
        self._loader = _workers_loader(self._batches, self._sampler, workers, stay=True) if workers else None
        self._source: Iterator[Batch] = iter(())
        self._ahead: deque[Batch] = deque()

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch from `start_step` on, without an incomplete last batch."""
        self._sampler.epoch, self._sampler.start_step = epoch, start_step
        self._ahead.clear()
        self._source = self._numbered(epoch * self.steps_per_epoch + start_step)
        while (batch := self.upcoming(0)) is not None:
            self._ahead.popleft()
            yield batch

    def upcoming(self, index: int) -> Batch | None:
        """Return the batch that the current iteration yields after `index` others; None if the epoch ends before.

        The batch is kept until the iteration yields it, so looking ahead costs memory but no time.
        """
        while len(self._ahead) <= index:
            batch = next(self._source, None)
            if batch is None:
                return None
            self._ahead.append(batch)
        return self._ahead[index]

    def showing(self, picture: str) -> ComingBatches:
        """Return the batches to come, with another picture in place of the images."""
        return _Showing(self, picture)

    def close(self) -> None:
        """End the worker processes now, not when the last reference to the loader is gone. Idempotent."""
        self._source = iter(())
        self._loader = None

    def _numbered(self, first: int) -> Iterator[Batch]:
        own = map(self._batches.__getitem__, self._sampler)
        for number, batch in enumerate(self._loader if self._loader is not None else own, start=first):
            yield _padded(replace(_checked(batch), number=number))


def _padded(batch: Batch) -> Batch:
    """Pad the part of a rank as the whole batch would be: where maps end changes their values at the border."""
    if world_size() == 1:
        return batch
    height, width = batch.images.shape[2:]
    tallest, widest = largest(height, width)
    around = (0, widest - width, 0, tallest - height)
    pictures = {name: pad(images, around) for name, images in batch.pictures.items()}
    return replace(batch, images=pad(batch.images, around), pictures=pictures, pool=batch.pool and _padded(batch.pool))


class _Showing:
    def __init__(self, loader: TrainLoader, picture: str) -> None:
        self._loader, self._picture = loader, picture

    def upcoming(self, index: int) -> Batch | None:
        batch = self._loader.upcoming(index)
        return None if batch is None else batch.showing(self._picture)


def evaluation_batches(
    dataset: DetectionDataset, input_spec: InputSpec, *, batch_size: int, workers: int = 0
) -> Iterator[Batch]:
    """Yield every image once, in the data set's order, without augmentation or masks; the last batch may be smaller.

    Of several ranks, each gets the whole batches of its turn: the detections of an image depend on the padding of its
    batch, and are then the same for any number of ranks.

    Args:
        workers: number of processes that read images, for this pass only. 0 reads in this process.
    """
    last = len(dataset.samples)
    turns = range(rank() * batch_size, last, world_size() * batch_size)
    parts = [[*range(start, min(start + batch_size, last))] for start in turns]
    batches = _EvaluationBatches(dataset, input_spec)
    processes = min(workers, len(parts))
    loaded = _workers_loader(batches, parts, processes) if processes else map(batches.__getitem__, parts)
    yield from map(_checked, loaded)


def evaluation_batch(dataset: DetectionDataset, indices: Sequence[int], input_spec: InputSpec) -> Batch:
    """Return these images as one batch, without augmentation or masks."""
    examples = [resized(read_example(dataset, index, {}, with_masks=False), input_spec) for index in indices]
    return _collate(dataset, indices, examples, input_spec.pad_to_px)


class _Step(NamedTuple):
    """Says which images a step shows on this rank."""

    labelled: Sequence[Place]
    pool: Sequence[Place] = ()


class _EpochSampler(Sampler[_Step]):
    """Yields for each step the places of its images.

    Each place names its epoch because worker processes live through all epochs and do not see `epoch` change here.
    Of several ranks, each gets its part of the batch, in the order of the ranks.
    """

    epoch = 0
    start_step = 0

    def __init__(self, order: EpochOrder, pool: PoolOrder | None) -> None:
        self._order, self._pool = order, pool

    def __iter__(self) -> Iterator[_Step]:
        first = self.epoch * self._order.steps_per_epoch + self.start_step
        for number, batch in enumerate(self._order.batches(self.epoch)[self.start_step :], start=first):
            yield _Step(_own_part(batch), () if self._pool is None else _own_part(self._pool.places(number)))


def _own_part(places: Sequence[Place]) -> Sequence[Place]:
    share = len(places) // world_size()
    return places[rank() * share : (rank() + 1) * share]


class _AugmentedPool:
    """Prepares the images of a pool."""

    def __init__(self, pool: ShownPool, examples: TrainingExamples, pad_to_px: int) -> None:
        self._pool, self._examples, self._pad_to_px = pool, examples, pad_to_px

    def batch(self, places: Sequence[Place]) -> Batch:
        """Return the images at the places as one batch.

        Raises:
            DataError: an image cannot be read.
        """
        found = _augmented_batch(self._pool.dataset, self._examples, places, self._pad_to_px)
        return replace(found, is_labelled=False, weight=self._pool.weight)


# Worker processes call `__getitem__`. An error is returned, not raised: torch would raise it again as its class called
# with a traceback, which loses the details.
class _AugmentedBatches(Dataset[Batch | FgdError]):
    def __init__(
        self, dataset: DetectionDataset, examples: TrainingExamples, pad_to_px: int, pool: _AugmentedPool | None
    ) -> None:
        self._dataset, self._examples, self._pad_to_px, self._pool = dataset, examples, pad_to_px, pool

    def __getitem__(self, step: _Step) -> Batch | FgdError:
        try:
            batch = _augmented_batch(self._dataset, self._examples, step.labelled, self._pad_to_px)
            return batch if self._pool is None else replace(batch, pool=self._pool.batch(step.pool))
        except FgdError as error:
            return error


def _augmented_batch(
    dataset: DetectionDataset, examples: TrainingExamples, places: Sequence[Place], pad_to_px: int
) -> Batch:
    batch = _collate(dataset, [place.image for place in places], [examples.at(place) for place in places], pad_to_px)
    return replace(batch, seeds=[examples.seed_of_draws(place) for place in places])


class _EvaluationBatches(Dataset[Batch | FgdError]):
    def __init__(self, dataset: DetectionDataset, input_spec: InputSpec) -> None:
        self._dataset, self._input = dataset, input_spec

    def __getitem__(self, indices: Sequence[int]) -> Batch | FgdError:
        try:
            return evaluation_batch(self._dataset, indices, self._input)
        except FgdError as error:
            return error


def _checked(batch: Batch | FgdError) -> Batch:
    if isinstance(batch, FgdError):
        raise batch
    return batch


def _workers_loader(
    batches: Dataset[Batch | FgdError],
    places: Iterable[_Step] | Iterable[list[int]],
    workers: int,
    *,
    stay: bool = False,
) -> DataLoader[Batch | FgdError]:
    """Load batches in other processes.

    Args:
        places: of each batch.
        stay: keep the processes for the next pass over `places`.
    """
    return DataLoader(
        batches,
        sampler=places,
        # `__getitem__` returns a whole batch, so there is nothing left to collate.
        batch_size=None,
        num_workers=workers,
        collate_fn=_identity,
        persistent_workers=stay,
        # Without its own generator, the loader draws from torch's global one, and a run with workers would continue
        # with other random numbers than a run without.
        generator=torch.Generator(),
    )


def _identity(batch: T) -> T:
    return batch


def _collate(dataset: DetectionDataset, indices: Sequence[int], examples: Sequence[Example], pad_to_px: int) -> Batch:
    samples = [dataset.samples[index] for index in indices]
    pictures = {name: _pad([each.pictures[name] for each in examples], pad_to_px) for name in examples[0].pictures}
    masks = [each.masks for each in examples if each.masks is not None]
    keypoints = [each.keypoints for each in examples if each.keypoints is not None]
    return Batch(
        images=pictures.pop(IMAGE),
        image_sizes=[each.size_px for each in examples],
        boxes=[each.boxes for each in examples],
        labels=[each.labels for each in examples],
        image_ids=[sample.image_id for sample in samples],
        original_sizes=[(sample.height, sample.width) for sample in samples],
        masks=masks or None,
        keypoints=keypoints or None,
        pictures=pictures,
    )


def normalised(image: Tensor) -> Tensor:
    """Normalise an image (3, H, W) of 0 to 255 as batches are, to (3, H, W) float32."""
    return (image - torch.from_numpy(MEAN)) / torch.from_numpy(STD)


def denormalised(image: Tensor) -> Tensor:
    """Undo `normalised`: (3, H, W) to (3, H, W) of 0 to 255, float32."""
    return image * torch.from_numpy(STD) + torch.from_numpy(MEAN)


def _pad(images: Sequence[Tensor], pad_to_px: int) -> Tensor:
    """Batch (3, h, w) uint8 images as (N, 3, H, W), with zeros right and bottom."""
    height, width = (-(-max(image.shape[axis] for image in images) // pad_to_px) * pad_to_px for axis in (1, 2))
    batch = torch.zeros(len(images), 3, height, width, dtype=torch.uint8)
    for target, image in zip(batch.numpy(), images, strict=True):
        target[:, : image.shape[1], : image.shape[2]] = image.numpy()
    return batch
