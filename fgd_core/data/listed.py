"""One split of a data set that lies in files: the tables of what is listed, checked against the images and joined."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fgd_core.data import image_files, plausibility
from fgd_core.data.annotations import AnnotationFile, ObjectTable
from fgd_core.data.cache import ImageCache
from fgd_core.data.findings import Findings, note, refusal_of
from fgd_core.data.masks import Counts, ObjectMasks
from fgd_core.data.samples import Category, Sample, Split, count
from fgd_core.data.segmentations import read_segmentation
from fgd_core.data.sound_images import Images, sound_images
from fgd_core.errors import DataError
from fgd_core.stopping import stoppable

_Flags: TypeAlias = npt.NDArray[np.bool_]


class ListedDataset:
    """See `DetectionDataset`. What is bad is named, counted, and refused or dropped, whatever the format."""

    def __init__(
        self, listed: AnnotationFile, findings: Findings, *, split: Split, images_folder: Path, source: str
    ) -> None:
        """
        Args:
            findings: what reading the tables has found; what the images tell is added.
            images_folder: that the file names are relative to.
            source: names the annotations in errors.
        """
        self._folder = images_folder
        images = sound_images(listed, self._folder, findings)
        boxes = _with_sound_masks(_sound_boxes(listed, images, findings), listed, images, findings)
        plausibility.note_similar_names(listed.categories, findings)
        self.categories: tuple[Category, ...] = listed.categories
        self.samples: Sequence[Sample] = _join(images, boxes, listed.objects) if images.entries else []
        self.checked = count(split, self.categories, self.samples, findings.report())
        self.fingerprint = self.checked.fingerprint
        self._cache = ImageCache()
        self.refusal = self._refusal(source)

    def load_image(self, index: int) -> Tensor:
        return self._cache.get(index, self._decode)

    def _decode(self, index: int) -> Tensor:
        sample = self.samples[index]
        pixels = image_files.decode(self._folder / sample.file_name, (sample.width, sample.height))
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()

    def _refusal(self, source: str) -> DataError | None:
        lacking = self._lacking()
        refusal = refusal_of(
            self.checked.findings,
            f"the {self.checked.split} split of {source}",
            nothing_left=lacking[0] if lacking is not None else None,
        )
        if refusal is None and lacking is not None:
            return DataError(
                "; ".join(lacking),
                annotations=source,
                num_images=self.checked.num_images,
                num_crowd=self.checked.num_crowd,
            )
        return refusal

    def _lacking(self) -> tuple[str, str] | None:
        """What the split has none of and the cure where nothing was found that explains it; None where it has all."""
        split = self.checked.split
        if not self.samples:
            return f"the {split} split has no images", "add some"
        if not self.categories:
            return "the annotations name no class at all", "annotate some objects"
        if not self.checked.num_boxes:
            what = "learn from" if split == "train" else "score"
            lacking = f"the {split} split has no boxes at all, so there is nothing to {what}"
            if self.checked.num_crowd:
                lacking += (
                    f": all of its {self.checked.num_crowd} objects are crowds, or `difficult` ones of Pascal VOC"
                )
                return lacking, "annotate single objects, or count difficult ones with data.difficult: keep"
            return lacking, "annotate some"
        return None


@dataclass(frozen=True, eq=False)
class _Boxes:
    """The annotations that can be used, in the order of the file."""

    rows: npt.NDArray[np.int64]
    """Of the object table."""
    places: npt.NDArray[np.int64]
    """Of the image in `Images`."""
    labels: npt.NDArray[np.int64]
    xyxy_px: npt.NDArray[np.float32]
    masks: list[Counts] | None = None
    """None where they are not read, or no annotation has one."""


def _sound_boxes(listed: AnnotationFile, images: Images, findings: Findings) -> _Boxes:
    objects = listed.objects
    known = np.isin(objects.image_ids, np.array(sorted(listed.listed_ids), dtype=np.int64))
    note(findings, "unknown_image", ~known, lambda row: f"{objects.names[row]}: image {objects.image_ids[row]}")
    category_ids = np.array([category.id for category in listed.categories], dtype=np.int64)
    is_shifted = plausibility.is_shifted(objects.category_ids, category_ids)
    listed_category = np.isin(objects.category_ids, category_ids)
    note(
        findings,
        "shifted_category_ids" if is_shifted else "unknown_category",
        ~listed_category,
        lambda row: f"{objects.names[row]}: category {objects.category_ids[row]}",
    )
    # An image that was left out takes its boxes with it; it has been counted already.
    image_ids = np.array([entry.image_id for entry in images.entries], dtype=np.int64)
    rows = np.flatnonzero(np.isin(objects.image_ids, image_ids) & listed_category)
    order = np.argsort(image_ids)
    places = order[np.searchsorted(image_ids, objects.image_ids[rows], sorter=order)]
    corners = objects.boxes_xywh_px[rows]
    corners[:, 2:] += corners[:, :2]
    if listed.is_normalised:
        corners *= np.tile(images.sizes_px[places], 2)
    name = _namer(objects, images, rows, places)
    xyxy_px, usable = _clip(corners, images.sizes_px[places], findings, name)
    usable &= ~plausibility.note_units(xyxy_px, usable, findings, name, is_normalised=listed.is_normalised)
    if objects.outlines_xyxy_px is not None:
        usable &= ~_note_outlines(xyxy_px, usable, objects, rows, images.sizes_px[places], findings, name)
    objects_in = np.bincount(places[usable & ~objects.is_crowd[rows]], minlength=len(images.entries))
    plausibility.note_many(objects_in, [entry.file_name for entry in images.entries], findings)
    return _Boxes(
        rows=rows[usable],
        places=places[usable],
        labels=np.searchsorted(category_ids, objects.category_ids[rows[usable]]).astype(np.int64),
        xyxy_px=xyxy_px[usable],
    )


def _note_outlines(  # noqa: PLR0917 - columns of one table
    xyxy_px: npt.NDArray[np.float32],
    usable: _Flags,
    objects: ObjectTable,
    rows: npt.NDArray[np.int64],
    sizes_px: npt.NDArray[np.int64],
    findings: Findings,
    name: Callable[[int], str],
) -> _Flags:
    """(n,) which boxes are off their own polygon; reports those that are unlike it, or corners, too."""
    assert objects.outlines_xyxy_px is not None
    outlines = objects.outlines_xyxy_px[rows]
    if "boxes_as_corners" in findings:
        # Corners that were taken for sizes are unlike their polygon as well.
        return np.zeros_like(usable)
    note(findings, "boxes_as_corners", plausibility.are_corners(objects.boxes_xywh_px[rows], sizes_px), name)
    apart = plausibility.note_apart(
        xyxy_px, usable, outlines, sizes_px, findings=findings, name=name, problem="box_off_its_polygon"
    )
    plausibility.note_unlike(xyxy_px, usable & ~apart, outlines, sizes_px, findings=findings, name=name)
    return apart


def _clip(
    corners: npt.NDArray[np.float64], sizes_px: npt.NDArray[np.int64], findings: Findings, name: Callable[[int], str]
) -> tuple[npt.NDArray[np.float32], _Flags]:
    """(n, 4) corners inside the image, and (n,) which of them are boxes at all."""
    well_formed: _Flags = np.logical_and.reduce(np.isfinite(corners), axis=1)
    with np.errstate(over="ignore"):
        # In the precision that is trained on: a side that vanishes in rounding is no side.
        xyxy_px = corners.astype(np.float32)
    clipped = xyxy_px.clip(0, np.tile(sizes_px, 2)).astype(np.float32)
    turned_over: _Flags = well_formed & ((corners[:, 2] < corners[:, 0]) | (corners[:, 3] < corners[:, 1]))
    has_area: _Flags = np.logical_and(well_formed, _have_sides(xyxy_px))
    usable: _Flags = np.logical_and(has_area, _have_sides(clipped))
    changed: _Flags = np.logical_or.reduce(np.not_equal(clipped, xyxy_px), axis=1)

    note(findings, "malformed_box", ~well_formed, name)
    note(
        findings,
        "negative_box_size",
        turned_over,
        lambda place: f"{name(place)}: corners {', '.join(f'{edge:g}' for edge in corners[place])}",
    )
    note(findings, "box_without_area", well_formed & ~has_area & ~turned_over, name)
    note(findings, "box_outside_image", has_area & ~usable, name)
    note(findings, "box_past_border", usable & changed, name)
    return clipped, usable


def _with_sound_masks(boxes: _Boxes, listed: AnnotationFile, images: Images, findings: Findings) -> _Boxes:
    """Boxes with their masks, where masks were asked for and there are any; those whose mask is bad are left out."""
    objects = listed.objects
    if objects.segmentations is None:
        return boxes
    sizes_px = images.sizes_px.tolist()
    in_px = _in_px if listed.is_normalised else lambda segmentation, size_px: segmentation
    read = [
        read_segmentation(in_px(objects.segmentations[row], sizes_px[place]), sizes_px[place])
        for row, place in stoppable(zip(boxes.rows.tolist(), boxes.places.tolist(), strict=True), every=10_000)
    ]
    if all(found.problem == "missing_mask" for found in read):
        return boxes
    name = _namer(objects, images, boxes.rows, boxes.places)
    problems = np.array([found.problem or "" for found in read])
    for problem in np.unique(problems[problems != ""]).tolist():
        note(findings, problem, problems == problem, name)
    note(findings, "mask_past_border", np.array([found.is_past_border for found in read]), name)
    usable: _Flags = problems == ""
    bounds = np.array([found.bounds_xyxy_px(sizes_px[p]) for found, p in zip(read, boxes.places, strict=True)])
    usable &= ~plausibility.note_apart(
        boxes.xyxy_px,
        usable,
        bounds.reshape(-1, 4),
        images.sizes_px[boxes.places],
        findings=findings,
        name=name,
        problem="box_off_its_mask",
    )
    return _Boxes(
        rows=boxes.rows[usable],
        places=boxes.places[usable],
        labels=boxes.labels[usable],
        xyxy_px=boxes.xyxy_px[usable],
        masks=[found.counts for found, is_usable in zip(read, usable, strict=True) if is_usable and found.counts],
    )


def _in_px(polygons: list[list[float]] | None, size_px: tuple[int, int]) -> list[list[float]] | None:
    """Polygons in fractions of the image's sides, scaled."""
    if polygons is None:
        return None
    return [(np.reshape(polygon, (-1, 2)) * size_px).ravel().tolist() for polygon in polygons]


def _have_sides(xyxy_px: npt.NDArray[np.float32]) -> _Flags:
    both: _Flags = np.logical_and(xyxy_px[:, 2] > xyxy_px[:, 0], xyxy_px[:, 3] > xyxy_px[:, 1])
    return both


def _namer(
    objects: ObjectTable, images: Images, rows: npt.NDArray[np.int64], places: npt.NDArray[np.int64]
) -> Callable[[int], str]:
    return lambda index: f"{objects.names[rows[index]]} in {images.entries[places[index]].file_name}"


def _join(images: Images, boxes: _Boxes, objects: ObjectTable) -> list[Sample]:
    by_image = np.argsort(boxes.places, kind="stable")
    ends = np.searchsorted(boxes.places[by_image], np.arange(1, len(images.entries)))
    xyxy_px = boxes.xyxy_px[by_image]
    rows = boxes.rows[by_image]
    sides = xyxy_px[:, 2:].astype(np.float64) - xyxy_px[:, :2]
    areas = objects.areas_px2[rows]
    columns = (
        xyxy_px,
        boxes.labels[by_image],
        objects.is_crowd[rows],
        np.where(np.isnan(areas), sides[:, 0] * sides[:, 1], areas),
    )
    parts = zip(*(np.split(column, ends) for column in columns), strict=True)
    masks = _of_images(boxes.masks, by_image, ends) if boxes.masks is not None else [None] * len(images.entries)
    return [
        Sample(
            image_id=entry.image_id,
            file_name=entry.file_name,
            height=height,
            width=width,
            boxes_xyxy_px=own_boxes,
            labels=own_labels,
            is_crowd=own_crowd,
            areas_px2=own_areas,
            masks=None if own_masks is None else ObjectMasks(height, width, own_masks),
        )
        for entry, (width, height), (own_boxes, own_labels, own_crowd, own_areas), own_masks in zip(
            images.entries, images.sizes_px.tolist(), parts, masks, strict=True
        )
    ]


def _of_images(
    masks: list[Counts], by_image: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> list[tuple[Counts, ...] | None]:
    ordered = [masks[index] for index in by_image.tolist()]
    bounds = [0, *ends.tolist(), len(ordered)]
    return [tuple(ordered[start:end]) for start, end in pairwise(bounds)]
