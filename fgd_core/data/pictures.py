"""Reads other pictures of the images of a split, such as depth maps; each has the size of its image."""

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from fgd_core import confined
from fgd_core.data import image_files
from fgd_core.data.cache import ImageCache
from fgd_core.data.samples import DetectionDataset, Sample, Split
from fgd_core.data.shapes import ShapesDataset
from fgd_core.errors import DataError, SpecError
from fgd_core.spec.data import DataSpec, Shapes, files_of, pictures_of
from fgd_core.stopping import stoppable

_SUFFIX = ".png"
_SHOWN = 5
_FILES_PER_STOP_CHECK = 256


class Pictures(Protocol):
    """Gives access to one picture of every image of a split."""

    @property
    def name(self) -> str:
        """Name of the picture."""
        ...

    @property
    def fingerprint(self) -> str:
        """A SHA-256 that does not depend on the folder."""
        ...

    def load(self, index: int) -> Tensor:
        """Return the picture of an image of the split as (3, H, W) uint8 RGB. Callers must not modify the tensor.

        Raises:
            DataError: the file cannot be decoded, or has another size than the image.
        """
        ...

    def is_read_in(self, epoch: int) -> bool:
        """Return whether a training reads the picture in an epoch, counted from 0."""
        ...


class DrawnPictures:
    """Implements `Pictures` for depth maps that the synthetic data set draws; a training reads them in every epoch."""

    def __init__(self, name: str, shapes: Shapes, split: Split) -> None:
        self.name = name
        self._dataset = ShapesDataset(shapes.model_copy(update={"shows": "depth"}), split)
        self.fingerprint = self._dataset.fingerprint

    def load(self, index: int) -> Tensor:
        """Return the depth map as (3, S, S) uint8; see `Pictures`."""
        return self._dataset.load_image(index)

    def is_read_in(self, epoch: int) -> bool:
        """Return True: every epoch reads it."""
        return epoch >= 0


class PictureFolder:
    """Implements `Pictures`: gives access to one picture of every image of a split.

    Args:
        name: of the picture.
        samples: the images of the split.
        until_epoch: the number of epochs in which a training reads it; None: all.
    Raises:
        DataError: the folder or some pictures are missing; the error names them.
    """

    def __init__(
        self, name: str, folder: Path, samples: Sequence[Sample], *, split: Split, until_epoch: int | None = None
    ) -> None:
        self.name, self.until_epoch = name, until_epoch
        self._samples = samples
        if not folder.is_dir():
            raise DataError(
                f"the folder with the pictures {name!r} does not exist; correct data.pictures.{name}.{split}",
                path=str(folder),
            )
        confined.check_folder(folder)
        found = [_find(folder, each.file_name) for each in stoppable(samples, every=_FILES_PER_STOP_CHECK)]
        missing = [each.file_name for each, path in zip(samples, found, strict=True) if path is None]
        if missing:
            raise DataError(
                f"{len(missing)} of {len(samples)} images of the {split} split have no picture {name!r}, for example "
                f"{', '.join(missing[:_SHOWN])}; add files of the same name, or of this name with the suffix {_SUFFIX}",
                path=str(folder),
                missing=[*missing[:100]],
            )
        self._paths = [path for path in found if path is not None]
        self._cache = ImageCache()

    @cached_property
    def fingerprint(self) -> str:
        """A SHA-256 over the images' names and the sizes of the files; it does not depend on the folder."""
        digest = hashlib.sha256()
        for sample, path in zip(self._samples, self._paths, strict=True):
            digest.update(f"{sample.file_name}\n{path.stat().st_size}\n".encode())
        return digest.hexdigest()

    def load(self, index: int) -> Tensor:
        """Return the picture of `samples[index]` as (3, H, W) uint8 RGB. Callers must not modify the tensor.

        Raises:
            DataError: the file cannot be decoded, or has another size than the image.
        """
        return self._cache.get(index, self._decode)

    def is_read_in(self, epoch: int) -> bool:
        """Return whether a training reads the picture in an epoch, counted from 0."""
        return self.until_epoch is None or epoch < self.until_epoch

    def _decode(self, index: int) -> Tensor:
        sample = self._samples[index]
        pixels = image_files.decode(self._paths[index], (sample.width, sample.height))
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


class Pictured:
    """Implements `DetectionDataset`: a split that shows another picture in place of each image."""

    def __init__(self, dataset: DetectionDataset, pictures: Pictures) -> None:
        self._pictures = pictures
        self.categories, self.samples, self.fingerprint = dataset.categories, dataset.samples, dataset.fingerprint
        self.checked, self.refusal = dataset.checked, dataset.refusal

    def load_image(self, index: int) -> Tensor:
        """Return the picture as (3, H, W) uint8 RGB; see `DetectionDataset`."""
        return self._pictures.load(index)


def picture_folder(
    data: DataSpec, name: str, split: Split, samples: Sequence[Sample], *, until_epoch: int | None = None
) -> Pictures:
    """Open another picture of the images of a split.

    Raises:
        SpecError: the data names no such picture, or no folder for this split.
        DataError: pictures are missing.
    """
    named = pictures_of(data)
    if name not in named:
        raise SpecError(
            f"the data has no picture {name!r}; name its folders in data.pictures.{name}", known=[*sorted(named)]
        )
    folders, files = named[name], files_of(data)
    if folders is None:
        assert isinstance(files, Shapes), "only the synthetic data set draws pictures"
        return DrawnPictures(name, files, split)
    folder = folders.train if split == "train" else folders.val
    if folder is None:
        raise SpecError(f"the picture {name!r} has no folder for the {split} split; set data.pictures.{name}.{split}")
    return PictureFolder(name, Path(folder).expanduser(), samples, split=split, until_epoch=until_epoch)


def written_name(file_name: str) -> str:
    """Return the name under which fgd writes a picture of an image: lossless, whatever the image's format."""
    return str(Path(file_name).with_suffix(_SUFFIX))


def ambiguous_names(file_names: Iterable[str]) -> list[str]:
    """Return the images whose pictures fgd would write to the same file as another image's, for example a.jpg and
    a.png."""
    by_name: dict[str, list[str]] = {}
    for file_name in file_names:
        by_name.setdefault(written_name(file_name), []).append(file_name)
    return [each for same in by_name.values() if len(same) > 1 for each in same]


def _find(folder: Path, file_name: str) -> Path | None:
    paths = (folder / file_name, folder / written_name(file_name))
    return next((path for path in paths if path.is_file()), None)
