"""Writes valid COCO data sets, in which tests introduce errors."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from fgd_core.data import open_dataset
from fgd_core.data.samples import DetectionDataset
from fgd_core.spec.data import Coco, CocoSplit
from fgd_core.spec.events import Finding


class CocoFolder:
    """A data set with the categories cat (1) and dog (2)."""

    def __init__(self, root: Path) -> None:
        self.images_folder = root / "images"
        self.annotations_file = root / "annotations.json"
        self.images_folder.mkdir(parents=True)
        self.categories: list[Any] = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
        self.images: list[Any] = []
        self.annotations: list[Any] = []

    def add_image(self, image: Image.Image | None = None, *, file_name: str | None = None, **fields: Any) -> int:
        """Add an image, by default of 40x30 px; `fields` add to its entry or replace values. Returns its id."""
        image = image or Image.new("RGB", (40, 30), (10, 200, 30))
        number = len(self.images) + 1
        file_name = file_name or f"{number}.png"
        options = {"exif": image.getexif()} if len(image.getexif()) else {}
        image.save(self.images_folder / file_name, **options)
        entry = {"id": number, "file_name": file_name, "width": image.width, "height": image.height, **fields}
        self.images.append({key: value for key, value in entry.items() if value is not None})
        return int(entry["id"])

    def add_box(self, image_id: int = 1, bbox: Any = (4, 5, 10, 8), **fields: Any) -> None:
        """Add a box of category 1; `fields` add to its entry or replace values, and None removes a field."""
        entry = {
            "id": len(self.annotations) + 1,
            "image_id": image_id,
            "category_id": 1,
            "bbox": list(bbox) if isinstance(bbox, tuple) else bbox,
            "area": 80,
            "iscrowd": 0,
            **fields,
        }
        self.annotations.append({key: value for key, value in entry.items() if value is not None})

    def write(self) -> CocoSplit:
        self.annotations_file.write_text(
            json.dumps({"images": self.images, "categories": self.categories, "annotations": self.annotations})
        )
        return self.split

    @property
    def split(self) -> CocoSplit:
        return CocoSplit(images=str(self.images_folder), annotations=str(self.annotations_file))

    def open(
        self,
        on_bad: Any = "refuse",
        split: Any = "train",
        *,
        with_masks: bool = False,
        with_keypoints: bool = False,
    ) -> DetectionDataset:
        self.write()
        return self.reopen(on_bad, split, with_masks=with_masks, with_keypoints=with_keypoints)

    def reopen(
        self,
        on_bad: Any = "refuse",
        split: Any = "train",
        *,
        with_masks: bool = False,
        with_keypoints: bool = False,
    ) -> DetectionDataset:
        """Open the data set without writing the annotation file again."""
        coco = Coco(train=self.split, val=self.split, on_bad=on_bad)
        return open_dataset(coco, split, with_masks=with_masks, with_keypoints=with_keypoints)


def finding(dataset: DetectionDataset, problem: str) -> Finding:
    """Return the only finding of a problem."""
    (found,) = [found for found in dataset.checked.findings if found.problem == problem]
    return found
