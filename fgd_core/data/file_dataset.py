"""Opens one split of a data set in files: checks the annotations against the images and joins both."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fgd_core.data import image_files, plausibility
from fgd_core.data.annotations import Annotations, ObjectTable
from fgd_core.data.cache import ImageCache
from fgd_core.data.findings import Findings, refusal_of
from fgd_core.data.masks import Counts, ObjectMasks
from fgd_core.data.samples import Category, Sample, Split, count
from fgd_core.data.usable_boxes import UsableBoxes, usable_boxes, with_usable_masks
from fgd_core.data.usable_images import UsableImages, usable_images
from fgd_core.data.usable_keypoints import with_usable_keypoints
from fgd_core.errors import DataError


class FileDataset:
    """Implements `DetectionDataset` for every file format. Bad entries are named, counted, and refused or dropped."""

    def __init__(
        self, annotations: Annotations, findings: Findings, *, split: Split, images_folder: Path, source: str
    ) -> None:
        """
        Args:
            findings: the findings from reading the annotations; the findings about images and boxes are added.
            images_folder: that file names are relative to.
            source: names the annotations in errors.
        """
        self._folder = images_folder
        images = usable_images(annotations, self._folder, findings)
        boxes = with_usable_masks(usable_boxes(annotations, images, findings), annotations, images, findings)
        boxes = with_usable_keypoints(boxes, annotations, images, findings)
        plausibility.report_similar_names(annotations.categories, findings)
        self.categories: tuple[Category, ...] = annotations.categories
        self.samples: Sequence[Sample] = _join(images, boxes, annotations.objects) if images.entries else []
        self.checked = count(split, self.categories, self.samples, findings.report())
        self.fingerprint = self.checked.fingerprint
        self._cache = ImageCache()
        self.refusal = self._refusal(source)

    def load_image(self, index: int) -> Tensor:
        """Return an image as (3, H, W) uint8 RGB; see `DetectionDataset`."""
        return self._cache.get(index, self._decode)

    def _decode(self, index: int) -> Tensor:
        sample = self.samples[index]
        pixels = image_files.decode(self._folder / sample.file_name, (sample.width, sample.height))
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


def _join(images: UsableImages, boxes: UsableBoxes, objects: ObjectTable) -> list[Sample]:
    by_image = np.argsort(boxes.image_indices, kind="stable")
    ends = np.searchsorted(boxes.image_indices[by_image], np.arange(1, len(images.entries)))
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
    masks = _split_masks(boxes.masks, by_image, ends) if boxes.masks is not None else [None] * len(images.entries)
    keypoints: Sequence[npt.NDArray[np.float32] | None] = [None] * len(images.entries)
    if boxes.keypoints is not None:
        keypoints = np.split(boxes.keypoints[by_image], ends)
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
            keypoints=own_keypoints,
        )
        for entry, (width, height), (own_boxes, own_labels, own_crowd, own_areas), own_masks, own_keypoints in zip(
            images.entries, images.sizes_px.tolist(), parts, masks, keypoints, strict=True
        )
    ]


def _split_masks(
    masks: list[Counts], by_image: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> list[tuple[Counts, ...] | None]:
    """Return the masks of each image.

    Args:
        by_image: (n,) indices of the masks, sorted by image.
        ends: (number of images - 1,) where in `by_image` each image ends, except the last.
    """
    ordered = [masks[index] for index in by_image.tolist()]
    bounds = [0, *ends.tolist(), len(ordered)]
    return [tuple(ordered[start:end]) for start, end in pairwise(bounds)]
