"""COCO 2017: its files and counts, and a check whether a folder holds all of it."""

import importlib
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

from pydantic import JsonValue

SITE = "cocodataset.org"

Record: TypeAlias = dict[str, JsonValue]


class Archive(NamedTuple):
    """A file that the site offers for download."""

    name: str
    size_bytes: int
    md5: str
    unpacks_to: str


class Split(NamedTuple):
    """A split with its counts in the original data set."""

    name: str
    num_images: int
    num_annotations: int

    @property
    def annotations(self) -> str:
        """The path of the annotation file below the root."""
        return f"annotations/instances_{self.name}.json"


@dataclass(frozen=True, kw_only=True)
class Check:
    """The result of one check."""

    what: str
    is_good: bool
    found: str


ARCHIVES = (
    Archive("train2017.zip", 19_336_861_798, "cced6f7f71b7629ddf16f17bbcfab6b2", "train2017/"),
    Archive("val2017.zip", 815_585_330, "442b8da7639aecaf257c1dceb8ba8c80", "val2017/"),
    Archive("annotations_trainval2017.zip", 252_907_541, "f4bbac642086de4f52a3fdda2de5fa2c", "annotations/"),
)
SPLITS = (Split("train2017", 118_287, 860_001), Split("val2017", 5_000, 36_781))
# fmt: off
CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis",
    "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich",
    "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed",
    "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven",
    "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)
# fmt: on
"""The names of the classes, in the order of their ids."""

_EXAMPLES = 3
# A few of the files named .jpg are PNG.
_FORMATS = ("JPEG", "PNG")


def verify(
    root: Path,
    *,
    splits: Sequence[Split] = SPLITS,
    sample: int = 200,
    on_read: Callable[[str], None] = lambda _: None,
) -> Iterator[Check]:
    """Check which parts of the data set a folder holds, split by split.

    The training split takes about a minute and 1 GB of memory.

    Args:
        root: the folder with train2017, val2017 and annotations.
        sample: the number of images of each split to open; always the same images.
        on_read: receives the path, below the root, that is read next.
    """
    for split in splits:
        on_read(split.annotations)
        document = _read(root / split.annotations)
        if isinstance(document, str):
            yield Check(what=split.annotations, is_good=False, found=document)
        else:
            yield _count("images", split.annotations, len(document["images"]), split.num_images)
            yield _count("annotations", split.annotations, len(document["annotations"]), split.num_annotations)
            yield _categories(split, document["categories"])
        on_read(f"{split.name}/")
        entries = document["images"] if isinstance(document, dict) else []
        yield from _images(root / split.name, split, entries, sample=sample)


def _read(path: Path) -> dict[str, list[Record]] | str:
    """Return the annotation file without the outlines of objects, or a description of the fault."""
    try:
        with path.open(encoding="utf-8") as file:
            # Outlines are nine tenths of the file; they are dropped one by one, so that they never fill the memory.
            document = json.load(file, object_hook=_without_outlines)
    except OSError as cause:
        return f"cannot be read: {cause.strerror}"
    except ValueError:
        return "is not JSON; the file is damaged, unpack it again"
    tables = ("images", "annotations", "categories")
    if not isinstance(document, dict) or not all(_is_table(document.get(name)) for name in tables):
        return f"lacks one of the lists {', '.join(tables)}; it is a different file"
    return document


def _without_outlines(item: Record) -> Record:
    item.pop("segmentation", None)
    return item


def _is_table(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(row, dict) for row in value)


def _id(row: Record) -> int:
    value = row.get("id")
    return value if isinstance(value, int) else 0


def _count(what: str, where: str, found: int, expected: int) -> Check:
    shown = f"{found:,}" if found == expected else f"{found:,} of {expected:,}"
    return Check(what=f"{where}: {what}", is_good=found == expected, found=shown)


def _categories(split: Split, rows: Sequence[Record]) -> Check:
    names = [str(row.get("name")) for row in sorted(rows, key=_id)]
    missing, strange = [each for each in CLASSES if each not in names], [each for each in names if each not in CLASSES]
    found = f"{len(names)}, by name and order"
    if missing or strange:
        parts = [("missing", missing), ("unknown", strange)]
        found = "; ".join(f"{len(group)} {what}: {_some(group)}" for what, group in parts if group)
    elif tuple(names) != CLASSES:
        found = "the names are correct, their ids are not"
    return Check(what=f"{split.annotations}: categories", is_good=tuple(names) == CLASSES, found=found)


def _images(folder: Path, split: Split, entries: Sequence[Record], *, sample: int) -> Iterator[Check]:
    """Check whether all listed images exist, whether their number is right, and whether a sample of them opens."""
    try:
        existing = {path.name for path in folder.iterdir()}
    except OSError as cause:
        yield Check(what=f"{split.name}/: images", is_good=False, found=f"cannot be read: {cause.strerror}")
        return
    listed = {str(entry.get("file_name")): (entry.get("width"), entry.get("height")) for entry in entries}
    missing = sorted(name for name in listed if name not in existing)
    count = _count("images", f"{split.name}/", sum(name.endswith(".jpg") for name in existing), split.num_images)
    if missing:
        count = Check(
            what=count.what, is_good=False, found=f"{len(missing):,} of the listed images are missing: {_some(missing)}"
        )
    yield count
    names = sorted(listed.keys() & existing)
    chosen = random.Random(0).sample(names, min(sample, len(names)))
    bad = [problem for name in chosen if (problem := _open(folder / name, listed[name]))]
    found = (
        f"{len(bad)} of {len(chosen)} have faults: {_some(bad)}" if bad else f"{len(chosen)}, with the annotated sizes"
    )
    yield Check(what=f"{split.name}/: images open", is_good=bool(chosen) and not bad, found=found)


def _open(path: Path, size_px: tuple[object, object]) -> str | None:
    """Decode an image, and return its fault, or None."""
    # Imported late and by name: no other command of the client needs Pillow, which the extra `client` does not install.
    pillow = importlib.import_module("PIL.Image")
    try:
        with pillow.open(path, formats=_FORMATS) as image:
            image.load()
            return None if image.size == size_px else f"{path.name} is {image.width}x{image.height}"
    except (OSError, SyntaxError, ValueError):
        return f"{path.name} is damaged"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_EXAMPLES]) + (", …" if len(names) > _EXAMPLES else "")
