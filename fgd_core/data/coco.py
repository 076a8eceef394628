"""Opens data sets in COCO format and checks them."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from fgd_core.data.annotations import Annotations
from fgd_core.data.coco_annotations import AnnotationList
from fgd_core.data.coco_file import CocoText, parse_coco, read_coco
from fgd_core.data.coco_images import read_images
from fgd_core.data.coco_keypoints import with_keypoint_names
from fgd_core.data.coco_objects import read_objects
from fgd_core.data.coco_values import Fields, Id, IdNumbers, read_id, read_text, show_fields
from fgd_core.data.collection import paused_collection
from fgd_core.data.file_dataset import FileDataset, join_contents
from fgd_core.data.findings import Findings
from fgd_core.data.opening_cache import Reading, Source, cached
from fgd_core.data.packed import pack
from fgd_core.data.samples import Category, Split
from fgd_core.data.usable_images import usable_images
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

        @paused_collection()
        def read() -> Reading:
            text = read_coco(source.annotations)
            _check_folder(source.images, split)
            findings = Findings(coco.on_bad)
            annotations = read_annotations(
                text,
                findings,
                with_masks=with_masks,
                with_keypoints=with_keypoints,
                other=source.other_annotations,
                images_folder=source.images,
            )
            images = usable_images(annotations, source.images, findings)
            contents = join_contents(annotations, images, findings, split=split)
            names = pack([name.encode() for name in images.file_names])
            return Reading(contents, hashlib.sha256(text.content).hexdigest(), text.state, names, images.states)

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
    images_folder: Path | None = None,
) -> Annotations:
    """Read the text of a COCO file.

    Args:
        images_folder: read the headers of many images in it meanwhile, in other processes.
        other: the file of the other split. It is read only if it decides whether a category is a class.
    Raises:
        DataError: the text is not JSON, or lacks one of COCO's lists.
    """
    repeated_keys: list[str] = []
    document = parse_coco(
        text, repeated_keys, in_blocks=not (with_masks or with_keypoints), images_folder=images_folder
    )
    for name in repeated_keys:
        findings.add("duplicate_key", name)
    is_used = _category_usage(document.annotations, other)
    categories, category_numbers = _read_categories(document.categories, findings, is_used)
    if with_keypoints:
        categories = with_keypoint_names(categories, category_numbers, document.categories, findings)
    images = read_images(document.images, findings)
    return Annotations(
        categories=categories,
        images=images.entries,
        listed_ids=images.ids,
        objects=read_objects(
            document.annotations,
            images.numbers,
            category_numbers,
            findings,
            sizes_px=images.sizes_px,
            with_masks=with_masks,
            with_keypoints=with_keypoints,
        ),
        headers=document.headers,
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
