"""Data sets in specs."""

import pytest
from pydantic import JsonValue

from fgd_core.spec.data import name_of

SPLIT: JsonValue = {"images": "/data/train", "annotations": "/data/train.json"}


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ({"type": "registered", "name": "blood", "resolved": None}, "blood"),
        ({"type": "coco", "train": SPLIT, "val": SPLIT}, "/data/train.json"),
        ({"type": "voc", "folder": "/data/VOC2007", "train": "trainval"}, "/data/VOC2007"),
        ({"type": "yolo", "data_yaml": "/data/data.yaml", "train": "train"}, "/data/data.yaml"),
        ({"type": "shapes"}, "shapes"),
        ({"of": "a later version"}, ""),
    ],
)
def test_data_has_the_name_that_people_know(data: dict[str, JsonValue], name: str) -> None:
    assert name_of(data) == name
