"""Writes valid YOLO data sets, in which tests introduce errors."""

from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from fgd_core.data import open_dataset
from fgd_core.data.samples import DetectionDataset
from fgd_core.spec.data import Yolo

BOX = "0 0.225 0.3 0.25 0.2666666666666667"
"""A label of class 0 from (4, 5) to (14, 13) in an image of 40x30 px."""


class YoloFolder:
    """A data set with the classes cat and dog."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.document: dict[str, Any] = {"names": ["cat", "dog"], "train": "images/train", "val": "images/val"}
        root.mkdir()

    def add(self, name: str, labels: str | bytes | None = BOX, *, at: str = "images/train") -> None:
        """Write an image of 40x30 px to `at`/`name`, and its label file unless `labels` is None."""
        image = self.root / at / name
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (10, 200, 30)).save(image)
        if labels is not None:
            path = self.root / at.replace("images", "labels") / Path(name).with_suffix(".txt")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(labels.encode() if isinstance(labels, str) else labels)

    def open(self, split: Any = "train", *, with_masks: bool = False, **fields: Any) -> DetectionDataset:
        return self.open_text(yaml.safe_dump(self.document).encode(), split, with_masks=with_masks, **fields)

    def open_text(
        self, content: bytes, split: Any = "train", *, with_masks: bool = False, **fields: Any
    ) -> DetectionDataset:
        """Open the data set with this content of data.yaml."""
        path = self.root / "data.yaml"
        path.write_bytes(content)
        return open_dataset(Yolo(data_yaml=str(path), **fields), split, with_masks=with_masks)

    def open_with_names(self, text: str) -> DetectionDataset:
        """Open the data set with this YAML text as `names`."""
        return self.open_text(f"train: images/train\nval: images/val\nnames: {text}\n".encode())
