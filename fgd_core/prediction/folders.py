"""Predicts on files and folders, and writes pictures with boxes and results in COCO's format."""

import glob
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from fgd_core.errors import DataError
from fgd_core.prediction.drawing import draw
from fgd_core.prediction.model import Model, Prediction
from fgd_core.prediction.pixels import SUFFIXES, Pixels, read_pixels
from fgd_core.prediction.results import coco_images, coco_results
from fgd_core.storage import write_atomically

_FORMS: Mapping[str, str] = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
"""The pictures of other files are PNG."""


class PredictedImage(NamedTuple):
    """Holds what was found in a file."""

    name: str
    """The path relative to the folder that all images share."""
    size_px: tuple[int, int]
    """(height, width)"""
    classes: list[str]
    """The class of each object."""
    results: list[JsonValue]
    """The objects as COCO results. The arrays are not kept: the masks of a few large images would fill the memory."""


def find_images(places: Sequence[str], *, out: Path | None = None) -> list[Path]:
    """List the images in files, folders with all they contain, and patterns such as `photos/*.jpg`, each once.

    Args:
        out: folder for the pictures with boxes. What it holds from an earlier call is no image of a folder around it.
    Raises:
        DataError: a place contains no image.
    """
    found: dict[Path, Path] = {}
    for place in places:
        path = Path(place)
        own = _images_in(path, out) if path.is_dir() else _files_of(place)
        if not own:
            raise DataError(
                "there is no image here; name files, folders with images such as JPEG or PNG, or a pattern in quotes",
                place=place,
            )
        for each in own:
            found.setdefault(each.resolve(), each)
    return [*found.values()]


def predict_files(
    model: Model,
    paths: Sequence[Path],
    *,
    batch_size: int = 1,
    out: Path | None = None,
    unread: list[DataError] | None = None,
) -> Iterator[PredictedImage]:
    """Predict on files one batch after another; yields each image when it is done.

    Args:
        out: folder for the pictures with boxes.
        unread: receives the error of each file that cannot be read, which is then left out; None: it is raised.
    Raises:
        DataError: a picture would replace an image, or a file cannot be read.
    """
    files = [path.resolve() for path in paths]
    root = Path(os.path.commonpath([file.parent for file in files]))
    if out is not None:
        _check_replaces_none(out.resolve(), root, files)
    numbers = itertools.count(1)
    for group in _groups(files, batch_size):
        read = [*_read(group, unread)]
        for (file, own), found in zip(read, model.batch([own for _, own in read]), strict=True):
            name = file.relative_to(root).as_posix()
            if out is not None:
                _save_picture(_picture_of(out / name), own, found)
            rows = coco_results(found, next(numbers), model.description)
            yield PredictedImage(name, (own.shape[0], own.shape[1]), found.names, rows)


def write_results(folder: Path, images: Sequence[PredictedImage], model: Model) -> list[Path]:
    """Write `predictions.json` with COCO results and `images.json` with the images that they refer to.

    Raises:
        StorageError: the disk is full, or the folder is not writable.
    """
    rows = [row for image in images for row in image.results]
    listed = coco_images({image.name: image.size_px for image in images}, model.description)
    contents: dict[str, JsonValue] = {"predictions.json": rows, "images.json": listed}
    return [_write_json(folder / name, content) for name, content in contents.items()]


def _images_in(folder: Path, out: Path | None) -> list[Path]:
    inner = out.resolve() if out is not None and out.resolve() != folder.resolve() else None
    return sorted(
        each
        for each in folder.rglob("*")
        # macOS writes `._a.jpg` beside `a.jpg` on the disks of other systems.
        if each.suffix.lower() in SUFFIXES and not each.name.startswith("._") and each.is_file()
        if inner not in each.resolve().parents
    )


def _files_of(place: str) -> list[Path]:
    if Path(place).is_file():
        return [Path(place)]
    return sorted(path for path in map(Path, glob.glob(place, recursive=True)) if path.is_file())  # noqa: PTH207


def _read(paths: Sequence[Path], unread: list[DataError] | None) -> Iterator[tuple[Path, Pixels]]:
    for path in paths:
        try:
            yield path, read_pixels(path)
        except DataError as error:
            if unread is None:
                raise
            unread.append(error)


def _check_replaces_none(out: Path, root: Path, files: Sequence[Path]) -> None:
    for replaced in {_picture_of(out / file.relative_to(root)) for file in files} & {*files}:
        raise DataError("a picture with boxes would replace this image; choose another folder", path=str(replaced))


def _groups(paths: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    for start in range(0, len(paths), size):
        yield paths[start : start + size]


def _picture_of(path: Path) -> Path:
    """Return the path of the picture of an image: `a.jpg` stays, `a.webp` becomes `a.webp.png` beside any `a.png`."""
    return path if path.suffix.lower() in _FORMS else path.with_name(f"{path.name}.png")


def _save_picture(path: Path, pixels: Pixels, prediction: Prediction) -> None:
    drawn = draw(pixels, prediction)
    write_atomically(path, lambda file: drawn.save(file, _FORMS[path.suffix.lower()], quality=92))


def _write_json(path: Path, content: JsonValue) -> Path:
    return write_atomically(path, lambda file: file.write(json.dumps(content).encode())).path
