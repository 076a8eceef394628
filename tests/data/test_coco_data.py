"""Opening COCO data sets, with the mistakes that their files may contain."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coco_folder import CocoFolder, finding
from PIL import Image

from fgd_core.data import open_dataset
from fgd_core.data.samples import check_same_categories
from fgd_core.errors import DataError
from fgd_core.spec.data import Coco, CocoSplit


@pytest.fixture
def folder(tmp_path: Path) -> CocoFolder:
    """Creates a data set with one image and one box."""
    folder = CocoFolder(tmp_path / "set")
    folder.add_image()
    folder.add_box()
    return folder


class TestValidDataSet:
    def test_is_read_without_findings(self, folder: CocoFolder) -> None:
        dataset = folder.open()
        (sample,) = dataset.samples
        assert (sample.image_id, sample.file_name, sample.height, sample.width) == (1, "1.png", 30, 40)
        assert sample.boxes_xyxy_px.tolist() == [[4, 5, 14, 13]]
        assert sample.boxes_xyxy_px.dtype == np.float32
        assert sample.areas_px2.tolist() == [80]
        assert dataset.checked.findings == []
        image = dataset.load_image(0)
        assert image.dtype == torch.uint8
        assert image.shape == (3, 30, 40)
        assert image[:, 0, 0].tolist() == [10, 200, 30]

    def test_has_a_fingerprint_that_does_not_depend_on_the_folder(self, folder: CocoFolder, tmp_path: Path) -> None:
        other = CocoFolder(tmp_path / "elsewhere")
        other.add_image()
        other.add_box()
        assert other.open().fingerprint == folder.open().fingerprint
        other.annotations[0]["bbox"][0] += 1
        assert other.open().fingerprint != folder.open().fingerprint

    def test_may_list_boxes_in_any_order(self, folder: CocoFolder) -> None:
        folder.add_image(id=77)
        folder.add_image(id=5)
        for image_id, x in ((5, 1), (77, 2), (1, 3), (5, 0)):
            folder.add_box(image_id, (x, 0, 9, 9))
        boxes = {s.image_id: s.boxes_xyxy_px[:, 0].tolist() for s in folder.open().samples}
        assert boxes == {1: [4, 3], 77: [2], 5: [1, 0]}

    def test_keeps_images_without_objects(self, folder: CocoFolder) -> None:
        folder.add_image()
        dataset = folder.open()
        assert dataset.samples[1].boxes_xyxy_px.shape == (0, 4)
        assert dataset.checked.num_images_without_boxes == 1

    @pytest.mark.parametrize(
        ("name", "num_images", "num_boxes"),
        [("bccd", (292, 72), (3941, 945)), ("nuclei_small", (128, 32), (3556, 1053))],
    )
    def test_that_is_published_opens_without_findings(
        self, shared: Path, name: str, num_images: tuple[int, int], num_boxes: tuple[int, int]
    ) -> None:
        root = shared / "data" / name
        if not root.is_dir():
            pytest.skip(f"no data set at {root}")
        parts = [
            CocoSplit(images=f"{root}/images", annotations=f"{root}/annotations_{s}.json") for s in ("train", "val")
        ]
        coco = Coco(train=parts[0], val=parts[1])
        train, val = open_dataset(coco, "train"), open_dataset(coco, "val")
        for dataset in (train, val):
            print(name, dataset.checked)
            assert dataset.checked.findings == []
            assert dataset.load_image(0).shape[0] == 3
        assert (train.checked.num_images, val.checked.num_images) == num_images
        assert (train.checked.num_boxes, val.checked.num_boxes) == num_boxes
        check_same_categories(train, val)


class TestCategories:
    def test_with_gaps_and_in_any_order_get_contiguous_labels(self, folder: CocoFolder) -> None:
        folder.categories = [{"id": 90, "name": "owl"}, {"id": 0, "name": "ant"}, {"id": 7, "name": "bee"}]
        folder.annotations.clear()
        for category_id in (7, 90, 0):
            folder.add_box(category_id=category_id)
        dataset = folder.open()
        assert [category.name for category in dataset.categories] == ["ant", "bee", "owl"]
        assert dataset.samples[0].labels.tolist() == [1, 2, 0]
        assert dataset.checked.boxes_per_category == {"ant": 1, "bee": 1, "owl": 1}

    @pytest.mark.parametrize(
        ("categories", "problem"),
        [
            ([{"id": 1, "name": "cat"}, {"id": 2, "name": "cat"}], "duplicate_category_name"),
            ([{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}], "duplicate_category_id"),
            ([{"id": 1, "name": "cat"}, {"name": "dog"}], "malformed_category"),
        ],
    )
    def test_that_are_ambiguous_are_always_refused(
        self, folder: CocoFolder, categories: list[Any], problem: str
    ) -> None:
        folder.categories = categories
        with pytest.raises(DataError, match=problem):
            folder.open(on_bad="drop")

    def test_that_differ_between_the_splits_are_reported(self, folder: CocoFolder, tmp_path: Path) -> None:
        train = folder.open()
        folder.categories[1]["name"] = "wolf"
        with pytest.raises(DataError) as caught:
            check_same_categories(train, folder.open())
        assert caught.value.details == {"only_in_train": ["2: dog"], "only_in_val": ["2: wolf"]}

    @pytest.mark.parametrize("name", ["Dog", "dog ", "d\u200bog", "\uff44og"])
    def test_that_differ_only_in_spelling_are_reported_as_such(self, folder: CocoFolder, name: str) -> None:
        train = folder.open()
        folder.categories[1]["name"] = name
        with pytest.raises(DataError, match="differ only by case, spaces or Unicode form"):
            check_same_categories(train, folder.open())

    def test_with_swapped_ids_are_not_reported_as_spelling(self, folder: CocoFolder) -> None:
        train = folder.open()
        folder.categories = [{"id": 1, "name": "dog"}, {"id": 3, "name": "cow"}]
        with pytest.raises(DataError, match=r"same list of ids and names \("):
            check_same_categories(train, folder.open())

    def test_in_another_order_are_equal(self, folder: CocoFolder) -> None:
        train = folder.open()
        folder.categories.reverse()
        check_same_categories(train, folder.open())


def _repeated_image_id(folder: CocoFolder) -> None:
    folder.add_image(id=1)
    folder.add_image()
    folder.add_box(3)


def _missing_file(folder: CocoFolder) -> None:
    folder.add_image(file_name="gone.png")
    (folder.images_folder / "gone.png").unlink()
    folder.add_box(2)


def _truncated_png(folder: CocoFolder) -> None:
    folder.add_image(_noise(), file_name="cut.png")
    _cut(folder.images_folder / "cut.png", keep=0.7)


def _truncated_jpeg(folder: CocoFolder) -> None:
    folder.add_image(_noise(), file_name="cut.jpg")
    _cut(folder.images_folder / "cut.jpg", keep=0.7)


def _text_as_image(folder: CocoFolder) -> None:
    folder.add_image(file_name="text.png")
    (folder.images_folder / "text.png").write_text("not an image")


def _other_size(folder: CocoFolder) -> None:
    folder.add_image(width=41)


def _unknown_image(folder: CocoFolder) -> None:
    folder.add_box(99)


def _unknown_category(folder: CocoFolder) -> None:
    folder.add_box(category_id=99)


def _missing_bbox(folder: CocoFolder) -> None:
    folder.add_box(bbox=None)


def _path_out_of_folder(folder: CocoFolder) -> None:
    folder.add_image(file_name="inside.png")
    (folder.images_folder / "inside.png").rename(folder.images_folder.parent / "outside.png")
    folder.images[-1]["file_name"] = "sub/../../outside.png"


def _absolute_path(folder: CocoFolder) -> None:
    folder.add_image(file_name="inside.png")
    folder.images[-1]["file_name"] = "/elsewhere/inside.png"


def _missing_file_name(folder: CocoFolder) -> None:
    folder.images.append({"id": 50})


BAD_ENTRIES: list[tuple[str, Callable[[CocoFolder], None], str]] = [
    ("duplicate_image_id", _repeated_image_id, "1: 1.png, 2.png"),
    ("missing_image", _missing_file, "gone.png"),
    ("image_outside_folder", _path_out_of_folder, "sub/../../outside.png"),
    ("image_outside_folder", _absolute_path, "/elsewhere/inside.png"),
    ("truncated_image", _truncated_png, "cut.png"),
    ("truncated_image", _truncated_jpeg, "cut.jpg"),
    ("unreadable_image", _text_as_image, "text.png"),
    ("size_mismatch", _other_size, "2.png is 40x30, annotated 41x30"),
    ("unknown_image", _unknown_image, "annotation 2: image 99"),
    ("unknown_category", _unknown_category, "annotation 2: category 99"),
    ("malformed_annotation", _missing_bbox, "annotation 2: image_id 1, category_id 1, bbox None"),
    ("malformed_image", _missing_file_name, "images[1]: id 50, file_name None"),
]


class TestBadEntries:
    @pytest.mark.parametrize(("problem", "make_bad", "name"), BAD_ENTRIES)
    def test_are_refused_with_their_names(
        self, folder: CocoFolder, problem: str, make_bad: Callable[[CocoFolder], None], name: str
    ) -> None:
        make_bad(folder)
        with pytest.raises(DataError) as caught:
            folder.open()
        assert problem in caught.value.message
        assert name in caught.value.message
        assert "on_bad" in caught.value.message

    @pytest.mark.parametrize(("problem", "make_bad", "name"), BAD_ENTRIES)
    def test_are_dropped_with_their_names(
        self, folder: CocoFolder, problem: str, make_bad: Callable[[CocoFolder], None], name: str
    ) -> None:
        make_bad(folder)
        folder.add_image(file_name="sound.png", id=60)
        folder.add_box(60)
        dataset = folder.open(on_bad="drop")
        (found,) = dataset.checked.findings
        assert (found.problem, found.action, found.count, found.examples) == (problem, "dropped", 1, [name])
        assert dataset.samples[-1].file_name == "sound.png"
        assert len(dataset.samples[-1].boxes_xyxy_px) == 1

    def test_are_all_reported_with_counts_and_the_first_five_names(self, folder: CocoFolder) -> None:
        for number in range(7):
            folder.add_image(file_name=f"gone{number}.png")
            (folder.images_folder / f"gone{number}.png").unlink()
        folder.add_box(category_id=99)
        folder.categories.append({"id": 3, "name": "cat"})
        with pytest.raises(DataError) as caught:
            folder.open()
        findings = caught.value.details["findings"]
        assert isinstance(findings, list)
        counts = {str(f["problem"]): f["count"] for f in findings if isinstance(f, dict)}
        assert counts == {"duplicate_category_name": 1, "missing_image": 7, "unknown_category": 1}
        assert "gone4.png" in caught.value.message
        assert "gone5.png" not in caught.value.message

    def test_include_the_boxes_of_a_dropped_image(self, folder: CocoFolder) -> None:
        _missing_file(folder)
        dataset = folder.open(on_bad="drop")
        assert (dataset.checked.num_images, dataset.checked.num_boxes) == (1, 1)

    def test_include_both_files_of_an_ambiguous_image_id(self, folder: CocoFolder) -> None:
        _repeated_image_id(folder)
        assert [sample.file_name for sample in folder.open(on_bad="drop").samples] == ["3.png"]

    def test_do_not_include_the_first_of_repeated_image_entries(self, folder: CocoFolder) -> None:
        folder.images.append(dict(folder.images[0]))
        dataset = folder.open(on_bad="drop")
        assert finding(dataset, "duplicate_image_id").count == 1
        assert [len(sample.labels) for sample in dataset.samples] == [1]


class TestBoxes:
    @pytest.mark.parametrize(
        ("bbox", "problem"),
        [
            ((4, 5, 0, 8), "box_without_area"),
            ((4, 5, 1e-12, 8), "box_without_area"),
            ((40, 5, 10, 8), "box_outside_image"),
            ((-10, 5, 10, 8), "box_outside_image"),
        ],
    )
    def test_without_pixels_are_dropped(self, folder: CocoFolder, bbox: object, problem: str) -> None:
        folder.add_box(bbox=bbox)
        dataset = folder.open(on_bad="refuse")
        found = finding(dataset, problem)
        assert (found.action, found.count, found.examples) == ("dropped", 1, ["annotation 2 in 1.png"])
        assert dataset.checked.num_boxes == 1

    @pytest.mark.parametrize(
        ("bbox", "problem", "example"),
        [
            ((4, 5, 10, -3), "negative_box_size", "annotation 2 in 1.png: corners 4, 5, 14, 2"),
            ((14, 13, -10, -8), "negative_box_size", "annotation 2 in 1.png: corners 14, 13, 4, 5"),
            ((4, 5, 10), "malformed_box", "annotation 2: bbox [4, 5, 10]"),
            ((4, 5, 10, 8, 0.9), "malformed_box", "annotation 2: bbox [4, 5, 10, 8, 0.9]"),
            ((4, 5, float("nan"), 8), "malformed_box", "annotation 2: bbox [4, 5, nan, 8]"),
            ((4, float("inf"), 10, 8), "malformed_box", "annotation 2: bbox [4, inf, 10, 8]"),
            ((4, 5, 10**400, 8), "malformed_box", "annotation 2: bbox [4, 5, 1000"),
            ((4, 5, "wide", 8), "malformed_box", "annotation 2: bbox [4, 5, 'wide', 8]"),
            ((4, 5, "1_0", 8), "malformed_box", "annotation 2: bbox [4, 5, '1_0', 8]"),
            ((4, 5, "1,5", 8), "malformed_box", "annotation 2: bbox [4, 5, '1,5', 8]"),
            ((4, 5, True, 8), "malformed_box", "annotation 2: bbox [4, 5, True, 8]"),
            ((4, 5, None, 8), "malformed_box", "annotation 2: bbox [4, 5, None, 8]"),
            (([4, 5], [10, 8], [1, 1], [2, 2]), "malformed_box", "annotation 2: bbox [[4, 5], [10, 8]"),
            ("4 5 10 8", "malformed_box", "annotation 2: bbox '4 5 10 8'"),
            (
                {"x": 4, "y": 5, "width": 10, "height": 8},
                "malformed_box",
                "annotation 2: bbox {'x': 4, 'y': 5, 'width'",
            ),
            ((0.1, 0.2, 0.25, 0.3), "normalised_box", "annotation 2 in 1.png"),
        ],
    )
    def test_that_are_ambiguous_are_refused_or_dropped(
        self, folder: CocoFolder, bbox: object, problem: str, example: str
    ) -> None:
        folder.add_box(bbox=bbox, area=None)
        with pytest.raises(DataError) as caught:
            folder.open(on_bad="refuse")
        assert f"{problem}: 1 ({example}" in caught.value.message
        dataset = folder.open(on_bad="drop")
        assert (finding(dataset, problem).action, dataset.checked.num_boxes) == ("dropped", 1)

    def test_past_the_border_are_clipped(self, folder: CocoFolder) -> None:
        folder.add_box(bbox=(-5, -6, 100, 100))
        dataset = folder.open()
        assert dataset.samples[0].boxes_xyxy_px[1].tolist() == [0, 0, 40, 30]
        assert finding(dataset, "box_past_border").action == "clipped"

    def test_up_to_the_border_are_not_clipped(self, folder: CocoFolder) -> None:
        folder.add_box(bbox=(0, 0, 40, 30))
        assert folder.open().checked.findings == []

    def test_without_area_or_crowd_flag_get_defaults(self, folder: CocoFolder) -> None:
        folder.add_box(bbox=(1, 2, 3, 4), area=None, iscrowd=None)
        dataset = folder.open()
        assert dataset.samples[0].areas_px2.tolist() == [80, 12]
        assert dataset.samples[0].is_crowd.tolist() == [False, False]
        assert finding(dataset, "annotation_without_area").count == 1
        assert finding(dataset, "annotation_without_iscrowd").count == 1

    def test_of_crowds_are_counted_separately(self, folder: CocoFolder) -> None:
        folder.add_box(iscrowd=1)
        dataset = folder.open()
        assert dataset.samples[0].is_crowd.tolist() == [False, True]
        assert (dataset.checked.num_boxes, dataset.checked.num_crowd) == (1, 1)

    def test_with_id_0_or_a_repeated_id_are_kept(self, folder: CocoFolder) -> None:
        folder.add_box(id=0)
        folder.add_box(id=7)
        folder.add_box(id=7, bbox=(1, 1, 2, 2))
        dataset = folder.open()
        assert dataset.checked.num_boxes == 4
        assert finding(dataset, "annotation_id_zero").count == 1
        assert finding(dataset, "duplicate_annotation_id").examples == ["annotation 7"]

    def test_repeated_with_the_same_id_count_once(self, folder: CocoFolder) -> None:
        folder.annotations.append(dict(folder.annotations[0]))
        dataset = folder.open()
        assert dataset.checked.num_boxes == 1
        assert finding(dataset, "repeated_annotation").count == 1


class TestUnusableDataSet:
    @pytest.mark.parametrize(
        ("split", "what"), [("train", "no boxes to learn from"), ("val", "no boxes to evaluate on")]
    )
    def test_a_split_without_boxes_is_refused(self, folder: CocoFolder, split: str, what: str) -> None:
        folder.annotations.clear()
        with pytest.raises(DataError, match=what):
            folder.open(split=split)

    def test_a_split_with_only_crowds_is_refused(self, folder: CocoFolder) -> None:
        folder.annotations[0]["iscrowd"] = 1
        with pytest.raises(DataError, match="no boxes to learn from"):
            folder.open()

    def test_a_split_without_images_is_refused(self, folder: CocoFolder) -> None:
        folder.images.clear()
        folder.annotations.clear()
        with pytest.raises(DataError, match="no images"):
            folder.open()

    def test_a_split_whose_images_were_all_dropped_is_refused(self, folder: CocoFolder) -> None:
        (folder.images_folder / "1.png").unlink()
        with pytest.raises(DataError, match="no images") as caught:
            folder.open(on_bad="drop")
        assert "missing_image" in str(caught.value)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"{", "not JSON"),
            (b"\xff\xfe\x00", "not JSON"),
            (b"[" * 100_000, "not JSON"),
            (b"[1, 2]", "not in COCO format"),
            (b'{"images": [], "categories": []}', "no list of annotations"),
            (b'{"images": {}, "categories": [], "annotations": []}', "no list of images"),
            (b'{"images": [], "categories": [], "annotations": []}', "no categories"),
        ],
    )
    def test_a_file_that_is_not_coco_is_refused(self, folder: CocoFolder, content: bytes, message: str) -> None:
        folder.annotations_file.write_bytes(content)
        with pytest.raises(DataError, match=message) as caught:
            folder.reopen()
        assert caught.value.details["path"] == str(folder.annotations_file)

    def test_a_missing_annotation_file_is_refused(self, folder: CocoFolder) -> None:
        with pytest.raises(DataError, match="annotation file does not exist"):
            folder.reopen()

    def test_a_missing_images_folder_is_refused(self, folder: CocoFolder) -> None:
        folder.write()
        folder.images_folder = folder.images_folder / "nowhere"
        with pytest.raises(DataError, match="images folder does not exist"):
            folder.reopen()

    def test_entries_that_are_not_json_objects_are_dropped(self, folder: CocoFolder) -> None:
        folder.images.append(5)
        folder.annotations.append(None)
        dataset = folder.open(on_bad="drop")
        assert finding(dataset, "malformed_image").count == 1
        assert finding(dataset, "malformed_annotation").count == 1


class TestImageSizes:
    def test_that_are_missing_are_read_from_the_file(self, folder: CocoFolder) -> None:
        folder.add_image(Image.new("RGB", (17, 9)), width=None, height=None)
        dataset = folder.open()
        assert (dataset.samples[1].width, dataset.samples[1].height) == (17, 9)
        assert finding(dataset, "image_without_size").action == "repaired"

    def test_a_file_damaged_after_opening_is_named(self, folder: CocoFolder) -> None:
        damaged = folder.images_folder / "1.png"
        dataset = folder.open()
        _cut(damaged, keep=0.6)
        with pytest.raises(DataError) as caught:
            dataset.load_image(0)
        assert caught.value.details["path"] == str(damaged)


def test_an_annotation_file_may_start_with_a_byte_order_mark(folder: CocoFolder) -> None:
    folder.write()
    folder.annotations_file.write_bytes(b"\xef\xbb\xbf" + folder.annotations_file.read_bytes())
    assert folder.reopen().checked.num_boxes == 1
    assert json.loads(folder.annotations_file.read_bytes())["images"]


def _noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))


def _cut(path: Path, *, keep: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
