"""Predicts on files and folders, and writes pictures with boxes and results in COCO's format."""

import glob
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from fgd_core.errors import DataError
from fgd_core.prediction.drawing import draw
from fgd_core.prediction.model import Model, Prediction
from fgd_core.prediction.pixels import Pixels, read_pixels
from fgd_core.prediction.results import coco_images, coco_results
from fgd_core.storage import write_atomically

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".avif", ".jp2"}
)
"""Lower-case suffixes of the files that count as images in a folder."""


class PredictedImage(NamedTuple):
    """Holds what was found in a file."""

    name: str
    """The path relative to the folder that all images share."""
    size_px: tuple[int, int]
    """(height, width)"""
    prediction: Prediction


def find_images(places: Sequence[str]) -> list[Path]:
    """List the images in files, folders with all they contain, and patterns such as `photos/*.jpg`.

    Raises:
        DataError: a place contains no image.
    """
    found: dict[Path, None] = {}
    for place in places:
        path = Path(place)
        if path.is_dir():
            own = sorted(each for each in path.rglob("*") if each.suffix.lower() in SUFFIXES)
        else:
            own = [path] if path.is_file() else sorted(map(Path, glob.glob(place, recursive=True)))  # noqa: PTH207
        if not own:
            raise DataError("there is no image here; name files, folders or a pattern in quotes", place=place)
        found.update(dict.fromkeys(own))
    return list(found)


def predict_files(
    model: Model, paths: Sequence[Path], *, batch_size: int = 1, out: Path | None = None
) -> Iterator[PredictedImage]:
    """Predict on files one batch after another; yields each image when it is done.

    Args:
        out: folder for the pictures with boxes.
    Raises:
        DataError: a file cannot be read.
    """
    root = Path(os.path.commonpath([path.resolve().parent for path in paths]))
    for group in _groups(paths, batch_size):
        pixels = [read_pixels(path) for path in group]
        for path, own, prediction in zip(group, pixels, model.batch([*pixels]), strict=True):
            name = path.resolve().relative_to(root).as_posix()
            if out is not None:
                _save_picture(out / name, own, prediction)
            yield PredictedImage(name, (own.shape[0], own.shape[1]), prediction)


def write_results(folder: Path, images: Sequence[PredictedImage], model: Model) -> list[Path]:
    """Write `predictions.json` with COCO results and `images.json` with the images that they refer to.

    Raises:
        StorageError: the disk is full, or the folder is not writable.
    """
    rows = [
        row
        for number, image in enumerate(images, start=1)
        for row in coco_results(image.prediction, number, model.description)
    ]
    listed = coco_images({image.name: image.size_px for image in images}, model.description)
    contents: dict[str, JsonValue] = {"predictions.json": rows, "images.json": listed}
    return [_write_json(folder / name, content) for name, content in contents.items()]


def _groups(paths: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    for start in range(0, len(paths), size):
        yield paths[start : start + size]


def _save_picture(path: Path, pixels: Pixels, prediction: Prediction) -> None:
    suffix = path.suffix.lower() if path.suffix.lower() in (".jpg", ".jpeg", ".png") else ".png"
    form = "PNG" if suffix == ".png" else "JPEG"
    drawn = draw(pixels, prediction)
    write_atomically(path.with_suffix(suffix), lambda file: drawn.save(file, form, quality=92))


def _write_json(path: Path, content: JsonValue) -> Path:
    return write_atomically(path, lambda file: file.write(json.dumps(content).encode())).path
