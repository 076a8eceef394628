"""Opens data sets in the layout of Pascal VOC and checks them; `voc_folder` finds their files.

Corners in the XML are pixels counted from 1, and both ends belong to the box (unless the spec says otherwise). So 1 is
subtracted from xmin and ymin, which gives the left and top edge; xmax and ymax are already the right and bottom edge.
Source: the VOC2012 development kit, section 9.1 and `VOCevaldet.m`, where a width is xmax - xmin + 1.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from fgd_core.data import voc_folder
from fgd_core.data.annotations import Annotations, ImageEntry, ObjectRow, object_table
from fgd_core.data.file_dataset import FileDataset, join_contents
from fgd_core.data.findings import NUM_EXAMPLES, Findings
from fgd_core.data.samples import Category, Split
from fgd_core.data.usable_images import usable_images
from fgd_core.data.voc_folder import ImageSet
from fgd_core.data.voc_xml import Corners, VocObject, XmlAnnotation, read_xml
from fgd_core.spec import data as spec
from fgd_core.stopping import stoppable

_UNKNOWN = -1
"""Category id of a class that is not listed; no category has it."""

_FILES_PER_STOP_CHECK = 256
_MAX_FRACTIONAL_SHARE = 0.01
"""Up to this share of objects, corners between pixels are exceptions: VOC2012 has a few among 40,000."""


class VocDataset(FileDataset):
    """Holds one split of a VOC data set; see `DetectionDataset`. Categories of both splits are numbered from 1."""

    def __init__(self, voc: spec.Voc, split: Split, *, with_masks: bool = False, with_keypoints: bool = False) -> None:
        """
        Args:
            with_masks, with_keypoints: have no effect, because VOC annotations contain neither.
        Raises:
            DataError: a file or folder is missing.
            StorageError: a file exists but cannot be read.
        """
        folder = Path(voc.folder).expanduser()
        findings = Findings(voc.on_bad)
        own, other = (voc.train, voc.val) if split == "train" else (voc.val, voc.train)
        image_set = voc_folder.image_set(folder, own)
        # Classes come from both splits: a class in only one split must not shift the labels of the others.
        other_set = voc_folder.image_set(folder, other) if voc.classes is None and other != own else None
        annotations = _read(voc, image_set, other_set, findings)
        source = str(image_set.source)
        images = usable_images(annotations, image_set.images_folder, findings)
        contents = join_contents(annotations, images, findings, split=split)
        super().__init__(contents, images_folder=image_set.images_folder, source=source)


class _Listed(NamedTuple):
    name: str
    """Name of the image, without suffix."""
    annotation: XmlAnnotation


def _read(voc: spec.Voc, image_set: ImageSet, other_set: ImageSet | None, findings: Findings) -> Annotations:
    listed = [*_annotations(image_set, findings)]
    of_both = [*listed, *(_annotations(other_set, Findings("drop")) if other_set is not None else ())]
    classes = voc.classes if voc.classes is not None else sorted(_class_names(of_both))
    for name in sorted({name for name in classes if classes.count(name) > 1}):
        findings.add("duplicate_category_name", name)
    if voc.one_based:
        _report_fractions(listed, of_both, findings)
    images: list[ImageEntry] = []
    rows: list[ObjectRow] = []
    category_ids = {name: number for number, name in enumerate(classes, start=1)}
    for image_id, each in enumerate(listed, start=1):
        file_name = _image_file(each, image_set.images, findings)
        if file_name is not None:
            images.append(ImageEntry(image_id=image_id, file_name=file_name, size_px=each.annotation.size_px))
            rows.extend(_rows(voc, each, image_id, category_ids, findings))
    return Annotations(
        categories=tuple(Category(id=number, name=name) for name, number in category_ids.items()),
        images=images,
        listed_ids=frozenset(entry.image_id for entry in images),
        objects=object_table(rows),
    )


def _annotations(image_set: ImageSet, findings: Findings) -> Iterator[_Listed]:
    seen: set[str] = set()
    for name in stoppable(image_set.names, every=_FILES_PER_STOP_CHECK):
        path = PurePosixPath(name.replace("\\", "/"))
        if name in seen:
            findings.add("repeated_image", name)
            continue
        seen.add(name)
        file = image_set.annotations.get(name)
        annotation = "missing_annotation_file" if file is None else read_xml(file)
        if file is None and (path.is_absolute() or ".." in path.parts):
            findings.add("bad_name", name)
        elif isinstance(annotation, str):
            findings.add(annotation, f"{name}.xml")
        else:
            yield _Listed(name, annotation)


def _class_names(listed: Iterable[_Listed]) -> set[str]:
    return {found.class_name for each in listed for found in each.annotation.objects if found.class_name}


def _report_fractions(listed: Sequence[_Listed], of_both: Sequence[_Listed], findings: Findings) -> None:
    """Report corners that are not integers. If they are frequent, the tool that wrote them does not count pixels."""
    fractional = [name for name, found in _objects(listed) if _is_between_pixels(found)]
    num_fractional = sum(_is_between_pixels(found) for _, found in _objects(of_both))
    is_rare = num_fractional <= _MAX_FRACTIONAL_SHARE * sum(1 for _ in _objects(of_both))
    problem = "fractional_corner" if is_rare else "corners_between_pixels"
    findings.add_many(problem, fractional[:NUM_EXAMPLES], count=len(fractional))


def _objects(listed: Iterable[_Listed]) -> Iterator[tuple[str, VocObject]]:
    """Yield each object with its name in findings."""
    for each in listed:
        for place, found in enumerate(each.annotation.objects, start=1):
            yield f"object {place} of {each.name}.xml", found


def _is_between_pixels(found: VocObject) -> bool:
    return found.corners is not None and any(math.isfinite(corner) and corner % 1 for corner in found.corners)


def _image_file(listed: _Listed, images: Mapping[str, Sequence[str]], findings: Findings) -> str | None:
    """Return the image file of an annotation; None if several files match."""
    file_name = PurePosixPath(listed.annotation.file_name.replace("\\", "/")).name
    if listed.name not in images and voc_folder.without_suffix(file_name) in images:
        findings.add("image_by_file_name", f"{listed.name}.xml: {file_name}")
        return _only(images[voc_folder.without_suffix(file_name)], file_name, findings)
    if file_name and PurePosixPath(listed.name).name not in (file_name, PurePosixPath(file_name).stem):
        findings.add("other_file_name", f"{listed.name}.xml: {file_name}")
    return _only(images.get(listed.name, [f"{listed.name}.jpg"]), file_name, findings)


def _only(candidates: Sequence[str], file_name: str, findings: Findings) -> str | None:
    """Return the only candidate, or the one that the annotation names."""
    named = [candidate for candidate in candidates if PurePosixPath(candidate).name == file_name]
    if len(candidates) > 1 and len(named) != 1:
        findings.add("ambiguous_image_file", ", ".join(candidates))
        return None
    return candidates[0] if len(candidates) == 1 else named[0]


def _rows(
    voc: spec.Voc, listed: _Listed, image_id: int, category_ids: Mapping[str, int], findings: Findings
) -> Iterator[ObjectRow]:
    for name, found in _objects([listed]):
        problem = _problem(found)
        if problem is not None or found.corners is None:
            findings.add(problem or "malformed_object", name)
            continue
        if found.is_polygon:
            findings.add("box_from_polygon", name)
        if voc.one_based and 0 in found.corners[:2]:
            findings.add("corner_zero", name)
        category_id = category_ids.get(found.class_name, _UNKNOWN)
        yield ObjectRow(
            name=name if category_id != _UNKNOWN else f"{name} ({found.class_name})",
            image_id=image_id,
            category_id=category_id,
            box_xywh=_box_xywh_px(found.corners, one_based=voc.one_based),
            is_crowd=bool(found.is_difficult) and voc.difficult == "ignore",
        )


def _problem(found: VocObject) -> str | None:
    if found.is_rotated:
        return "rotated_box"
    if not found.class_name or found.corners is None:
        return "malformed_object"
    return "unclear_difficult" if found.is_difficult is None else None


def _box_xywh_px(corners: Corners, *, one_based: bool) -> tuple[float, ...]:
    xmin, ymin, xmax, ymax = corners
    first = 1 if one_based else 0
    return (xmin - first, ymin - first, xmax - xmin + first, ymax - ymin + first)
