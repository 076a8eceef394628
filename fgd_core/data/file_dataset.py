"""Opens one split of a data set in files: checks the annotations against the images and joins both."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fgd_core.data import image_files, plausibility
from fgd_core.data.annotations import Annotations, ObjectTable
from fgd_core.data.cache import ImageCache
from fgd_core.data.findings import Findings, refusal_of
from fgd_core.data.flat_samples import Columns, FlatSamples, count_columns
from fgd_core.data.packed import pack
from fgd_core.data.samples import Category, Sample, Split
from fgd_core.data.usable_boxes import UsableBoxes, usable_boxes, with_usable_masks
from fgd_core.data.usable_images import UsableImages
from fgd_core.data.usable_keypoints import with_usable_keypoints
from fgd_core.errors import DataError
from fgd_core.spec.events import DataChecked


class Contents(NamedTuple):
    """Holds what opening a split finds out."""

    categories: tuple[Category, ...]
    """In the order of their ids."""
    samples: FlatSamples
    """The usable images with their usable objects."""
    checked: DataChecked


def join_contents(annotations: Annotations, images: UsableImages, findings: Findings, *, split: Split) -> Contents:
    """Check the boxes, masks and keypoints of a split against its images, and join all.

    Args:
        findings: the findings from reading the annotations; the findings about images and boxes are added.
    """
    boxes = with_usable_masks(usable_boxes(annotations, images, findings), annotations, images, findings)
    boxes = with_usable_keypoints(boxes, annotations, images, findings)
    plausibility.report_similar_names(annotations.categories, findings)
    samples = FlatSamples(_join(images, boxes, annotations.objects))
    checked = count_columns(split, annotations.categories, samples, findings.report())
    return Contents(annotations.categories, samples, checked)


class FileDataset:
    """Implements `DetectionDataset` for every file format. Bad entries are named, counted, and refused or dropped."""

    def __init__(self, contents: Contents, *, images_folder: Path, source: str) -> None:
        """
        Args:
            images_folder: that file names are relative to; the attribute `folder`.
            source: names the annotations in errors.
        """
        self.folder = images_folder
        self.categories: tuple[Category, ...] = contents.categories
        self.samples: Sequence[Sample] = contents.samples
        self.checked = contents.checked
        self.fingerprint = self.checked.fingerprint
        self._cache = ImageCache()
        self.refusal = self._refusal(source)

    def load_image(self, index: int) -> Tensor:
        """Return an image as (3, H, W) uint8 RGB; see `DetectionDataset`."""
        return self._cache.get(index, self._decode)

    def _decode(self, index: int) -> Tensor:
        sample = self.samples[index]
        pixels = image_files.decode(self.folder / sample.file_name, (sample.width, sample.height))
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()

    def _refusal(self, source: str) -> DataError | None:
        lack = self._lack()
        refusal = refusal_of(
            self.checked.findings,
            f"the {self.checked.split} split of {source}",
            missing=lack[0] if lack is not None else None,
        )
        if refusal is None and lack is not None:
            return DataError(
                "; ".join(lack),
                annotations=source,
                num_images=self.checked.num_images,
                num_crowd=self.checked.num_crowd,
            )
        return refusal

    def _lack(self) -> tuple[str, str] | None:
        """Return what the split lacks, and the cure if no finding explains it; None if it lacks nothing."""
        split = self.checked.split
        if not self.samples:
            return f"the {split} split has no images", "add images"
        if not self.categories:
            return "the annotations contain no classes", "annotate objects"
        if self.checked.num_boxes:
            return None
        lack = f"the {split} split has no boxes to {'learn from' if split == 'train' else 'evaluate on'}"
        if self.checked.num_crowd:
            lack += f": all of its {self.checked.num_crowd} objects are crowds, or `difficult` objects of Pascal VOC"
            return lack, "annotate single objects, or include difficult objects with data.difficult: keep"
        return lack, "annotate objects"


def _join(images: UsableImages, boxes: UsableBoxes, objects: ObjectTable) -> Columns:
    by_image = np.argsort(boxes.image_indices, kind="stable")
    xyxy_px, rows = boxes.xyxy_px[by_image], boxes.rows[by_image]
    sides = xyxy_px[:, 2:].astype(np.float64) - xyxy_px[:, :2]
    areas = objects.areas_px2[rows]
    return Columns(
        image_ids=np.array([entry.image_id for entry in images.entries], dtype=np.int64),
        sizes_px=images.sizes_px,
        file_names=pack([entry.file_name.encode() for entry in images.entries]),
        object_ends=np.bincount(boxes.image_indices, minlength=len(images.entries)).cumsum(dtype=np.int64),
        boxes_xyxy_px=xyxy_px,
        labels=boxes.labels[by_image],
        is_crowd=objects.is_crowd[rows],
        areas_px2=np.where(np.isnan(areas), sides[:, 0] * sides[:, 1], areas),
        masks=None if boxes.masks is None else pack([boxes.masks[index] for index in by_image.tolist()]),
        keypoints=None if boxes.keypoints is None else boxes.keypoints[by_image],
    )
