"""From a data set to batches of tensors, in an order that a resumed run can take up again."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from fgd_core.data import transforms
from fgd_core.data.samples import DetectionDataset, Sample, has_masks
from fgd_core.data.targets import Targets
from fgd_core.errors import DataError, FgdError
from fgd_core.spec.data import InputSpec

# Of ImageNet in RGB, on pixel values from 0 to 255: what torchvision's pretrained backbones were trained on.
_MEAN = np.array([123.675, 116.28, 103.53], dtype=np.float32)[:, None, None]
_STD = np.array([58.395, 57.12, 57.375], dtype=np.float32)[:, None, None]

# The first word of each random stream, so that (seed, epoch) and (seed, epoch, index) never give the same numbers.
_ORDER, _AUGMENTATION = 0, 1


@dataclass(frozen=True, eq=False)
class Batch:
    images: Tensor
    """(N, 3, H, W) float32, normalised; zeros right and bottom of each image, H and W multiples of `pad_to_px`."""
    image_sizes: list[tuple[int, int]]
    """(height, width) after resizing, before padding."""
    boxes: list[Tensor]
    """(n, 4) float32 xyxy in pixels of the resized image, without crowd regions; n may be 0."""
    labels: list[Tensor]
    """(n,) int64 indices into the data set's categories."""
    image_ids: list[int]
    original_sizes: list[tuple[int, int]]
    """(height, width) of the image as the data set has it; detections are scored at this size."""
    number: int | None = None
    """Of a training batch: how many come before it in the whole training."""
    masks: list[Tensor] | None = None
    """(n, height, width) uint8 for each image, 1 on the object; None where nobody asked for masks."""

    @property
    def targets(self) -> Targets:
        return Targets(self.boxes, self.labels, self.image_sizes, self.masks)

    def to(self, device: torch.device | str) -> "Batch":
        return replace(
            self,
            images=self.images.to(device, non_blocking=True),
            boxes=[boxes.to(device, non_blocking=True) for boxes in self.boxes],
            labels=[labels.to(device, non_blocking=True) for labels in self.labels],
            masks=self.masks and [masks.to(device, non_blocking=True) for masks in self.masks],
        )


class TrainLoader:
    """Shuffled, augmented batches; with masks where the data set was opened with them and has them.

    The order is a function of (seed, epoch) and the augmentation of an image one of (seed, epoch, its index), so that
    a run resumed at any step sees what it would have seen, whatever the number of workers.
    """

    def __init__(
        self, dataset: DetectionDataset, input_spec: InputSpec, *, batch_size: int, seed: int, workers: int
    ) -> None:
        """
        Args:
            workers: processes that read images, kept from epoch to epoch; 0 reads them in the caller's.
        Raises:
            DataError: the split has fewer images than one batch.
        """
        num_images = len(dataset.samples)
        if batch_size > num_images:
            raise DataError(
                f"a batch of {batch_size} images is larger than the training split of {num_images}; "
                f"set training.batch_size to {num_images} or less, or add images",
                batch_size=batch_size,
                num_images=num_images,
            )
        self.steps_per_epoch = num_images // batch_size
        self._items = _AugmentedItems(dataset, input_spec, seed)
        self._picks = _EpochPicks(num_images, batch_size, seed)
        self._loader = _workers_loader(self._items, self._picks, workers) if workers else None
        self._source: Iterator[Batch] = iter(())
        self._ahead: deque[Batch] = deque()

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from `start_step` on; an incomplete last one is left out."""
        self._picks.epoch, self._picks.start_step = epoch, start_step
        self._ahead.clear()
        self._source = self._numbered(epoch * self.steps_per_epoch + start_step)
        while (batch := self.upcoming(0)) is not None:
            self._ahead.popleft()
            yield batch

    def upcoming(self, index: int) -> Batch | None:
        """The batch that the iteration under way gives after `index` others; None where its epoch ends before.

        It is kept until its turn comes, so looking ahead costs memory and no time.
        """
        while len(self._ahead) <= index:
            batch = next(self._source, None)
            if batch is None:
                return None
            self._ahead.append(batch)
        return self._ahead[index]

    def close(self) -> None:
        """End the worker processes now rather than with the last reference to the loader; idempotent."""
        self._source = iter(())
        self._loader = None

    def _numbered(self, first: int) -> Iterator[Batch]:
        for number, batch in enumerate(self._batches(), start=first):
            yield replace(batch, number=number)

    def _batches(self) -> Iterator[Batch]:
        if self._loader is None:
            yield from (self._items.batch(picks) for picks in self._picks)
            return
        for batch in self._loader:
            if isinstance(batch, FgdError):
                raise batch
            yield batch


def evaluation_batches(dataset: DetectionDataset, input_spec: InputSpec, *, batch_size: int) -> Iterator[Batch]:
    """Every image once, in the data set's order, without augmentation or masks; the last batch may be smaller."""
    for start in range(0, len(dataset.samples), batch_size):
        indices = range(start, min(start + batch_size, len(dataset.samples)))
        drawn = [_Drawn(flip=False, input_spec=input_spec)] * len(indices)
        yield _collate(dataset, indices, drawn, pad_to_px=input_spec.pad_to_px, with_masks=False)


class _EpochPicks(Sampler[list[tuple[int, int]]]):
    """Per batch, the (epoch, index) of each image.

    The epoch travels with the index because worker processes outlive it, and would not see it change here.
    """

    epoch = 0
    start_step = 0

    def __init__(self, num_images: int, batch_size: int, seed: int) -> None:
        self._num_images = num_images
        self._batch_size = batch_size
        self._seed = seed

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch = self.epoch
        order = np.random.default_rng((_ORDER, self._seed, epoch)).permutation(self._num_images).tolist()
        for step in range(self.start_step, self._num_images // self._batch_size):
            start = step * self._batch_size
            yield [(epoch, index) for index in order[start : start + self._batch_size]]


class _Drawn(NamedTuple):
    """What chance decided for an image."""

    flip: bool
    input_spec: InputSpec


class _AugmentedItems(Dataset[Batch | FgdError]):
    def __init__(self, dataset: DetectionDataset, input_spec: InputSpec, seed: int) -> None:
        self._dataset = dataset
        self._input_spec = input_spec
        self._seed = seed
        self._with_masks = has_masks(dataset.samples)

    # What worker processes call. torch would raise an error anew as its class called with a traceback, which loses our
    # details; as a value it arrives whole.
    def __getitems__(self, picks: Sequence[tuple[int, int]]) -> Batch | FgdError:
        try:
            return self.batch(picks)
        except FgdError as error:
            return error

    def batch(self, picks: Sequence[tuple[int, int]]) -> Batch:
        drawn = [self._draw(epoch, index) for epoch, index in picks]
        indices = [index for _, index in picks]
        pad_to_px = self._input_spec.pad_to_px
        return _collate(self._dataset, indices, drawn, pad_to_px=pad_to_px, with_masks=self._with_masks)

    def _draw(self, epoch: int, index: int) -> _Drawn:
        rng = np.random.default_rng((_AUGMENTATION, self._seed, epoch, index))
        flip = bool(rng.random() < self._input_spec.flip_probability)
        sizes = self._input_spec.train_shorter_px
        if not sizes:
            return _Drawn(flip, self._input_spec)
        return _Drawn(flip, self._input_spec.model_copy(update={"shorter_px": int(rng.choice(sizes))}))


def _workers_loader(items: _AugmentedItems, picks: _EpochPicks, workers: int) -> DataLoader[Batch | FgdError]:
    return DataLoader(
        items,
        batch_sampler=picks,
        num_workers=workers,
        # `__getitems__` returns a whole batch, so there is nothing left to collate.
        collate_fn=_as_it_is,
        persistent_workers=True,
        # Without one of its own the loader draws from torch's global generator, and a run with workers would go on
        # with other random numbers than a run without.
        generator=torch.Generator(),
    )


def _as_it_is(batch: Any) -> Any:
    return batch


def _collate(
    dataset: DetectionDataset,
    indices: Sequence[int],
    drawn: Sequence[_Drawn],
    *,
    pad_to_px: int,
    with_masks: bool,
) -> Batch:
    samples = [dataset.samples[index] for index in indices]
    images: list[Tensor] = []
    boxes: list[Tensor] = []
    labels: list[Tensor] = []
    masks: list[Tensor] = []
    for index, sample, (flip, input_spec) in zip(indices, samples, drawn, strict=True):
        own = ~sample.is_crowd
        image, scaled = transforms.resize(
            dataset.load_image(index), torch.from_numpy(sample.boxes_xyxy_px[own]), input_spec
        )
        if flip:
            image, scaled = transforms.flip_horizontally(image, scaled)
        images.append(image)
        boxes.append(scaled)
        labels.append(torch.from_numpy(sample.labels[own]))
        if with_masks:
            masks.append(_masks(sample, own, (image.shape[1], image.shape[2]), flip=flip))
    return Batch(
        images=_normalise_and_pad(images, pad_to_px),
        image_sizes=[(image.shape[1], image.shape[2]) for image in images],
        boxes=boxes,
        labels=labels,
        image_ids=[sample.image_id for sample in samples],
        original_sizes=[(sample.height, sample.width) for sample in samples],
        masks=masks if with_masks else None,
    )


def _masks(sample: Sample, own: npt.NDArray[np.bool_], size_px: tuple[int, int], *, flip: bool) -> Tensor:
    assert sample.masks is not None, "with_masks asks for a data set that has them"
    resized = transforms.resize_masks(sample.masks.decode(own), size_px)
    return transforms.flip_masks_horizontally(resized) if flip else resized


def _normalise_and_pad(images: Sequence[Tensor], pad_to_px: int) -> Tensor:
    """(N, 3, H, W): zeros after normalisation, so that the padding is the mean colour and not black."""
    height, width = (-(-max(image.shape[axis] for image in images) // pad_to_px) * pad_to_px for axis in (1, 2))
    # By numpy, in this thread alone: torch would split so little work over all cores and wait for the slowest, which
    # costs many times the work itself on a machine whose cores are busy.
    batch = np.zeros((len(images), 3, height, width), dtype=np.float32)
    for target, image in zip(batch, images, strict=True):
        inner = target[:, : image.shape[1], : image.shape[2]]
        np.subtract(image.numpy(), _MEAN, out=inner)
        np.divide(inner, _STD, out=inner)
    return torch.from_numpy(batch)
