"""Finds the files of a Pascal VOC data set: the names in an image set, their annotations and their images. Layouts:

    Annotations/<name>.xml   JPEGImages/<name>.jpg   ImageSets/Main/<image set>.txt

or, as Roboflow exports it, <image set>/<name>.xml and <image set>/<name>.jpg.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fgd_core.data.folders import files_below, find_child, images_below, key_of
from fgd_core.data.image_headers import UNREAD_SUFFIXES
from fgd_core.data.samples import split_aliases
from fgd_core.data.text_files import read_lines
from fgd_core.errors import DataError
from fgd_core.prediction.pixels import SUFFIXES

_PARTS = ("Annotations", "JPEGImages", "ImageSets/Main")
_WITH_COLUMN = re.compile(r"(.*\S)\s+(-1|0|1)")


@dataclass(frozen=True)
class ImageSet:
    """Holds the files of one image set."""

    source: Path
    """The list of names, or the folder of the images."""
    names: list[str]
    """Names of images, without suffix; as in the list if no file has that name."""
    annotations: Mapping[str, Path]
    """Name of the image -> XML file; also contains images that the set does not list."""
    images_folder: Path
    images: Mapping[str, Sequence[str]]
    """Name without suffix -> image files, relative to the images folder."""


def image_set(folder: Path, name: str) -> ImageSet:
    """Find the files of an image set.

    Args:
        name: of a file in ImageSets/Main, or of a folder that contains XML files and their images.
    Raises:
        DataError: the folder has neither layout, or does not contain this image set.
        StorageError: a folder or the list cannot be read.
    """
    annotations, images, sets = (find_child(folder, part) for part in _PARTS)
    if annotations is None:
        return _roboflow_set(folder, name)
    if images is None or sets is None:
        missing = _PARTS[1] if images is None else _PARTS[2]
        cure = "set data.folder to a folder in the layout of Pascal VOC"
        if images is not None:
            cure = "write train.txt and val.txt there, with the name of one image per line"
        raise DataError(f"the folder has no {missing}; {cure}", path=str(folder))
    xml = _annotations_below(annotations)
    known = _KnownNames(xml, _with_aliases(xml, _images_by_name(images)))
    source = _list_file(sets, name)
    return ImageSet(source, known.names_in(read_lines(source, "image set")), known.annotations, images, known.images)


def without_suffix(name: str) -> str:
    """Return a name without the suffix of an image or XML file; `a.rgb` stays `a.rgb`."""
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in {".xml", *SUFFIXES, *UNREAD_SUFFIXES} else name


class _KnownNames:
    """Finds the names of files, ignoring case and Unicode form."""

    def __init__(self, annotations: Mapping[str, Path], images: Mapping[str, Sequence[str]]) -> None:
        self.annotations = annotations
        self.images = images
        self._exact = {*annotations, *images}
        # If two names differ only in case, only the exact name matches. Names of annotations take precedence.
        self._by_key = _unique_by_key(images) | _unique_by_key(annotations)
        last_parts = Counter(key_of(name.rpartition("/")[2]) for name in annotations)
        by_last_part = {key_of(name.rpartition("/")[2]): name for name in annotations}
        self._by_last_part = {last: name for last, name in by_last_part.items() if last_parts[last] == 1}

    def names_in(self, lines: Sequence[str]) -> list[str]:
        """Return the name of the image in each line."""
        # Image sets of one class have a second column: whether the image shows the class. But a name may end in " 1".
        columns = [_WITH_COLUMN.fullmatch(line) for line in lines]
        firsts = [match[1] for match in columns if match]
        if len(firsts) == len(lines):
            num_lines = sum(self._find(line) is not None for line in lines)
            num_firsts = sum(self._find(name) is not None for name in firsts)
            if num_firsts > num_lines or (not num_lines and not any(" " in name for name in firsts)):
                lines = firsts
        return [self._find(line) or without_suffix(line) for line in lines]

    def _find(self, line: str) -> str | None:
        """Find the name that a line means: it may have a suffix, backslashes, or the folders of another machine."""
        path = line.replace("\\", "/")
        parts = [part for part in PurePosixPath(path).parts if part not in ("/", ".", "..")]
        for first in range(len(parts)):
            end = "/".join(parts[first:])
            for name in dict.fromkeys((end, without_suffix(end))):
                if name in self._exact:
                    return name
                if key_of(name) in self._by_key:
                    return self._by_key[key_of(name)]
        # The list leaves out the folder of a file; the only file with that name is meant.
        return self._by_last_part.get(key_of(without_suffix(parts[-1]))) if len(parts) == 1 else None


def _roboflow_set(folder: Path, name: str) -> ImageSet:
    for split in (name, *split_aliases(name)):
        own = find_child(folder, split)
        annotations = _annotations_below(own) if own is not None else {}
        if own is not None and annotations:
            images = _with_aliases(annotations, _images_by_name(own))
            return ImageSet(own, sorted(annotations), annotations, own, images)
    if not folder.is_dir():
        raise DataError("the folder does not exist; correct data.folder", path=str(folder))
    num_xml = len(list(folder.glob("*.xml")))
    if num_xml:
        raise DataError(
            f"the folder contains {num_xml} XML files beside their images, as Roboflow exports them, but does not say "
            "which are for training; move them with their images into the folders train and "
            f"{name if name != 'train' else 'val'}, or set data.folder to a folder in the layout of Pascal VOC",
            path=str(folder),
        )
    inner = sorted(each.name for each in folder.iterdir() if (each / "Annotations").is_dir())
    if inner:
        raise DataError(
            "the folder has no Annotations, but contains folders with Annotations; set data.folder to one of them",
            path=str(folder),
            folders=[*inner[:20]],
        )
    raise DataError(
        "the folder has no Annotations, and no folder for the split with XML files beside images; set data.folder to a "
        "folder in the layout of Pascal VOC",
        path=str(folder),
    )


def _list_file(sets: Path, name: str) -> Path:
    for spelling in (name, *split_aliases(name)):
        file = find_child(sets, f"{spelling}.txt")
        if file is not None and file.is_file():
            return file
    existing = sorted(each.stem for each in sets.glob("*.txt") if "_" not in each.stem)
    raise DataError(
        f"the image set {name!r} does not exist; set data.train and data.val to image sets in ImageSets/Main",
        path=str(sets / f"{name}.txt"),
        image_sets=[*existing[:20]],
    )


def _annotations_below(folder: Path) -> dict[str, Path]:
    return {_name(folder, path): path for path in files_below(folder) if path.suffix.lower() == ".xml"}


def _images_by_name(folder: Path) -> dict[str, list[str]]:
    images: dict[str, list[str]] = {}
    for path in images_below(folder):
        images.setdefault(_name(folder, path), []).append(path.relative_to(folder).as_posix())
    return images


def _with_aliases(annotations: Iterable[str], images: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the images, also under the names of annotations that differ only in case or Unicode form."""
    by_key = _unique_by_key(images)
    aliases = {name: by_key.get(key_of(name)) for name in annotations if name not in images}
    return images | {name: images[image] for name, image in aliases.items() if image is not None}


def _unique_by_key(names: Iterable[str]) -> dict[str, str]:
    counts = Counter(map(key_of, names))
    return {key_of(name): name for name in names if counts[key_of(name)] == 1}


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()
