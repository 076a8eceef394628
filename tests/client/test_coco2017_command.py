"""`fgd data coco2017`: which parts of COCO 2017 exist."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fgd_core.detectors.weights.classes import COCO_CLASSES
from service.client.coco2017 import ARCHIVES, CLASSES, Check, Split, verify
from tests.client.conftest import Fgd

SPLITS = (Split("train2017", 3, 4), Split("val2017", 2, 2))


class SmallCoco:
    """A complete folder with the layout of COCO 2017, in which a test then spoils something."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for split in SPLITS:
            names = [f"{number:012}.jpg" for number in range(split.num_images)]
            (root / split.name).mkdir(parents=True)
            for name in names:
                Image.new("RGB", (20, 10), (200, 30, 10)).save(root / split.name / name)
            outline = {"segmentation": [[1, 1, 9, 1, 9, 9]]}
            document = {
                "images": [{"id": n, "file_name": name, "width": 20, "height": 10} for n, name in enumerate(names)],
                "annotations": [{"id": n, "image_id": 0, **outline} for n in range(split.num_annotations)],
                "categories": [{"id": n, "name": name} for n, name in enumerate(CLASSES, start=1)],
            }
            self.write(split, document)

    def read(self, split: Split) -> Any:
        return json.loads((self.root / split.annotations).read_text())

    def write(self, split: Split, document: Any) -> None:
        path = self.root / split.annotations
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(document))

    def check(self) -> list[Check]:
        return list(verify(self.root, splits=SPLITS))

    def bad(self) -> dict[str, str]:
        return {check.what: check.found for check in self.check() if not check.is_good}


@pytest.fixture
def coco(tmp_path: Path) -> SmallCoco:
    return SmallCoco(tmp_path / "coco2017")


TRAIN, VAL = SPLITS
FIRST = f"{0:012}.jpg"


class TestVerification:
    def test_a_complete_folder_passes(self, coco: SmallCoco) -> None:
        assert coco.bad() == {}
        assert len(coco.check()) == 10

    def test_the_classes_equal_those_of_the_detectors(self) -> None:
        assert CLASSES == COCO_CLASSES

    def test_a_missing_image_is_named(self, coco: SmallCoco) -> None:
        (coco.root / "train2017" / FIRST).unlink()
        assert coco.bad() == {"train2017/: images": f"1 of the listed images are missing: {FIRST}"}

    def test_a_missing_folder_is_named(self, coco: SmallCoco) -> None:
        for path in (coco.root / "val2017").iterdir():
            path.unlink()
        (coco.root / "val2017").rmdir()
        assert coco.bad() == {"val2017/: images": "cannot be read: No such file or directory"}

    def test_a_damaged_image_is_named(self, coco: SmallCoco) -> None:
        path = coco.root / "val2017" / FIRST
        path.write_bytes(path.read_bytes()[:-200])
        assert coco.bad() == {"val2017/: images open": f"1 of 2 have faults: {FIRST} is damaged"}

    def test_an_image_of_wrong_size_is_named(self, coco: SmallCoco) -> None:
        Image.new("RGB", (30, 10)).save(coco.root / "val2017" / FIRST)
        assert coco.bad() == {"val2017/: images open": f"1 of 2 have faults: {FIRST} is 30x10"}

    def test_too_few_annotations_are_counted(self, coco: SmallCoco) -> None:
        document = coco.read(TRAIN)
        document["annotations"].pop()
        coco.write(TRAIN, document)
        assert coco.bad() == {f"{TRAIN.annotations}: annotations": "3 of 4"}

    def test_an_unknown_class_is_named(self, coco: SmallCoco) -> None:
        document = coco.read(VAL)
        document["categories"][0]["name"] = "human"
        coco.write(VAL, document)
        found = coco.bad()[f"{VAL.annotations}: categories"]
        assert found == "1 missing: person; 1 unknown: human"

    def test_classes_in_another_order_fail(self, coco: SmallCoco) -> None:
        document = coco.read(VAL)
        first, second = document["categories"][:2]
        first["id"], second["id"] = second["id"], first["id"]
        coco.write(VAL, document)
        assert coco.bad() == {f"{VAL.annotations}: categories": "the names are correct, their ids are not"}

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ('{"images": [', "is not JSON; the file is damaged, unpack it again"),
            ('{"images": []}', "lacks one of the lists images, annotations, categories; it is a different file"),
            ("[]", "lacks one of the lists images, annotations, categories; it is a different file"),
            ("\udc80", "is not JSON; the file is damaged, unpack it again"),
        ],
        ids=["cut off", "another", "a list", "bytes"],
    )
    def test_malformed_annotations_are_named(self, coco: SmallCoco, text: str, found: str) -> None:
        (coco.root / VAL.annotations).write_bytes(text.encode(errors="surrogateescape"))
        assert coco.bad()[VAL.annotations] == found


class TestCommand:
    def test_without_files_it_lists_what_to_download(self, fgd: Fgd, tmp_path: Path) -> None:
        ended = fgd("data", "coco2017", "--root", tmp_path / "coco2017")
        assert ended.exit_code == 1
        assert "cocodataset.org" in ended.out
        assert str(tmp_path / "coco2017") in ended.out
        assert [archive for archive in ARCHIVES if archive.name not in ended.out or archive.md5 not in ended.out] == []
        assert "19.3 GB" in ended.out

    def test_a_folder_with_fewer_images_fails(self, fgd: Fgd, coco: SmallCoco) -> None:
        ended = fgd("data", "coco2017", "--root", coco.root, "--json")
        assert ended.exit_code == 1
        assert ended.json["is_good"] is False
        found = {check["what"]: check["found"] for check in ended.json["checks"] if not check["is_good"]}
        assert found["train2017/: images"] == "3 of 118,287"
        assert found[f"{TRAIN.annotations}: annotations"] == "4 of 860,001"
        assert f"{TRAIN.annotations}: categories" not in found
