"""COCO 2017: what it consists of, and whether a folder holds all of it."""

import importlib
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

SITE = "cocodataset.org"


class Archive(NamedTuple):
    """A file that the site offers."""

    name: str
    size_bytes: int
    md5: str
    unpacks_to: str


class Split(NamedTuple):
    name: str
    num_images: int
    num_annotations: int

    @property
    def annotations(self) -> str:
        """Path below the root."""
        return f"annotations/instances_{self.name}.json"


@dataclass(frozen=True, kw_only=True)
class Check:
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
"""In the order of their ids."""

_EXAMPLES = 3
# A few of the files named .jpg are PNG.
_FORMATS = ("JPEG", "PNG")


def verify(
    root: Path,
    *,
    splits: Sequence[Split] = SPLITS,
    sample: int = 200,
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[Check]:
    """What is there and what is not, split by split. Of the training split it takes about a minute and 1 GB of memory.

    Args:
        root: holds the folders train2017, val2017 and annotations.
        sample: so many images of each split are opened, always the same ones.
        tell: is told what is looked at next.
    """
    for split in splits:
        tell(split.annotations)
        document = _read(root / split.annotations)
        if isinstance(document, str):
            yield Check(what=split.annotations, is_good=False, found=document)
        else:
            yield _count("images", split.annotations, len(document["images"]), split.num_images)
            yield _count("annotations", split.annotations, len(document["annotations"]), split.num_annotations)
            yield _categories(split, document["categories"])
        tell(f"{split.name}/")
        entries = document["images"] if isinstance(document, dict) else []
        yield from _images(root / split.name, split, entries, sample=sample)


def _read(path: Path) -> dict[str, list[dict[str, Any]]] | str:
    """The annotation file, without outlines; or what is wrong with it."""
    try:
        with path.open(encoding="utf-8") as file:
            # Outlines are nine tenths of it: dropped as they come, they never fill the memory.
            document = json.load(file, object_hook=_without_outlines)
    except OSError as cause:
        return f"cannot be read: {cause.strerror}"
    except ValueError:
        return "is no JSON; the file is damaged, unpack it again"
    tables = ("images", "annotations", "categories")
    if not isinstance(document, dict) or not all(_is_table(document.get(name)) for name in tables):
        return f"lacks one of the lists {', '.join(tables)}; it is another file"
    return document


def _without_outlines(item: dict[str, Any]) -> dict[str, Any]:
    item.pop("segmentation", None)
    return item


def _is_table(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(row, dict) for row in value)


def _count(what: str, where: str, found: int, expected: int) -> Check:
    shown = f"{found:,}" if found == expected else f"{found:,} of {expected:,}"
    return Check(what=f"{where}: {what}", is_good=found == expected, found=shown)


def _categories(split: Split, rows: Sequence[dict[str, Any]]) -> Check:
    names = [str(row.get("name")) for row in sorted(rows, key=lambda row: int(row.get("id") or 0))]
    missing, strange = [each for each in CLASSES if each not in names], [each for each in names if each not in CLASSES]
    found = f"{len(names)}, by name and order"
    if missing or strange:
        parts = [("missing", missing), ("unknown", strange)]
        found = "; ".join(f"{len(those)} {what}: {_some(those)}" for what, those in parts if those)
    elif tuple(names) != CLASSES:
        found = "the names are right, their ids are not"
    return Check(what=f"{split.annotations}: categories", is_good=tuple(names) == CLASSES, found=found)


def _images(folder: Path, split: Split, entries: Sequence[dict[str, Any]], *, sample: int) -> Iterator[Check]:
    """Are all there that the annotations list, or else as many as there must be; and do some of them open."""
    try:
        there = {path.name for path in folder.iterdir()}
    except OSError as cause:
        yield Check(what=f"{split.name}/: images", is_good=False, found=f"cannot be read: {cause.strerror}")
        return
    listed = {str(entry.get("file_name")): (entry.get("width"), entry.get("height")) for entry in entries}
    missing = sorted(name for name in listed if name not in there)
    count = _count("images", f"{split.name}/", sum(name.endswith(".jpg") for name in there), split.num_images)
    if missing:
        count = Check(
            what=count.what, is_good=False, found=f"{len(missing):,} of those listed are missing: {_some(missing)}"
        )
    yield count
    names = sorted(listed.keys() & there)
    chosen = random.Random(0).sample(names, min(sample, len(names)))
    bad = [problem for name in chosen if (problem := _open(folder / name, listed[name]))]
    found = f"{len(bad)} of {len(chosen)} do not: {_some(bad)}" if bad else f"{len(chosen)} do, at the annotated size"
    yield Check(what=f"{split.name}/: images open", is_good=bool(chosen) and not bad, found=found)


def _open(path: Path, size_px: tuple[object, object]) -> str | None:
    """What is wrong with an image, decoded whole."""
    # By name and only now: no other command of the client needs Pillow, so the extra `client` does not bring it.
    pillow = importlib.import_module("PIL.Image")
    try:
        with pillow.open(path, formats=_FORMATS) as image:
            image.load()
            return None if image.size == size_px else f"{path.name} is {image.width}x{image.height}"
    except (OSError, SyntaxError, ValueError):
        return f"{path.name} is damaged"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_EXAMPLES]) + (", …" if len(names) > _EXAMPLES else "")
