"""Reads the list of images of a COCO file: as a whole if all entries have COCO's own form, else one by one."""

from collections.abc import Mapping, Sequence
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np

from fgd_core.data.annotations import ImageEntry
from fgd_core.data.coco_values import Fields, Id, IdNumbers, fits_int64, read_id, read_side, read_text, show_fields
from fgd_core.data.findings import Findings
from fgd_core.data.plain_annotations import MISSING, num_keys

_MAX_SIDE_PX = 2**31


class _Image(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The fields that COCO's own files have, and no others."""

    id: int
    file_name: str
    width: int
    height: int
    license: msgspec.Raw = MISSING
    coco_url: msgspec.Raw = MISSING
    flickr_url: msgspec.Raw = MISSING
    date_captured: msgspec.Raw = MISSING


_IMAGES = msgspec.json.Decoder(list[_Image])
_OPTIONAL = attrgetter("license", "coco_url", "flickr_url", "date_captured")


class PlainImages(NamedTuple):
    """Holds images of which none needs a conversion or a finding; their ids and names are unique."""

    entries: list[ImageEntry]

    def paths(self, folder: Path) -> list[str]:
        """Return the paths of the images in the folder."""
        return [f"{folder}/{entry.file_name}" for entry in self.entries]


ImageList: TypeAlias = PlainImages | list[Fields]


class ListedImages(NamedTuple):
    """Holds what the list of images says."""

    entries: Sequence[ImageEntry]
    """One for each id; images with ambiguous ids are left out."""
    numbers: IdNumbers
    """The numbers that stand for the ids in the file, also for ambiguous ids."""
    sizes_px: Mapping[Id, tuple[int, int] | None]
    """(width, height) of each id in the file; None if the file does not give it."""

    @property
    def ids(self) -> frozenset[int]:
        """The numbers of all ids."""
        return self.numbers.listed


def read_plain_images(text: bytes) -> PlainImages | None:
    """Read the JSON list of images; None if one of them must be read with care."""
    try:
        rows = _IMAGES.decode(text)
        ids = np.array([row.id for row in rows], dtype=np.int64)
        sizes_px = np.array([(row.width, row.height) for row in rows], dtype=np.int64).reshape(-1, 2)
    except (msgspec.MsgspecError, OverflowError):  # Overflow: an id beyond 64 bits.
        return None
    names = [row.file_name for row in rows]
    num_missing = [*chain.from_iterable(map(_OPTIONAL, rows))].count(MISSING)
    is_plain = (
        num_keys(text) == len(_Image.__struct_fields__) * len(rows) - num_missing
        and len(np.unique(ids)) == len(set(names)) == len(rows)
        and bool(((sizes_px > 0) & (sizes_px < _MAX_SIDE_PX)).all())
        and _are_plain(names)
    )
    return (
        PlainImages([ImageEntry(row.id, row.file_name, (row.width, row.height)) for row in rows]) if is_plain else None
    )


def _are_plain(names: Sequence[str]) -> bool:
    """Return whether all are files in the folder, without a character that may be spelled in another way."""
    together = "".join(names)
    lines = "\n".join(["", *names, ""])
    odd = ("\n\n", "\n/", "..", "\n ", " \n", "  ")
    return together.isascii() and together.isprintable() and not any(part in lines for part in odd)


def read_images(images: ImageList, findings: Findings) -> ListedImages:
    """Read the images of a file, and report the unusual ones."""
    if isinstance(images, PlainImages):
        sizes: dict[Id, tuple[int, int] | None] = {entry.image_id: entry.size_px for entry in images.entries}
        return ListedImages(images.entries, IdNumbers(sizes), sizes)
    sizes_px: dict[Id, tuple[int, int] | None] = {}
    read: list[tuple[Id, ImageEntry]] = []
    for place, entry in enumerate(images):
        image_id, image = _read_image(place, entry, findings)
        if image_id is not None and image is not None:
            read.append((image_id, image))
            sizes_px[image_id] = image.size_px
    numbers = IdNumbers(sizes_px)
    by_number: dict[int, list[ImageEntry]] = {}
    for image_id, image in read:
        number = numbers.number_of(image_id)
        by_number.setdefault(number, []).append(image._replace(image_id=number))
    return ListedImages(_unique_images(by_number, findings), numbers, sizes_px)


def _read_image(place: int, entry: Fields, findings: Findings) -> tuple[Id | None, ImageEntry | None]:
    """Read an image in any form; None if it must be left out, which is then reported."""
    odd: set[str] = set()
    image_id, file_name = read_id(entry.get("id"), odd), _file_name(entry, odd)
    if image_id is None or file_name is None:
        findings.add("malformed_image", f"images[{place}]: {show_fields(entry, 'id', 'file_name')}")
        return None, None
    if isinstance(image_id, int) and not fits_int64(image_id):
        odd.add("id_beyond_64_bits")
    sides = (entry.get("width"), entry.get("height"))
    width, height = (read_side(side, odd) for side in sides)
    for problem in sorted(odd):
        findings.add(problem, file_name)
    size_px = (width, height) if width is not None and height is not None else None
    has_bad_size = size_px is None and sides != (None, None)
    if has_bad_size:
        findings.add("malformed_size", f"{file_name}: {sides[0]!r} x {sides[1]!r}")
    path = entry.get("path")
    return image_id, ImageEntry(
        image_id=image_id if isinstance(image_id, int) and fits_int64(image_id) else 0,
        file_name=file_name,
        size_px=size_px,
        has_bad_size=has_bad_size,
        original_path=path if isinstance(path, str) else "",
    )


def _file_name(entry: Fields, odd: set[str]) -> str | None:
    url = read_text(entry.get("coco_url"))
    if entry.get("file_name") is None and url is not None:
        odd.add("file_name_from_url")
        return "/".join(url.split("/")[-2:])
    return read_text(entry.get("file_name"))


def _unique_images(by_number: dict[int, list[ImageEntry]], findings: Findings) -> list[ImageEntry]:
    """Return one entry for each id, without ids that stand for different files: it is unknown which file is meant."""
    images: list[ImageEntry] = []
    file_names: set[str] = set()
    for image_id, entries in by_number.items():
        if len(entries) > 1:
            findings.add("duplicate_image_id", f"{image_id}: {', '.join(entry.file_name for entry in entries)}")
        if len({entry.file_name for entry in entries}) > 1:
            continue
        if entries[0].file_name in file_names:
            findings.add("duplicate_file_name", entries[0].file_name)
        file_names.add(entries[0].file_name)
        images.append(entries[0])
    return images
