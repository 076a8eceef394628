"""Writes a split of the generated data set as files in COCO format."""

import json
from pathlib import Path

from PIL import Image

from fgd_core.data.samples import Split
from fgd_core.data.shapes import ShapesDataset
from fgd_core.spec import data as spec


def to_coco(shapes: spec.Shapes, split: Split, folder: Path) -> spec.CocoSplit:
    """Write a split to `folder/<split>` (PNG) and `folder/annotations_<split>.json`: COCO with masks and keypoints."""
    dataset = ShapesDataset(shapes, split, with_masks=True, with_keypoints=True)
    images = folder / split
    images.mkdir(parents=True, exist_ok=True)
    annotations: list[dict[str, object]] = []
    for index, sample in enumerate(dataset.samples):
        Image.fromarray(dataset.load_image(index).permute(1, 2, 0).numpy()).save(images / sample.file_name)
        assert sample.masks is not None and sample.keypoints is not None
        boxes, labels, areas_px2 = sample.boxes_xyxy_px.tolist(), sample.labels.tolist(), sample.areas_px2.tolist()
        rows = zip(boxes, labels, areas_px2, sample.masks.counts, sample.keypoints, strict=True)
        for (x1, y1, x2, y2), label, area_px2, counts, keypoints in rows:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": sample.image_id,
                    "category_id": dataset.categories[label].id,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": int(area_px2),
                    "iscrowd": 0,
                    "keypoints": keypoints.ravel().tolist(),
                    "num_keypoints": int((keypoints[:, 2] > 0).sum()),
                    "segmentation": {"size": [sample.height, sample.width], "counts": counts.decode("ascii")},
                }
            )
    document = {
        "images": [
            {"id": sample.image_id, "file_name": sample.file_name, "width": sample.width, "height": sample.height}
            for sample in dataset.samples
        ],
        "categories": [
            {"id": c.id, "name": c.name, "supercategory": "shape", "keypoints": c.keypoints} for c in dataset.categories
        ],
        "annotations": annotations,
    }
    path = folder / f"annotations_{split}.json"
    path.write_text(json.dumps(document))
    return spec.CocoSplit(images=str(images), annotations=str(path))
