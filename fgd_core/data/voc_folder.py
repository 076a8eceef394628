"""The files of a Pascal VOC folder: which images a set lists, their annotations and their image files.

    Annotations/<name>.xml   JPEGImages/<name>.jpg   ImageSets/Main/<image set>.txt

or, as Roboflow exports it, <image set>/<name>.xml beside <image set>/<name>.jpg.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fgd_core.data.folders import child, files_below, images_below, key_of
from fgd_core.data.image_files import SUFFIXES, UNREAD_SUFFIXES
from fgd_core.data.samples import also_called
from fgd_core.data.text_files import read_text
from fgd_core.errors import DataError, StorageError

_PARTS = ("Annotations", "JPEGImages", "ImageSets/Main")
_WITH_COLUMN = re.compile(r"(.*\S)\s+(-1|0|1)")


@dataclass(frozen=True)
class ImageSet:
    source: Path
    """The list, or the folder that holds the images."""
    names: list[str]
    """Of images, without their ending; as the list has them where there is no file of that name."""
    annotations: Mapping[str, Path]
    """The XML files by the name of their image; those that are not listed among them."""
    images_folder: Path
    images: Mapping[str, Sequence[str]]
    """Image files, relative to the images folder, by their name without the ending."""


def image_set(folder: Path, name: str) -> ImageSet:
    """
    Args:
        name: of a file in ImageSets/Main, or of a folder where XML files lie beside their images.
    Raises:
        DataError: the folder has neither layout, or no such image set.
        StorageError: a folder or the list cannot be read.
    """
    annotations, images, sets = (child(folder, part) for part in _PARTS)
    if annotations is None:
        return _flat(folder, name)
    if images is None or sets is None:
        missing = _PARTS[1] if images is None else _PARTS[2]
        cure = "name one in the layout of Pascal VOC in data.folder"
        if images is not None:
            cure = "write train.txt and val.txt there, with the name of an image a line"
        raise DataError(f"the folder has no {missing}; {cure}", path=str(folder))
    xml = _annotations_below(annotations)
    known = _Known(xml, _paired(xml, _images_by_name(images)))
    source = _list_file(sets, name)
    return ImageSet(source, known.names_in(_lines(source)), known.annotations, images, known.images)


def without_ending(name: str) -> str:
    """An image's name without `.jpg`, `.xml` or the like; `a.rgb` keeps its dot."""
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in {".xml", *SUFFIXES, *UNREAD_SUFFIXES} else name


class _Known:
    """The names that files have, whatever the capitals and accents are made of."""

    def __init__(self, annotations: Mapping[str, Path], images: Mapping[str, Sequence[str]]) -> None:
        self.annotations = annotations
        self.images = images
        self._exact = {*annotations, *images}
        # Where capitals tell two files apart, only the exact name will do. Of both kinds, the annotation's name counts.
        self._by_key = _unique_by_key(images) | _unique_by_key(annotations)
        lasts = Counter(key_of(name.rpartition("/")[2]) for name in annotations)
        by_last_part = {key_of(name.rpartition("/")[2]): name for name in annotations}
        self._by_last_part = {last: name for last, name in by_last_part.items() if lasts[last] == 1}

    def names_in(self, lines: Sequence[str]) -> list[str]:
        # The image sets of one class have a second column, whether the class is in the image; and names end in " 1".
        columns = [_WITH_COLUMN.fullmatch(line) for line in lines]
        firsts = [found[1] for found in columns if found]
        if len(firsts) == len(lines):
            whole = sum(self._found(line) is not None for line in lines)
            first = sum(self._found(name) is not None for name in firsts)
            if first > whole or (not whole and not any(" " in name for name in firsts)):
                lines = firsts
        return [self._found(line) or without_ending(line) for line in lines]

    def _found(self, line: str) -> str | None:
        """The name that is meant: lists also have endings, backslashes, and the folders of another machine."""
        path = line.replace("\\", "/")
        parts = [part for part in PurePosixPath(path).parts if part not in ("/", ".", "..")]
        for first in range(len(parts)):
            end = "/".join(parts[first:])
            for name in dict.fromkeys((end, without_ending(end))):
                if name in self._exact:
                    return name
                if key_of(name) in self._by_key:
                    return self._by_key[key_of(name)]
        # Files lie in folders, and the list does not say in which: the only one of that name is meant.
        return self._by_last_part.get(key_of(without_ending(parts[-1]))) if len(parts) == 1 else None


def _flat(folder: Path, name: str) -> ImageSet:
    for split in (name, *also_called(name)):
        own = child(folder, split)
        annotations = _annotations_below(own) if own is not None else {}
        if own is not None and annotations:
            return ImageSet(own, sorted(annotations), annotations, own, _paired(annotations, _images_by_name(own)))
    if not folder.is_dir():
        raise DataError("there is no such folder; correct data.folder", path=str(folder))
    loose = len(list(folder.glob("*.xml")))
    if loose:
        raise DataError(
            f"{loose} XML files lie beside their images, as Roboflow exports them, and nothing says which are for "
            f"training; move them with their images into the folders train and {name if name != 'train' else 'val'}, "
            "or name a folder in the layout of Pascal VOC in data.folder",
            path=str(folder),
        )
    inner = sorted(each.name for each in folder.iterdir() if (each / "Annotations").is_dir())
    if inner:
        raise DataError(
            "the folder has no Annotations, but holds folders that have; name one of them in data.folder",
            path=str(folder),
            folders=[*inner[:20]],
        )
    raise DataError(
        "the folder has no Annotations, nor a folder of the split with XML files beside images; name one in the layout "
        "of Pascal VOC in data.folder",
        path=str(folder),
    )


def _list_file(sets: Path, name: str) -> Path:
    for spelling in (name, *also_called(name)):
        found = child(sets, f"{spelling}.txt")
        if found is not None and found.is_file():
            return found
    there = sorted(each.stem for each in sets.glob("*.txt") if "_" not in each.stem)
    raise DataError(
        f"there is no image set {name!r}; choose data.train and data.val among those in ImageSets/Main",
        path=str(sets / f"{name}.txt"),
        image_sets=[*there[:20]],
    )


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in read_text(path).splitlines() if line.strip()]
    except UnicodeError as error:
        raise DataError("the image set is no text in UTF-8; write one name a line", path=str(path)) from error
    except OSError as error:
        raise StorageError("the image set cannot be read", path=str(path), cause=str(error)) from error


def _annotations_below(folder: Path) -> dict[str, Path]:
    return {_name(folder, path): path for path in files_below(folder) if path.suffix.lower() == ".xml"}


def _images_by_name(folder: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in images_below(folder):
        found.setdefault(_name(folder, path), []).append(path.relative_to(folder).as_posix())
    return found


def _paired(annotations: Iterable[str], images: dict[str, list[str]]) -> dict[str, list[str]]:
    """The images, also by the name of an annotation that differs in capitals or in how accents are made."""
    by_key = _unique_by_key(images)
    aliases = {name: by_key.get(key_of(name)) for name in annotations if name not in images}
    return images | {name: images[image] for name, image in aliases.items() if image is not None}


def _unique_by_key(names: Iterable[str]) -> dict[str, str]:
    counts = Counter(map(key_of, names))
    return {key_of(name): name for name in names if counts[key_of(name)] == 1}


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()
