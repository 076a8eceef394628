"""Any data set in the layout of Pascal VOC, checked at opening; see `voc_folder` for where its files lie.

Corners in the XML are pixels counted from 1, both ends inside the box (unless the spec says otherwise): xmin and ymin
lose one and become the box's left and upper edge, xmax and ymax are its right and lower edge as they stand.
Source: the VOC2012 development kit, section 9.1 and `VOCevaldet.m`, where a width is xmax - xmin + 1.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fgd_core.data import voc_folder
from fgd_core.data.annotations import AnnotationFile, ImageEntry
from fgd_core.data.findings import NUM_EXAMPLES, Findings
from fgd_core.data.listed import ListedDataset
from fgd_core.data.rows import ObjectRow, columns
from fgd_core.data.samples import Category, Split
from fgd_core.data.voc_folder import ImageSet
from fgd_core.data.voc_xml import Annotation, Corners, VocObject, read_annotation
from fgd_core.spec import data as spec
from fgd_core.stopping import stoppable

_UNKNOWN = -1
"""Of a class that is not listed; no category has it."""

_FILES_A_QUESTION = 256
_RARE = 0.01
"""Share of objects up to which corners between pixels are an oddity: VOC2012 itself has a few among 40,000."""


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
        own, other = (voc.train, voc.val) if split == "train" else (voc.val, voc.train)
        images = voc_folder.image_set(folder, own)
        # Of both splits: a class that only one of them has must not move the labels of the others.
        others = voc_folder.image_set(folder, other) if voc.classes is None and other != own else None
        listed = _read(voc, images, others, findings)
        super().__init__(listed, findings, split=split, images_folder=images.images_folder, source=str(images.source))


@dataclass(frozen=True)
class _Listed:
    name: str
    """Of the image, without its ending."""
    annotation: Annotation


def _read(voc: spec.Voc, image_set: ImageSet, others: ImageSet | None, findings: Findings) -> AnnotationFile:
    listed = [*_annotations(image_set, findings)]
    everything = [*listed, *(_annotations(others, Findings("drop")) if others is not None else ())]
    classes = voc.classes if voc.classes is not None else sorted(_class_names(everything))
    for name in sorted({name for name in classes if classes.count(name) > 1}):
        findings.add("duplicate_category_name", name)
    if voc.one_based:
        _note_fractions(listed, everything, findings)
    images: list[ImageEntry] = []
    rows: list[ObjectRow] = []
    category_ids = {name: number for number, name in enumerate(classes, start=1)}
    for image_id, one in enumerate(listed, start=1):
        file_name = _file_of(one, image_set.images, findings)
        if file_name is not None:
            images.append(ImageEntry(image_id=image_id, file_name=file_name, size_px=one.annotation.size_px))
            rows.extend(_rows(voc, one, image_id, category_ids, findings))
    return AnnotationFile(
        categories=tuple(Category(id=number, name=name) for name, number in category_ids.items()),
        images=images,
        listed_ids=frozenset(entry.image_id for entry in images),
        objects=columns(rows),
    )


def _annotations(image_set: ImageSet, findings: Findings) -> Iterator[_Listed]:
    seen: set[str] = set()
    for name in stoppable(image_set.names, every=_FILES_A_QUESTION):
        path = PurePosixPath(name.replace("\\", "/"))
        if name in seen:
            findings.add("repeated_image", name)
            continue
        seen.add(name)
        file = image_set.annotations.get(name)
        found = "missing_annotation_file" if file is None else read_annotation(file)
        if file is None and (path.is_absolute() or ".." in path.parts):
            findings.add("bad_name", name)
        elif isinstance(found, str):
            findings.add(found, f"{name}.xml")
        else:
            yield _Listed(name, found)


def _class_names(listed: Iterable[_Listed]) -> set[str]:
    return {found.class_name for one in listed for found in one.annotation.objects if found.class_name}


def _note_fractions(listed: Sequence[_Listed], everything: Sequence[_Listed], findings: Findings) -> None:
    """Pixels are counted in whole numbers, so a tool that writes others as a habit does not count pixels."""
    fractional = [called for called, found in _objects(listed) if _is_between_pixels(found)]
    num_fractional = sum(_is_between_pixels(found) for _, found in _objects(everything))
    is_rare = num_fractional <= _RARE * sum(1 for _ in _objects(everything))
    problem = "fractional_corner" if is_rare else "corners_between_pixels"
    findings.add_many(problem, fractional[:NUM_EXAMPLES], num_in_all=len(fractional))


def _objects(listed: Iterable[_Listed]) -> Iterator[tuple[str, VocObject]]:
    """Each object with its name for findings."""
    for one in listed:
        for place, found in enumerate(one.annotation.objects, start=1):
            yield f"object {place} of {one.name}.xml", found


def _is_between_pixels(found: VocObject) -> bool:
    return found.corners is not None and any(math.isfinite(corner) and corner % 1 for corner in found.corners)


def _file_of(one: _Listed, images: Mapping[str, Sequence[str]], findings: Findings) -> str | None:
    told = PurePosixPath(one.annotation.file_name.replace("\\", "/")).name
    if one.name not in images and voc_folder.without_ending(told) in images:
        findings.add("image_by_file_name", f"{one.name}.xml: {told}")
        return _only(images[voc_folder.without_ending(told)], told, findings)
    if told and PurePosixPath(one.name).name not in (told, PurePosixPath(told).stem):
        findings.add("other_file_name", f"{one.name}.xml: {told}")
    return _only(images.get(one.name, [f"{one.name}.jpg"]), told, findings)


def _only(candidates: Sequence[str], told: str, findings: Findings) -> str | None:
    """The only one, or else the one that the annotation names."""
    named = [candidate for candidate in candidates if PurePosixPath(candidate).name == told]
    if len(candidates) > 1 and len(named) != 1:
        findings.add("ambiguous_image_file", ", ".join(candidates))
        return None
    return candidates[0] if len(candidates) == 1 else named[0]


def _rows(
    voc: spec.Voc, one: _Listed, image_id: int, category_ids: Mapping[str, int], findings: Findings
) -> Iterator[ObjectRow]:
    for called, found in _objects([one]):
        problem = _problem_of(found)
        if problem is not None or found.corners is None:
            findings.add(problem or "malformed_object", called)
            continue
        if found.is_polygon:
            findings.add("box_from_polygon", called)
        if voc.one_based and 0 in found.corners[:2]:
            findings.add("corner_zero", called)
        category_id = category_ids.get(found.class_name, _UNKNOWN)
        yield ObjectRow(
            name=called if category_id != _UNKNOWN else f"{called} ({found.class_name})",
            image_id=image_id,
            category_id=category_id,
            box_xywh=_box_xywh_px(found.corners, one_based=voc.one_based),
            is_crowd=bool(found.is_difficult) and voc.difficult == "ignore",
        )


def _problem_of(found: VocObject) -> str | None:
    if found.is_rotated:
        return "rotated_box"
    if not found.class_name or found.corners is None:
        return "malformed_object"
    return "unclear_difficult" if found.is_difficult is None else None


def _box_xywh_px(corners: Corners, *, one_based: bool) -> tuple[float, ...]:
    xmin, ymin, xmax, ymax = corners
    first = 1 if one_based else 0
    return (xmin - first, ymin - first, xmax - xmin + first, ymax - ymin + first)
