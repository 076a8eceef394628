"""Images read as a whole: the same entries and the same findings as one by one."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from coco_folder import CocoFolder

from fgd_core.data import image_headers
from fgd_core.data.annotations import ImageEntry
from fgd_core.data.coco_file import CocoText, parse_coco
from fgd_core.data.coco_images import PlainImages, read_images
from fgd_core.data.findings import Findings
from fgd_core.errors import DataError

_ODD: dict[str, list[Any]] = {
    "id": [1, "7", 7.0, "a", 2**70, None, -1, True],
    "file_name": [
        "1.png",
        "../1.png",
        "/a/1.png",
        "a/../1.png",
        "ä.png",
        " ",
        " 9.png",
        "a  b.png",
        "",
        5,
        None,
        "a\n",
    ],
    "width": [0, -1, 40.0, "40", None, 2**31, True],
    "height": [30.5, "x", None],
    "license": [{"a": 1}, None],
    "coco_url": ["http://example.org/a/b.jpg", '":', None],
    "path": ["C:\\1.png"],
}


def _image(rng: random.Random, number: int) -> dict[str, Any]:
    entry = {"license": 1, "file_name": f"{number}.png", "height": 30, "width": 40, "id": number}
    if rng.random() < 0.05:
        name = rng.choice([*_ODD])
        entry[name] = rng.choice(_ODD[name])
    if rng.random() < 0.02:
        del entry[rng.choice([*entry])]
    return entry


def _document(images: list[Any], **json_style: Any) -> bytes:
    whole = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
    return json.dumps(whole, **json_style).encode()


def _read(text: bytes, *, in_blocks: bool) -> tuple[Any, ...]:
    repeated: list[str] = []
    findings = Findings("drop")
    images = read_images(parse_coco(CocoText(Path("a.json"), text), repeated, in_blocks=in_blocks).images, findings)
    return [*images.entries], images.sizes_px, images.ids, images.numbers.unknown, findings.report(), repeated


@pytest.mark.parametrize("seed", range(60))
def test_images_read_as_a_whole_equal_those_read_one_by_one(seed: int) -> None:
    rng = random.Random(seed)
    style = rng.choice([{}, {"separators": (",", ":")}, {"indent": 1}, {"ensure_ascii": False}])
    text = _document([_image(rng, number) for number in range(1, rng.randint(2, 20))], **style)
    assert _read(text, in_blocks=True) == _read(text, in_blocks=False)


@pytest.mark.parametrize("again", ['"id": 1', '"id": 2', '"license": 2', '"license": 1'])
def test_a_repeated_key_is_found(again: str) -> None:
    text = _document([{"id": 1, "file_name": "1.png", "width": 4, "height": 3, "license": 1}])
    text = text.replace(b'"id": 1,', f'"id": 1, {again},'.encode(), 1)
    assert _read(text, in_blocks=True) == _read(text, in_blocks=False)


def test_images_of_cocos_form_are_read_as_a_whole() -> None:
    entry = {"license": 3, "coco_url": "http://example.org/1.jpg", "height": 30, "width": 40, "date_captured": ""}
    images = [{**entry, "file_name": f"a b/{number}.jpg", "id": number} for number in range(1, 20)]
    document = parse_coco(CocoText(Path("a.json"), _document(images)), [], in_blocks=True)
    assert isinstance(document.images, PlainImages)
    assert document.images.entries[4] == ImageEntry(5, "a b/5.jpg", (40, 30))


class TestHeadersOfManyImages:
    @pytest.fixture(autouse=True)
    def _many(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Three files are already many."""
        monkeypatch.setattr(image_headers, "MANY_FILES", 3)

    @pytest.fixture
    def folder(self, tmp_path: Path) -> CocoFolder:
        folder = CocoFolder(tmp_path / "set")
        for number in range(1, 5):
            folder.add_image(file_name=f"{number}.jpg")
            folder.add_box(number, (4, 5, 10 + number, 8))
        return folder

    def test_are_read_while_annotations_are_read(self, folder: CocoFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        expected = folder.open().checked
        monkeypatch.setattr("fgd_core.data.usable_images.read_headers", _only_missing)
        assert folder.reopen().checked == expected

    def test_find_the_same_faults(self, folder: CocoFolder) -> None:
        folder.images[1]["width"] = 41
        (folder.images_folder / "3.jpg").unlink()
        (folder.images_folder / "4.jpg").write_bytes((folder.images_folder / "4.jpg").read_bytes()[:-40])
        with pytest.raises(DataError) as caught:
            folder.open()
        for fault in ("size_mismatch: 1", "missing_image: 1", "truncated_image: 1"):
            assert fault in caught.value.message


def _only_missing(paths: list[str]) -> image_headers.Headers:
    assert paths == []
    return image_headers.joined([])
