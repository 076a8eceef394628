"""Which label file belongs to an image: where YOLO looks for it, beside the image, or in the one other place.

An image without a label file has no objects. So an image whose label file is merely not found would become background
without any error: a label file that is there is found whatever the capitals, and one in another place is named.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fgd_core import confined
from fgd_core.data.folders import files_below, is_of_the_system, key_of
from fgd_core.data.image_files import SUFFIXES, UNREAD_SUFFIXES
from fgd_core.data.text_files import read_text
from fgd_core.data.yolo_rows import read_row
from fgd_core.errors import StorageError

_IMAGES = ("images", "jpegimages")
_LABELS = "labels"
_SUFFIX = ".txt"
_WORD = re.compile(r"[^\W_]+")
_PREDICTED = ("predict", "detect", "pred", "runs", "result", "output", "pseudo")
"""How folders begin that detectors write to: what lies there was not drawn by anybody."""
_COVERED = 0.5
"""Share of a folder's images that have to have a file in another folder before its files are taken for their labels."""


@dataclass
class LabelPlaces:
    """Where the label files of some images are."""

    files: dict[Path, Path] = field(default_factory=dict)
    """By image; an image that has none is left out."""
    beside: list[Path] = field(default_factory=list)
    """Images whose label file lies beside them, though they lie in a folder that `labels` should stand for."""
    elsewhere: dict[Path, Path] = field(default_factory=dict)
    """By folder of images: the folder below the root that their label files were found in."""
    in_two_places: dict[Path, tuple[Path, Path]] = field(default_factory=dict)
    """By image: its label file, and another one that says something else."""
    shared: frozenset[Path] = frozenset()
    """Label files of several images."""
    doubtful: dict[Path, list[str]] = field(default_factory=dict)
    """By folder of images without a label file: folders that may hold them, relative to the root."""


class LabelFiles:
    """Finds label files below a root, reading each folder once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[Path, _Folder] = {}
        self._mirrors_of: dict[Path, tuple[Path, ...]] = {}

    def places(self, images: Sequence[Path]) -> LabelPlaces:
        """
        Args:
            images: paths below the root.
        """
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
        bare = {f: own for f, own in by_folder.items() if not any(image in found.files for image in own)}
        if bare:
            self._look_elsewhere(bare, found)
        found.shared = frozenset(file for file, times in Counter(found.files.values()).items() if times > 1)
        return found

    def orphans(self, places: LabelPlaces, images: Sequence[Path], no_labels: Sequence[Path]) -> Iterator[Path]:
        """Label files in the folders of these images' labels that belong to no image that is there.

        Args:
            no_labels: files that are no label files though they end in .txt.
        """
        sources: dict[Path, set[Path]] = defaultdict(set)
        for parent in {image.parent for image in images}:
            for folder in (*self._mirrors(parent), parent):
                sources[folder].add(parent)
        used = {*places.files.values(), *no_labels}
        for folder in sorted(sources):
            for file in self._folder(folder).labels:
                has_image = any(self._folder(source).has_image(file) for source in sources[folder])
                if file not in used and not has_image and _is_label_file(file):
                    yield file

    def _candidates(self, image: Path) -> Iterator[Path]:
        for folder in self._mirrors(image.parent):
            file = self._folder(folder).label_of(image)
            if file is not None:
                yield file
        file = self._folder(image.parent).label_of(image)
        # Text beside images need not be labels: captions lie there, too.
        if file is not None and (not self._has_images_part(image.parent) or _is_label_file(file)):
            yield file

    def _has_images_part(self, folder: Path) -> bool:
        return any(part.lower() in _IMAGES for part in folder.relative_to(self._root).parts)

    def _mirrors(self, folder: Path) -> tuple[Path, ...]:
        """The folders in which `labels` stands for `images`, the last such part of the path first."""
        if folder not in self._mirrors_of:
            parts = folder.relative_to(self._root).parts
            self._mirrors_of[folder] = tuple(
                path
                for place in reversed([index for index, part in enumerate(parts) if part.lower() in _IMAGES])
                for start in self._folder(self._root.joinpath(*parts[:place])).folders(_LABELS)
                for path in self._below(start, parts[place + 1 :])
            )
        return self._mirrors_of[folder]

    def _below(self, start: Path, parts: Sequence[str]) -> list[Path]:
        if not parts:
            return [start]
        return [path for folder in self._folder(start).folders(parts[0]) for path in self._below(folder, parts[1:])]

    def _folder(self, path: Path) -> "_Folder":
        if path not in self._folders:
            self._folders[path] = _Folder(path)
        return self._folders[path]

    def _look_elsewhere(self, bare: Mapping[Path, Sequence[Path]], found: LabelPlaces) -> None:
        files = files_below(self._root, skip_locked=True)
        images: dict[str, list[Path]] = defaultdict(list)
        labels: dict[str, list[Path]] = defaultdict(list)
        for path in files:
            if path.suffix.lower() == _SUFFIX:
                labels[key_of(path.stem)].append(path)
            elif path.suffix.lower() in SUFFIXES | UNREAD_SUFFIXES:
                images[key_of(path.stem)].append(path)
        for folder, own in bare.items():
            matches: dict[Path, dict[Path, Path]] = defaultdict(dict)
            for image in own:
                for file in labels[key_of(image.stem)]:
                    matches[file.parent][image] = file
            free = {
                place: by_image
                for place, by_image in matches.items()
                if all(map(_is_label_file, by_image.values())) and not self._is_taken(by_image, images)
            }
            best = max((self._likeness(folder, place) for place in free), default=0)
            alike = [place for place in free if self._likeness(folder, place) == best]
            if (
                len(alike) == 1
                and not any(word.startswith(_PREDICTED) for word in self._words(alike[0]))
                and len(free[alike[0]]) >= _COVERED * len(own)
                and not self._may_be_of_others(folder, alike[0], free[alike[0]], images)
            ):
                found.elsewhere[folder] = alike[0]
                found.files |= free[alike[0]]
            elif free:
                found.doubtful[folder] = sorted(place.relative_to(self._root).as_posix() for place in free)

    def _likeness(self, folder: Path, place: Path) -> int:
        """How many words their paths share: labels of images/train lie in annotations/train or in train_labels."""
        return len(self._words(folder) & self._words(place))

    def _words(self, folder: Path) -> frozenset[str]:
        return frozenset(_WORD.findall(folder.relative_to(self._root).as_posix().casefold()))

    def _is_taken(self, by_image: Mapping[Path, Path], images: Mapping[str, Sequence[Path]]) -> bool:
        """Whether one of the label files lies where that of another image is looked for."""
        return any(
            next(self._candidates(other), None) == file
            for image, file in by_image.items()
            for other in images[key_of(image.stem)]
        )

    def _may_be_of_others(
        self, folder: Path, place: Path, by_image: Mapping[Path, Path], images: Mapping[str, Sequence[Path]]
    ) -> bool:
        """Whether another image without labels has the name of one of the label files and is as good a guess."""
        others = {other for image in by_image for other in images[key_of(image.stem)] if other.parent != folder}
        return any(
            self._likeness(other.parent, place) >= self._likeness(folder, place)
            and next(self._candidates(other), None) is None
            for other in others
        )


class _Folder:
    """What lies directly in a folder; nothing where there is none."""

    def __init__(self, path: Path) -> None:
        try:
            names = [each.name for each in path.iterdir() if not is_of_the_system(each.name)]
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
        # Some tools keep the ending of the image: 1.jpg.txt.
        for stem in (image.stem, image.name):
            twins = self._labels.get(key_of(stem), [])
            named = [file for file in twins if file.stem == stem]
            if len(twins) == 1 or named:
                return min(named or twins, key=lambda file: file.suffix != _SUFFIX)
        return None

    def has_image(self, label: Path) -> bool:
        if self._image_stems is None:
            suffixes = SUFFIXES | UNREAD_SUFFIXES
            images = [self._path / name for name in self._names if Path(name).suffix.lower() in suffixes]
            self._image_stems = {key_of(stem) for image in images for stem in (image.stem, image.name)}
        return key_of(label.stem) in self._image_stems

    def folders(self, name: str) -> list[Path]:
        """The folders of that name, in whatever capitals; the one that is spelt so first."""
        found = [each for each in self._names if key_of(each) == key_of(name) and (self._path / each).is_dir()]
        return [self._path / each for each in sorted(found, key=lambda each: (each != name, each))]


def _bytes(path: Path) -> bytes:
    try:
        return confined.read_bytes(path)
    except OSError as error:
        raise StorageError("a label file cannot be read", path=str(path), cause=str(error)) from error


def _is_label_file(path: Path) -> bool:
    """Whether the first line that is not empty is a class and numbers; an empty file is a label file, too."""
    try:
        lines = filter(str.strip, read_text(path).splitlines())
    except (OSError, UnicodeError):
        return False
    first = next(lines, None)
    return first is None or read_row(first, {}) is not None
