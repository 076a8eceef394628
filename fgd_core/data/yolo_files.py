"""The files of a YOLO data set: what data.yaml says, where the images lie, and what a label file holds."""

import math
import os.path
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from fgd_core.data.image_files import SUFFIXES
from fgd_core.errors import DataError, StorageError

_SLACK = 0.01
"""How far outside of 0 to 1 a number may be and still count as normalised: tools round, and draw past the border."""


@dataclass(frozen=True)
class DataYaml:
    root: Path
    """Folder that relative paths start from, and that all lie in."""
    names: tuple[tuple[int, str], ...]
    """(class index, name) in the order of the index."""
    has_keypoints: bool
    """Whether labels are boxes followed by keypoints."""
    entries: dict[str, Any]


@dataclass(frozen=True)
class Label:
    class_index: int
    box_xywh: tuple[float, float, float, float]
    """Left, upper, width, height as fractions of the image's sides."""
    polygon: tuple[float, ...] = ()
    """x and y in turn, as fractions; empty where the line is a box."""


LabelProblem = Literal["malformed_label", "not_normalised"]


def read_data_yaml(path: Path, root: Path | None) -> DataYaml:
    """
    Raises:
        DataError: the file is missing, is no YAML, or does not name its classes.
        StorageError: the file cannot be read.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise DataError("there is no such file; correct data.data_yaml", path=str(path)) from error
    except OSError as error:
        raise StorageError("the file cannot be read", path=str(path), cause=str(error)) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise DataError("the file is no YAML; write it anew", path=str(path), cause=str(error)[:200]) from error
    if not isinstance(document, dict):
        raise DataError("the file names nothing; `names` and `train` and `val` are wanted", path=str(path))
    own = Path(os.path.normpath((root if root is not None else path.parent).absolute()))
    return DataYaml(
        root=_root(own, document.get("path")),
        names=_names(document, path),
        has_keypoints="kpt_shape" in document,
        entries={str(key): value for key, value in document.items()},
    )


def image_files(data: DataYaml, entry: str) -> tuple[Path, list[str]]:
    """The images of an entry such as `train`.

    Returns:
        The folder that names are relative to, and the names: in the order of the list where it is one, else sorted.
    Raises:
        DataError: there is no such entry, or it leads nowhere or out of the root.
        StorageError: a list of images cannot be read.
    """
    value = data.entries.get(entry)
    places = [value] if isinstance(value, str) else value
    if not isinstance(places, list) or not places or not all(isinstance(place, str) for place in places):
        known = [key for key in data.entries if key in ("train", "val", "valid", "test")]
        raise DataError(
            f"data.yaml has no {entry!r} split; write the folder of its images there, or name another entry in "
            "data.train and data.val",
            entries=[*known],
        )
    found = [_place(data, place) for place in places]
    if len(found) == 1 and found[0].is_dir():
        return found[0], list(_images_in(found[0], found[0]))
    names = [name for place in found for name in _images_at(data, place)]
    return data.root, names


def label_file(root: Path, image: Path) -> Path:
    """Where the labels of an image lie: the last `images` in its path below the root is `labels`, or else beside it."""
    parts = list(image.relative_to(root).parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return root.joinpath(*parts).with_suffix(".txt")


def read_label(line: str, *, has_keypoints: bool) -> Label | LabelProblem:
    """One line of a label file: a box `class cx cy w h`, or a polygon `class x1 y1 x2 y2 x3 y3 …`, whose box counts."""
    try:
        index, *numbers = [float(word) for word in line.split()]
    except ValueError:
        return "malformed_label"
    if has_keypoints:
        numbers = numbers[:4]
    is_polygon = len(numbers) >= 6 and len(numbers) % 2 == 0
    if not (is_polygon or len(numbers) == 4) or not all(map(math.isfinite, (index, *numbers))) or index != index // 1:
        return "malformed_label"
    if not all(-_SLACK <= number <= 1 + _SLACK for number in numbers):
        return "not_normalised"
    if is_polygon:
        x, y = numbers[0::2], numbers[1::2]
        return Label(int(index), (min(x), min(y), max(x) - min(x), max(y) - min(y)), tuple(numbers))
    cx, cy, width, height = numbers
    return Label(int(index), (cx - width / 2, cy - height / 2, width, height))


def orphaned_labels(root: Path, images: Sequence[Path]) -> Iterator[str]:
    """Label files in the folders of these images' labels that belong to none of them, relative to the root."""
    expected = {label_file(root, image) for image in images}
    for folder in sorted({path.parent for path in expected}):
        if folder.is_dir():
            for path in sorted(folder.glob("*.txt")):
                if path not in expected and path.stem.lower() != "classes":
                    yield path.relative_to(root).as_posix()


def _root(own: Path, told: object) -> Path:
    # Many files tell where they lay when they were made, which is not here: such a `path` is passed over.
    if not isinstance(told, str) or not told:
        return own
    inside = _inside(own, told)
    return inside if inside is not None and inside.is_dir() else own


def _inside(root: Path, told: str) -> Path | None:
    path = Path(os.path.normpath(root / told))
    return path if path.is_relative_to(root) else None


def _place(data: DataYaml, told: str) -> Path:
    path = _inside(data.root, told)
    if path is None and told.startswith("../"):
        # As Roboflow writes it, meaning a folder beside the file.
        path = _inside(data.root, told.removeprefix("../"))
    if path is None:
        raise DataError(
            "data.yaml names a place outside of its own folder; set data.root to the folder that holds both",
            place=told,
            root=str(data.root),
        )
    if not path.exists():
        raise DataError("data.yaml names a place that is not there; correct it", place=told, path=str(path))
    return path


def _images_at(data: DataYaml, place: Path) -> Iterator[str]:
    if place.is_dir():
        yield from _images_in(place, data.root)
        return
    try:
        lines = place.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError("the list of images is no text in UTF-8", path=str(place)) from error
    except OSError as error:
        raise StorageError("the list of images cannot be read", path=str(place), cause=str(error)) from error
    for line in filter(None, map(str.strip, lines)):
        # Relative to the list where it says so, to the root otherwise.
        path = _inside(data.root, str(place.parent / line) if line.startswith("./") else line)
        if path is None:
            raise DataError(
                "a list of images leads out of the folder of data.yaml; set data.root to the folder that holds both",
                path=str(place),
                line=line,
            )
        yield path.relative_to(data.root).as_posix()


def _images_in(folder: Path, relative_to: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES:
            yield path.relative_to(relative_to).as_posix()


def _names(document: dict[Any, Any], path: Path) -> tuple[tuple[int, str], ...]:
    names = document.get("names")
    numbered = (
        list(enumerate(names)) if isinstance(names, list) else list(names.items()) if isinstance(names, dict) else []
    )
    sound = all(isinstance(index, int) and index >= 0 and isinstance(name, str | int) for index, name in numbered)
    if not numbered or not sound:
        raise DataError("data.yaml does not name its classes; write `names: [cat, dog]`", path=str(path))
    told = document.get("nc")
    if isinstance(told, int) and told != len(numbered):
        raise DataError(
            f"data.yaml says that there are {told} classes (nc) and names {len(numbered)}; correct one of the two",
            path=str(path),
        )
    return tuple(sorted((index, str(name)) for index, name in numbered))
