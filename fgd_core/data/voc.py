"""Any data set in the layout of Pascal VOC, checked at opening.

    Annotations/<name>.xml   JPEGImages/<name>.jpg   ImageSets/Main/<image set>.txt

Corners in the XML are pixels counted from 1, both ends inside the box (unless the spec says otherwise): xmin and ymin
lose one and become the box's left and upper edge, xmax and ymax are its right and lower edge as they stand.
Source: the VOC2012 development kit, section 9.1 and `VOCevaldet.m`, where a width is xmax - xmin + 1.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fgd_core.data.annotations import AnnotationFile, ImageEntry
from fgd_core.data.findings import Findings
from fgd_core.data.image_files import SUFFIXES
from fgd_core.data.listed import ListedDataset
from fgd_core.data.rows import ObjectRow, columns
from fgd_core.data.samples import Category, Split
from fgd_core.data.voc_xml import Annotation, VocObject, read_annotation
from fgd_core.errors import DataError, StorageError
from fgd_core.spec import data as spec

_UNKNOWN = -1
"""Of a class that is not listed; no category has it."""


class VocDataset(ListedDataset):
    """See `DetectionDataset`. Categories are numbered from 1; those of both splits are the same."""

    def __init__(self, voc: spec.Voc, split: Split, *, with_masks: bool = False) -> None:
        """
        Args:
            with_masks: makes no difference: the annotations of objects have none.
        Raises:
            DataError: a file or folder is missing.
            StorageError: a file is there and cannot be read.
        """
        folder = Path(voc.folder).expanduser()
        findings = Findings(voc.on_bad)
        listed = _read(voc, folder, split, findings)
        image_set = voc.train if split == "train" else voc.val
        super().__init__(
            listed,
            findings,
            split=split,
            images_folder=folder / "JPEGImages",
            source=str(_image_set_file(folder, image_set)),
        )


@dataclass(frozen=True)
class _Listed:
    name: str
    """Of the image, without its ending."""
    annotation: Annotation


def _read(voc: spec.Voc, folder: Path, split: Split, findings: Findings) -> AnnotationFile:
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        if not (folder / part).is_dir():
            raise DataError(
                f"the folder has no {part}; name one in the layout of Pascal VOC in data.folder", path=str(folder)
            )
    own, other = (voc.train, voc.val) if split == "train" else (voc.val, voc.train)
    listed = list(_annotations(folder, own, findings))
    if voc.classes is None:
        # Of both splits: a class that only one of them has must not move the labels of the others.
        rest = _annotations(folder, other, Findings("drop")) if other != own else ()
        classes: Sequence[str] = sorted(_class_names([*listed, *rest]))
    else:
        classes = voc.classes
        for name in sorted({name for name in classes if classes.count(name) > 1}):
            findings.add("duplicate_category_name", name)
    files = _files_by_name(folder / "JPEGImages")
    images: list[ImageEntry] = []
    rows: list[ObjectRow] = []
    category_ids = {name: number for number, name in enumerate(classes, start=1)}
    for image_id, one in enumerate(listed, start=1):
        file_name = _file_of(one, files.get(one.name, []), findings)
        if file_name is not None:
            images.append(ImageEntry(image_id=image_id, file_name=file_name, size_px=one.annotation.size_px))
            rows.extend(_rows(voc, one, image_id, category_ids, findings))
    return AnnotationFile(
        categories=tuple(Category(id=number, name=name) for name, number in category_ids.items()),
        images=images,
        listed_ids=frozenset(entry.image_id for entry in images),
        objects=columns(rows),
    )


def _annotations(folder: Path, image_set: str, findings: Findings) -> Iterator[_Listed]:
    seen: set[str] = set()
    for name in _names(folder, image_set):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            findings.add("bad_name", name)
        elif name in seen:
            findings.add("repeated_image", name)
        else:
            seen.add(name)
            found = read_annotation(folder / "Annotations" / f"{name}.xml")
            if isinstance(found, str):
                findings.add(found, f"{name}.xml")
            else:
                yield _Listed(name, found)


def _names(folder: Path, image_set: str) -> list[str]:
    path = _image_set_file(folder, image_set)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError) as error:
        there = sorted(each.stem for each in path.parent.glob("*.txt") if "_" not in each.stem)
        raise DataError(
            f"there is no image set {image_set!r}; choose data.train and data.val among those in ImageSets/Main",
            path=str(path),
            image_sets=[*there[:20]],
        ) from error
    except UnicodeDecodeError as error:
        raise DataError("the image set is no text in UTF-8; write one name a line", path=str(path)) from error
    except OSError as error:
        raise StorageError("the image set cannot be read", path=str(path), cause=str(error)) from error
    # The image sets of one class have a second column, whether the class is in the image.
    return [line.split()[0] for line in text.splitlines() if line.strip()]


def _image_set_file(folder: Path, image_set: str) -> Path:
    return folder / "ImageSets" / "Main" / f"{image_set}.txt"


def _class_names(listed: Iterable[_Listed]) -> set[str]:
    return {found.class_name for one in listed for found in one.annotation.objects if found.class_name}


def _files_by_name(folder: Path) -> dict[str, list[str]]:
    """Image files by their path without its ending, both relative to the folder."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES:
            relative = path.relative_to(folder)
            found.setdefault(relative.with_suffix("").as_posix(), []).append(relative.as_posix())
    return found


def _file_of(one: _Listed, candidates: Sequence[str], findings: Findings) -> str | None:
    told = PurePosixPath(one.annotation.file_name.replace("\\", "/")).name
    if told and PurePosixPath(one.name).name not in (told, PurePosixPath(told).stem):
        findings.add("other_file_name", f"{one.name}.xml: {told}")
    if len(candidates) > 1:
        named = [candidate for candidate in candidates if PurePosixPath(candidate).name == told]
        if len(named) != 1:
            findings.add("ambiguous_image_file", ", ".join(candidates))
            return None
        return named[0]
    return candidates[0] if candidates else f"{one.name}.jpg"


def _rows(
    voc: spec.Voc, one: _Listed, image_id: int, category_ids: Mapping[str, int], findings: Findings
) -> Iterator[ObjectRow]:
    for place, found in enumerate(one.annotation.objects, start=1):
        called = f"object {place} of {one.name}.xml"
        if not found.class_name or found.corners is None:
            findings.add("malformed_object", called)
            continue
        if voc.one_based and 0 in found.corners[:2]:
            findings.add("corner_zero", called)
        category_id = category_ids.get(found.class_name, _UNKNOWN)
        yield ObjectRow(
            name=called if category_id != _UNKNOWN else f"{called} ({found.class_name})",
            image_id=image_id,
            category_id=category_id,
            box_xywh=_box_xywh_px(found, one_based=voc.one_based),
            is_crowd=found.is_difficult and voc.difficult == "ignore",
        )


def _box_xywh_px(found: VocObject, *, one_based: bool) -> tuple[float, ...]:
    assert found.corners is not None
    xmin, ymin, xmax, ymax = found.corners
    first = 1 if one_based else 0
    return (xmin - first, ymin - first, xmax - xmin + first, ymax - ymin + first)
