"""Opens data sets in COCO format and checks them."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from fgd_core.data.annotations import Annotations, ImageEntry
from fgd_core.data.coco_annotations import AnnotationList
from fgd_core.data.coco_file import CocoText, parse_coco, read_coco
from fgd_core.data.coco_keypoints import with_keypoint_names
from fgd_core.data.coco_objects import read_objects
from fgd_core.data.coco_values import Fields, Id, IdNumbers, fits_int64, read_id, read_side, read_text, show_fields
from fgd_core.data.file_dataset import FileDataset, join_contents
from fgd_core.data.file_states import file_states
from fgd_core.data.findings import Findings
from fgd_core.data.opening_cache import Reading, Source, cached
from fgd_core.data.packed import pack
from fgd_core.data.samples import Category, Split
from fgd_core.errors import DataError, StorageError
from fgd_core.spec import data as spec


class CocoDataset(FileDataset):
    """Holds one split of a COCO data set; see `DetectionDataset`."""

    def __init__(
        self, coco: spec.Coco, split: Split, *, with_masks: bool = False, with_keypoints: bool = False
    ) -> None:
        """
        Args:
            with_masks: also read the masks of the objects; takes about 25 µs for each object.
            with_keypoints: also read the keypoints of the objects.
        Raises:
            DataError: a file or folder is missing, or the file is not in COCO format.
        """
        part, other = (coco.train, coco.val) if split == "train" else (coco.val, coco.train)
        source = Source(
            annotations=Path(part.annotations).expanduser(),
            other_annotations=Path(other.annotations).expanduser(),
            images=Path(part.images).expanduser(),
            options=(split, coco.on_bad, *["masks"] * with_masks, *["keypoints"] * with_keypoints),
        )

        def read() -> Reading:
            text = read_coco(source.annotations)
            findings = Findings(coco.on_bad)
            annotations = read_annotations(
                text,
                findings,
                with_masks=with_masks,
                with_keypoints=with_keypoints,
                other=source.other_annotations,
            )
            _check_folder(source.images, split)
            names = [entry.file_name for entry in annotations.images]
            states = file_states(source.images, names)
            contents = join_contents(annotations, findings, split=split, images_folder=source.images)
            return Reading(
                contents, hashlib.sha256(text.content).hexdigest(), pack([name.encode() for name in names]), states
            )

        contents = cached(source, read)
        super().__init__(contents, images_folder=source.images, source=part.annotations)


def _check_folder(images: Path, split: Split) -> None:
    if not images.is_dir():
        raise DataError(f"the images folder does not exist; correct data.{split}.images", path=str(images))


def read_annotations(
    text: CocoText,
    findings: Findings,
    *,
    with_masks: bool = False,
    with_keypoints: bool = False,
    other: Path | None = None,
) -> Annotations:
    """Read the text of a COCO file.

    Args:
        other: the file of the other split. It is read only if it decides whether a category is a class.
    Raises:
        DataError: the text is not JSON, or lacks one of COCO's lists.
    """
    repeated_keys: list[str] = []
    document = parse_coco(text, repeated_keys, in_blocks=not (with_masks or with_keypoints))
    for name in repeated_keys:
        findings.add("duplicate_key", name)
    is_used = _category_usage(document.annotations, other)
    categories, category_numbers = _read_categories(document.categories, findings, is_used)
    if with_keypoints:
        categories = with_keypoint_names(categories, category_numbers, document.categories, findings)
    image_ids, entries = _read_images(document.images, findings)
    image_numbers = IdNumbers(image_ids)
    by_number: dict[int, list[ImageEntry]] = {}
    for image_id, entry in zip(image_ids, entries, strict=True):
        number = image_numbers.number_of(image_id)
        by_number.setdefault(number, []).append(entry if number == entry.image_id else replace(entry, image_id=number))
    return Annotations(
        categories=categories,
        images=_unique_images(by_number, findings),
        listed_ids=frozenset(by_number),
        objects=read_objects(
            document.annotations,
            image_numbers,
            category_numbers,
            findings,
            sizes_px={image_id: entry.size_px for image_id, entry in zip(image_ids, entries, strict=True)},
            with_masks=with_masks,
            with_keypoints=with_keypoints,
        ),
    )


def _category_usage(annotations: AnnotationList, other: Path | None) -> Callable[[Id], bool]:
    """Return a function that says whether a category has annotations in this file or in the other split's file."""

    def is_used(category_id: Id) -> bool:
        return annotations.have_category(category_id) or is_used_in_other(category_id)

    def is_used_in_other(category_id: Id) -> bool:
        try:
            found = parse_coco(read_coco(other), [], in_blocks=True) if other is not None else None
        except (DataError, StorageError):
            return False  # Opening the other split reports what is wrong with its file.
        return found is not None and found.annotations.have_category(category_id)

    return is_used


def _read_categories(
    entries: Sequence[Fields], findings: Findings, is_used: Callable[[Id], bool]
) -> tuple[tuple[Category, ...], IdNumbers]:
    """Read the categories, without a root category above the classes.

    Args:
        is_used: whether an annotation has the category with this id.
    Returns:
        The categories in the order of their ids, and the numbers that stand for the ids in the file.
    """
    names_by_id: dict[Id, str] = {}
    names: set[str] = set()
    for place, entry in enumerate(entries):
        odd: set[str] = set()
        category_id, name = read_id(entry.get("id"), odd), _category_name(entry, odd)
        if category_id is None or name is None:
            findings.add("malformed_category", f"categories[{place}]: {show_fields(entry, 'id', 'name')}")
            if category_id is None:
                continue
            # Keep the category: otherwise its annotations would also be reported.
            name = f"category {category_id}"
        for problem in odd:
            findings.add(problem, f"category {category_id}: {name}")
        if _is_root(category_id, name, entry, entries) and not is_used(category_id):
            findings.add("root_category", f"{category_id}: {name}")
            continue
        if category_id in names_by_id:
            findings.add("duplicate_category_id", f"{category_id}: {names_by_id[category_id]}, {name}")
        if name in names:
            findings.add("duplicate_category_name", name)
        names_by_id.setdefault(category_id, name)
        names.add(name)
    numbers = IdNumbers(names_by_id, is_sorted=True)
    categories = [Category(id=numbers.number_of(category_id), name=name) for category_id, name in names_by_id.items()]
    return tuple(sorted(categories, key=lambda category: category.id)), numbers


def _category_name(entry: Fields, odd: set[str]) -> str | None:
    name = entry.get("name")
    if isinstance(name, int | float) and not isinstance(name, bool):
        odd.add("category_name_as_number")
        name = str(name)
    return read_text(name)


def _is_root(category_id: Id, name: str, entry: Fields, entries: Sequence[Fields]) -> bool:
    """Return whether this is category 0 above all classes, which Roboflow writes first into every export."""
    if category_id != 0 or str(entry.get("supercategory")).lower() != "none":
        return False
    return any(other is not entry and name in (other.get("supercategory"), other.get("name")) for other in entries)


def _read_images(entries: Sequence[Fields], findings: Findings) -> tuple[list[Id], list[ImageEntry]]:
    """Return the ids and the entries of the images; if an id does not fit 64 bits, its entry has id 0."""
    ids: list[Id] = []
    images: list[ImageEntry] = []
    for place, entry in enumerate(entries):
        plain = _plain_image(entry)
        image_id, image = (plain.image_id, plain) if plain is not None else _read_image(place, entry, findings)
        if image_id is not None and image is not None:
            ids.append(image_id)
            images.append(image)
    return ids, images


def _plain_image(entry: Fields) -> ImageEntry | None:
    """Return the entry of an image that needs no conversion and no finding; None for others. Quick, for most images."""
    image_id, name, width, height = entry.get("id"), entry.get("file_name"), entry.get("width"), entry.get("height")
    if type(image_id) is not int or type(name) is not str or type(width) is not int or type(height) is not int:
        return None
    is_readable = name.isascii() and name.isprintable() and not name.isspace() and name != ""
    if not (is_readable and fits_int64(image_id) and 0 < width < 2**31 and 0 < height < 2**31):
        return None
    path = entry.get("path")
    return ImageEntry(image_id, name, (width, height), original_path=path if isinstance(path, str) else "")


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
