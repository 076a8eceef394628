"""Annotations read as columns: the same table and the same findings as one by one."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fgd_core.data import plain_annotations, processes
from fgd_core.data.annotations import ObjectTable
from fgd_core.data.coco_file import CocoText, parse_coco
from fgd_core.data.coco_objects import read_objects
from fgd_core.data.coco_values import IdNumbers
from fgd_core.data.findings import Findings
from fgd_core.errors import DataError
from fgd_core.spec.events import Finding

_ODD: dict[str, list[Any]] = {
    "id": [0, 7, "7", 7.0, "a", 2**70, None, -1],
    "image_id": ["1", 2.0, 99, -1, 2**63, None],
    "category_id": ["1", 99, -1, 1.5],
    "bbox": [[0, 0, 0, 0], [1, 2, 3], [1, 2, 3, "4"], [1, 2, 3, 1e301], [1, 2, True, 4], None, {"x1": 1, "y1": 2}, []],
    "area": [0, -1, "5", None, 1e301, True, 80],
    "iscrowd": [1, 2, True, "0", "", None],
    "segmentation": [
        [],
        {},
        None,
        "",
        [[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6.5]],
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5]],
        [[1, 2, 3, 4, 5, 1e7]],
        [[1, 2, 3, 4, 5, "6"]],
        [[1, 2, 3, 4, 5, True]],
        [1, 2, 3, 4, 5, 6],
        [[1, 2], [3, 4], [5, 6]],
        [{"x": 1, "y": 2}] * 3,
        {"size": [30, 40], "counts": [0, 1200]},
        {"size": [30, 40], "counts": "b'0000'"},
        {"size": [30, 40], "counts": "Pb0"},
        {"counts": [0, 1200]},
    ],
    "rotation": [0, 30],
    "score": [0.5],
    "attributes": [{"rotation": 30.0}, [{"a": 1}, {"b": 2}]],
    "note": ["a }, { b", ":", '"', "ä"],
}


def _annotation(rng: random.Random, number: int) -> dict[str, Any]:
    x, y, width, height = rng.randint(0, 20), rng.random() * 10, rng.randint(1, 15), rng.random() * 9 + 1
    polygon = [x, y, x + width, y, x + width, y + height]
    entry = {
        "id": number,
        "image_id": rng.randint(1, 3),
        "category_id": rng.randint(1, 2),
        "bbox": [x, y, width, height],
        "area": width * height / 2,
        "iscrowd": 0,
        "segmentation": [polygon] * rng.randint(1, 2),
    }
    if rng.random() < 0.1:
        name = rng.choice([*_ODD])
        entry[name] = rng.choice(_ODD[name])
    if rng.random() < 0.05:
        del entry[rng.choice([*entry])]
    return entry


def _table(text: bytes, *, in_blocks: bool) -> tuple[ObjectTable, list[Finding], list[str]]:
    repeated: list[str] = []
    document = parse_coco(CocoText(Path("a.json"), text), repeated, in_blocks=in_blocks)
    findings = Findings("drop")
    images, categories = (IdNumbers([entry["id"] for entry in each]) for each in (document.images, document.categories))
    table = read_objects(
        document.annotations,
        images,
        categories,
        findings,
        sizes_px=dict.fromkeys((1, 2, 3), (40, 30)),
        with_masks=False,
    )
    return table, findings.report(), repeated


def _document(annotations: list[Any], **json_style: Any) -> bytes:
    images = [{"id": number, "file_name": f"{number}.png"} for number in (1, 2, 3)]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    whole = {"info": {"a": 1}, "images": images, "annotations": annotations, "categories": categories}
    return json.dumps(whole, **json_style).encode()


def _assert_same(text: bytes) -> None:
    (table, findings, repeated), (expected, *facts) = (_table(text, in_blocks=flag) for flag in (True, False))
    assert [findings, repeated] == facts
    assert [*table.names] == [*expected.names]
    for name in ("image_ids", "category_ids", "boxes_xywh_px", "areas_px2", "is_crowd", "outlines_xyxy_px"):
        np.testing.assert_array_equal(getattr(table, name), getattr(expected, name), err_msg=name)


@pytest.fixture(autouse=True)
def _blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes blocks of about four annotations, read in this process."""
    monkeypatch.setattr(plain_annotations, "BLOCK_BYTES", 600)
    monkeypatch.setattr(processes, "MAX_PROCESSES", 1)


@pytest.mark.parametrize("seed", range(60))
def test_columns_equal_annotations_read_one_by_one(seed: int) -> None:
    rng = random.Random(seed)
    annotations = [_annotation(rng, number) for number in range(1, rng.randint(2, 60))]
    style = rng.choice([{}, {"separators": (",", ":")}, {"indent": 1}, {"ensure_ascii": False}])
    _assert_same(_document(annotations, **style))


def test_plain_annotations_are_not_read_one_by_one() -> None:
    annotations = [{**_annotation(random.Random(0), 1), "id": number} for number in range(1, 30)]
    annotations[7]["area"] = 0
    text = CocoText(Path("a.json"), _document(annotations))
    columns = parse_coco(text, [], in_blocks=True).annotations.columns
    assert np.flatnonzero(~columns.is_plain).tolist() == [7]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"id": 5,', '"id": 5, "id": 6,'),
        ('"id": 5,', '"id": 5, "id": 5,'),
        ('"id": 5,', '"id": 5, "x": {"y": 1, "y": 2},'),
        ('"info": {"a": 1}', '"info": {"a": 1, "a": 2}'),
        ('"info": {"a": 1}', '"info": 3, "images": []'),
        ('"info": {"a": 1}', '"info": 3, "info": 3'),
        ('"file_name": "2.png"', '"file_name": "2.png", "file_name": "3.png"'),
        ('"name": "cat"', '"name": "cat", "name": "dog"'),
    ],
)
def test_keys_are_found_that_an_object_has_twice(old: str, new: str) -> None:
    annotations = [_annotation(random.Random(number), number) for number in range(1, 20)]
    text = _document(annotations).decode()
    assert text.count(old) == 1
    _assert_same(text.replace(old, new).encode())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"id": 5,', '"id": 5'),
        ('"id": 5,', '"id": NaN,'),
        ('"id": 5,', '"id": 05,'),
        ('"id": 5,', '"id": 5, "t": "\x01",'),
        ("}], ", "}, 7], "),
        ("}], ", "}, {]}, "),
        ('"info": {"a": 1}', '"info": [[1}]'),
    ],
)
def test_text_that_is_not_json_gives_the_same_error(old: str, new: str) -> None:
    annotations = [_annotation(random.Random(number), number) for number in range(1, 20)]
    text = CocoText(Path("a.json"), _document(annotations).decode().replace(old, new).encode())
    messages = []
    for in_blocks in (True, False):
        try:
            parse_coco(text, [], in_blocks=in_blocks)
            messages.append("none")
        except DataError as error:
            messages.append(str(error.details))
    assert messages[0] == messages[1]


def test_several_processes_read_the_blocks_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MAX_PROCESSES", 2)
    _assert_same(_document([_annotation(random.Random(number), number) for number in range(1, 200)]))
