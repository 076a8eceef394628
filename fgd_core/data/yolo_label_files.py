"""Finds the label file of each image: where YOLO looks for it, next to the image, or in one other folder.

An image without a label file has no objects. If a label file was overlooked, its image would silently become
background. The search therefore ignores case, and reports label files in other folders.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fgd_core import confined
from fgd_core.data.folders import files_below, is_system_file, key_of
from fgd_core.data.image_headers import UNREAD_SUFFIXES
from fgd_core.data.text_files import read_text
from fgd_core.data.yolo_rows import read_row
from fgd_core.errors import StorageError
from fgd_core.prediction.pixels import SUFFIXES

_IMAGES = ("images", "jpegimages")
_LABELS = "labels"
_SUFFIX = ".txt"
_WORD = re.compile(r"[^\W_]+")
_PREDICTED = ("predict", "detect", "pred", "runs", "result", "output", "pseudo")
"""How the names of folders of predictions begin; their files are not annotations."""
_MIN_COVERAGE = 0.5
"""Files in another folder are only used as labels if they cover at least this share of the images."""


@dataclass
class LabelPlaces:
    """Holds the label files of some images."""

    files: dict[Path, Path] = field(default_factory=dict)
    """Image -> label file; without images that have none."""
    beside: list[Path] = field(default_factory=list)
    """Images in a folder named `images` whose label file is beside them, not in `labels`."""
    elsewhere: dict[Path, Path] = field(default_factory=dict)
    """Folder of images -> other folder below the root that contains their label files."""
    in_two_places: dict[Path, tuple[Path, Path]] = field(default_factory=dict)
    """Image -> its label file, and another one with different content."""
    shared: frozenset[Path] = frozenset()
    """Label files that belong to several images."""
    ambiguous: dict[Path, list[str]] = field(default_factory=dict)
    """Folder of images without label files -> folders that may contain them, relative to the root."""


class LabelFiles:
    """Finds label files below a root; reads each folder once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[Path, _Folder] = {}
        self._label_folders: dict[Path, tuple[Path, ...]] = {}

    def find(self, images: Sequence[Path]) -> LabelPlaces:
        """Find the label files of `images`, which are paths below the root."""
        found = LabelPlaces()
        for image in images:
            files = list(self._candidates(image))
            if not files:
                continue
            found.files[image] = files[0]
            if files[0].parent == image.parent and self._has_images_part(image.parent):
                found.beside.append(image)
            other = next((file for file in files[1:] if _bytes(file) != _bytes(files[0])), None)
            if other is not None:
                found.in_two_places[image] = (files[0], other)
        by_folder = defaultdict(list)
        for image in images:
            by_folder[image.parent].append(image)
        unlabelled = {f: own for f, own in by_folder.items() if not any(image in found.files for image in own)}
        if unlabelled:
            self._search_other_folders(unlabelled, found)
        found.shared = frozenset(file for file, times in Counter(found.files.values()).items() if times > 1)
        return found

    def orphans(self, places: LabelPlaces, images: Sequence[Path], no_labels: Sequence[Path]) -> Iterator[Path]:
        """Yield label files that have no image, from the folders of these images' labels.

        Args:
            no_labels: files that end in .txt but are not label files.
        """
        image_folders: dict[Path, set[Path]] = defaultdict(set)
        for parent in {image.parent for image in images}:
            for folder in (*self._label_folders_of(parent), parent):
                image_folders[folder].add(parent)
        used = {*places.files.values(), *no_labels}
        for folder in sorted(image_folders):
            for file in self._folder(folder).labels:
                has_image = any(self._folder(each).has_image(file) for each in image_folders[folder])
                if file not in used and not has_image and _is_label_file(file):
                    yield file

    def _candidates(self, image: Path) -> Iterator[Path]:
        for folder in self._label_folders_of(image.parent):
            file = self._folder(folder).label_of(image)
            if file is not None:
                yield file
        file = self._folder(image.parent).label_of(image)
        # A text file next to an image may also be a caption.
        if file is not None and (not self._has_images_part(image.parent) or _is_label_file(file)):
            yield file

    def _has_images_part(self, folder: Path) -> bool:
        return any(part.lower() in _IMAGES for part in folder.relative_to(self._root).parts)

    def _label_folders_of(self, folder: Path) -> tuple[Path, ...]:
        """Return the existing folders with `labels` in place of one `images` in the path; the last `images` first."""
        if folder not in self._label_folders:
            parts = folder.relative_to(self._root).parts
            self._label_folders[folder] = tuple(
                path
                for place in reversed([index for index, part in enumerate(parts) if part.lower() in _IMAGES])
                for start in self._folder(self._root.joinpath(*parts[:place])).folders(_LABELS)
                for path in self._below(start, parts[place + 1 :])
            )
        return self._label_folders[folder]

    def _below(self, start: Path, parts: Sequence[str]) -> list[Path]:
        if not parts:
            return [start]
        return [path for folder in self._folder(start).folders(parts[0]) for path in self._below(folder, parts[1:])]

    def _folder(self, path: Path) -> "_Folder":
        if path not in self._folders:
            self._folders[path] = _Folder(path)
        return self._folders[path]

    def _search_other_folders(self, unlabelled: Mapping[Path, Sequence[Path]], found: LabelPlaces) -> None:
        """Search the whole root for the label files of folders in which no image has one.

        Args:
            unlabelled: folder -> its images.
            found: receives the result.
        """
        images: dict[str, list[Path]] = defaultdict(list)
        labels: dict[str, list[Path]] = defaultdict(list)
        for path in files_below(self._root, skip_unreadable=True):
            if path.suffix.lower() == _SUFFIX:
                labels[key_of(path.stem)].append(path)
            elif path.suffix.lower() in SUFFIXES | UNREAD_SUFFIXES:
                images[key_of(path.stem)].append(path)
        for folder, own in unlabelled.items():
            matches: dict[Path, dict[Path, Path]] = defaultdict(dict)
            for image in own:
                for file in labels[key_of(image.stem)]:
                    matches[file.parent][image] = file
            free = {
                place: by_image
                for place, by_image in matches.items()
                if all(map(_is_label_file, by_image.values())) and not self._is_taken(by_image, images)
            }
            best = max((self._similarity(folder, place) for place in free), default=0)
            similar = [place for place in free if self._similarity(folder, place) == best]
            if (
                len(similar) == 1
                and not any(word.startswith(_PREDICTED) for word in self._words(similar[0]))
                and len(free[similar[0]]) >= _MIN_COVERAGE * len(own)
                and not self._may_be_of_others(folder, similar[0], free[similar[0]], images)
            ):
                found.elsewhere[folder] = similar[0]
                found.files |= free[similar[0]]
            elif free:
                found.ambiguous[folder] = sorted(place.relative_to(self._root).as_posix() for place in free)

    def _similarity(self, folder: Path, place: Path) -> int:
        """Count the words that both paths contain: the labels of images/train may be in boxes/train or train_labels."""
        return len(self._words(folder) & self._words(place))

    def _words(self, folder: Path) -> frozenset[str]:
        return frozenset(_WORD.findall(folder.relative_to(self._root).as_posix().casefold()))

    def _is_taken(self, by_image: Mapping[Path, Path], images: Mapping[str, Sequence[Path]]) -> bool:
        """Return whether one of the label files is where YOLO looks for that of another image."""
        return any(
            next(self._candidates(other), None) == file
            for image, file in by_image.items()
            for other in images[key_of(image.stem)]
        )

    def _may_be_of_others(
        self, folder: Path, place: Path, by_image: Mapping[Path, Path], images: Mapping[str, Sequence[Path]]
    ) -> bool:
        """Return whether the label files may as well belong to images without labels in another folder."""
        others = {other for image in by_image for other in images[key_of(image.stem)] if other.parent != folder}
        return any(
            self._similarity(other.parent, place) >= self._similarity(folder, place)
            and next(self._candidates(other), None) is None
            for other in others
        )


class _Folder:
    """Holds the names in a folder, without subfolders; none if the folder does not exist."""

    def __init__(self, path: Path) -> None:
        try:
            names = [each.name for each in path.iterdir() if not is_system_file(each.name)]
        except OSError:
            names = []
        self._path = path
        self._names = names
        self.labels = sorted(path / name for name in names if name.lower().endswith(_SUFFIX))
        self._labels: dict[str, list[Path]] = defaultdict(list)
        for file in self.labels:
            self._labels[key_of(file.stem)].append(file)
        self._image_stems: set[str] | None = None

    def label_of(self, image: Path) -> Path | None:
        """Return the label file with the name of an image."""
        # Some tools keep the suffix of the image: 1.jpg.txt.
        for stem in (image.stem, image.name):
            similar = self._labels.get(key_of(stem), [])
            exact = [file for file in similar if file.stem == stem]
            if len(similar) == 1 or exact:
                return min(exact or similar, key=lambda file: file.suffix != _SUFFIX)
        return None

    def has_image(self, label: Path) -> bool:
        """Return whether the folder contains an image with the name of a label file."""
        if self._image_stems is None:
            suffixes = SUFFIXES | UNREAD_SUFFIXES
            images = [self._path / name for name in self._names if Path(name).suffix.lower() in suffixes]
            self._image_stems = {key_of(stem) for image in images for stem in (image.stem, image.name)}
        return key_of(label.stem) in self._image_stems

    def folders(self, name: str) -> list[Path]:
        """Return the subfolders of that name, ignoring case; an exact match comes first."""
        found = [each for each in self._names if key_of(each) == key_of(name) and (self._path / each).is_dir()]
        return [self._path / each for each in sorted(found, key=lambda each: (each != name, each))]


def _bytes(path: Path) -> bytes:
    try:
        return confined.read_bytes(path)
    except OSError as error:
        raise StorageError("a label file cannot be read", path=str(path), cause=str(error)) from error


def _is_label_file(path: Path) -> bool:
    """Return whether the first line with text is a class and numbers. An empty file is also a label file."""
    try:
        lines = filter(str.strip, read_text(path).splitlines())
    except (OSError, UnicodeError):
        return False
    first = next(lines, None)
    return first is None or read_row(first, {}) is not None
