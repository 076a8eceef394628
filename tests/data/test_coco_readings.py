"""Values of COCO files in unusual forms are read if they can mean only one thing, and refused otherwise."""

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from coco_folder import CocoFolder, finding
from PIL import Image

from fgd_core.data import inspect_dataset, open_dataset
from fgd_core.data.samples import DetectionDataset
from fgd_core.errors import DataError
from fgd_core.spec.data import Coco, CocoSplit


@pytest.fixture
def folder(tmp_path: Path) -> CocoFolder:
    """Creates a data set with one image and one box."""
    folder = CocoFolder(tmp_path / "images_of_mine")
    folder.add_image()
    folder.add_box()
    return folder


def folder_spec(folder: CocoFolder) -> Coco:
    part = folder.write()
    return Coco(train=part, val=part)


def problems(dataset: DetectionDataset) -> dict[str, tuple[str, int]]:
    return {found.problem: (found.action, found.count) for found in dataset.checked.findings}


class TestIds:
    @pytest.mark.parametrize(
        ("listed", "named"),
        [
            ("1", "1"),
            ("000001", "000001"),
            (1, "1"),
            ("1", 1),
            ("1", 1.0),
            (" 1 ", "1.0"),
            ("frame_7", "frame_7"),
            ("6f9619ff-8b86-d011-b42d-00c04fc964ff", "6f9619ff-8b86-d011-b42d-00c04fc964ff"),
        ],
    )
    def test_as_text_are_equal_to_the_number_in_the_text(self, folder: CocoFolder, listed: Any, named: Any) -> None:
        folder.images[0]["id"], folder.annotations[0]["image_id"] = listed, named
        folder.images.append(folder.images[0] | {"id": 2, "file_name": "2.png"})
        Image.new("RGB", (40, 30)).save(folder.images_folder / "2.png")
        dataset = folder.open()
        assert [len(sample.labels) for sample in dataset.samples] == [1, 0]
        assert finding(dataset, "id_as_text").action == "repaired"

    @pytest.mark.parametrize("offset", [2**63, 2**64, 10**30, -(2**63) - 10])
    def test_beyond_64_bits_are_renumbered(self, folder: CocoFolder, offset: int) -> None:
        folder.add_image()
        for image in folder.images:
            image["id"] += offset
        folder.annotations[0]["image_id"] = 2 + offset
        dataset = folder.open()
        assert [(sample.image_id, len(sample.labels)) for sample in dataset.samples] == [(1, 0), (2, 1)]
        assert problems(dataset) == {"id_beyond_64_bits": ("repaired", 2)}

    @pytest.mark.parametrize("gap", [1, 10**12])
    def test_may_lie_close_together_or_far_apart(self, folder: CocoFolder, gap: int) -> None:
        folder.add_image()
        for image in folder.images:
            image["id"] *= gap
        folder.annotations[0]["image_id"] = 2 * gap
        folder.add_box(image_id=3 * gap)
        folder.add_box(image_id=gap + 1 if gap > 1 else 0)
        dataset = folder.open(on_bad="drop")
        assert [len(sample.labels) for sample in dataset.samples] == [0, 1]
        assert problems(dataset) == {"unknown_image": ("dropped", 2)}

    def test_that_are_not_listed_are_unknown_in_any_form(self, folder: CocoFolder) -> None:
        folder.images[0]["id"] = 2**70
        folder.annotations[0]["image_id"] = 2**70
        folder.add_box(image_id=2**71)
        folder.add_box(image_id="frame_9")  # type: ignore[arg-type]
        dataset = folder.open(on_bad="drop")
        assert problems(dataset)["unknown_image"] == ("dropped", 2)
        assert "image_id 'frame_9'" in finding(dataset, "unknown_image").examples[1]

    @pytest.mark.parametrize("bad", [True, 1.5, None, "", [1], {"id": 1}, float("nan"), float("inf")])
    def test_that_are_invalid_are_refused(self, folder: CocoFolder, bad: Any) -> None:
        folder.add_box(image_id=bad)
        folder.annotations[-1]["image_id"] = bad
        with pytest.raises(DataError, match=r"malformed_annotation: 1 \(annotation 2"):
            folder.open()

    @pytest.mark.parametrize(("listed", "named"), [("2", 2), (2, "2"), ("002", 2.0), (2.0, "2.0")])
    def test_of_categories_may_be_text_or_numbers(self, folder: CocoFolder, listed: Any, named: Any) -> None:
        folder.categories[1]["id"], folder.annotations[0]["category_id"] = listed, named
        assert folder.open().checked.boxes_per_category == {"cat": 0, "dog": 1}

    @pytest.mark.parametrize(
        ("first", "second"), [("1", "2"), (2**65, 2**65 + 1), ("a_cat", "b_dog"), (1.0, "2"), (0, 2**80)]
    )
    def test_of_categories_keep_their_order(self, folder: CocoFolder, first: Any, second: Any) -> None:
        folder.categories = [{"id": second, "name": "dog"}, {"id": first, "name": "cat"}]
        folder.annotations[0]["category_id"] = second
        dataset = folder.open()
        assert [category.name for category in dataset.categories] == ["cat", "dog"]
        assert dataset.checked.boxes_per_category == {"cat": 0, "dog": 1}


class TestCrowdFlags:
    @pytest.mark.parametrize("value", [0, 0.0, False, "0", "false", "False", " 0 ", "0.0"])
    def test_may_say_no_in_several_forms(self, folder: CocoFolder, value: Any) -> None:
        folder.add_box(iscrowd=value)
        dataset = folder.open()
        assert (dataset.checked.num_boxes, dataset.checked.num_crowd) == (2, 0)
        assert ("number_as_text" in problems(dataset)) == isinstance(value, str)

    @pytest.mark.parametrize("value", [1, 1.0, True, "1", "true", "True"])
    def test_may_say_yes_in_several_forms(self, folder: CocoFolder, value: Any) -> None:
        folder.add_box(iscrowd=value)
        dataset = folder.open()
        assert (dataset.checked.num_boxes, dataset.checked.num_crowd) == (1, 1)

    @pytest.mark.parametrize("value", [None, ""])
    def test_that_are_empty_mean_no_and_are_reported(self, folder: CocoFolder, value: Any) -> None:
        folder.annotations[0]["iscrowd"] = value
        assert problems(folder.open()) == {"annotation_without_iscrowd": ("repaired", 1)}

    @pytest.mark.parametrize("value", [2, -1, 0.5, "maybe", "yes", [], [1], {}, float("nan")])
    def test_that_are_invalid_are_refused_or_dropped(self, folder: CocoFolder, value: Any) -> None:
        folder.add_box(iscrowd=value)
        with pytest.raises(DataError, match=r"malformed_iscrowd: 1 \(annotation 2: iscrowd "):
            folder.open()
        assert problems(folder.open(on_bad="drop")) == {"malformed_iscrowd": ("dropped", 1)}


class TestAreas:
    @pytest.mark.parametrize("area", [0, -80, float("nan"), float("inf"), "large", True, [], 10**400])
    def test_that_are_invalid_are_replaced_by_that_of_the_box(self, folder: CocoFolder, area: Any) -> None:
        folder.annotations[0]["area"] = area
        dataset = folder.open()
        assert dataset.samples[0].areas_px2.tolist() == [80]
        assert problems(dataset) == {"malformed_area": ("repaired", 1)}

    def test_as_text_are_read(self, folder: CocoFolder) -> None:
        folder.annotations[0]["area"] = "72.5"
        dataset = folder.open()
        assert dataset.samples[0].areas_px2.tolist() == [72.5]
        assert problems(dataset) == {"number_as_text": ("repaired", 1)}


class TestImageSizes:
    def test_as_text_are_compared_with_the_file(self, folder: CocoFolder) -> None:
        folder.images[0] |= {"width": "40", "height": "30.0"}
        assert problems(folder.open()) == {"number_as_text": ("repaired", 1)}
        folder.images[0]["width"] = "41"
        with pytest.raises(DataError, match="size_mismatch"):
            folder.open()

    @pytest.mark.parametrize(
        ("width", "height"),
        [(0, 0), (-40, 30), (40.5, 30), ("40px", 30), (True, 30), (None, 30), (40, [30]), (40, 1e40)],
    )
    def test_that_are_invalid_are_replaced_by_those_of_the_file(
        self, folder: CocoFolder, width: Any, height: Any
    ) -> None:
        folder.images[0] |= {"width": width, "height": height}
        dataset = folder.open()
        assert (dataset.samples[0].width, dataset.samples[0].height) == (40, 30)
        assert problems(dataset) == {"malformed_size": ("repaired", 1)}

    def test_that_are_swapped_are_reported_as_such(self, folder: CocoFolder) -> None:
        folder.images[0] |= {"width": 30, "height": 40}
        with pytest.raises(DataError, match=r"size_transposed: 1 \(1.png is 40x30, annotated 30x40"):
            folder.open()


class TestBoxes:
    @pytest.mark.parametrize(
        ("bbox", "problem"),
        [
            (["4", "5", "10", "8"], "number_as_text"),
            (["4.0", 5, "1e1", " 8 "], "number_as_text"),
            ("[4, 5, 10, 8]", "number_as_text"),
            ({"xmin": 4, "ymin": 5, "xmax": 14, "ymax": 13}, "box_as_object"),
            ({"x1": 4, "y1": 5, "x2": 14, "y2": 13}, "box_as_object"),
            ({"left": 4, "top": 5, "width": 10, "height": 8}, "box_as_object"),
            ({"left": 4, "top": 5, "right": 14, "bottom": 13}, "box_as_object"),
            ({"cx": 9, "cy": 9, "w": 10, "h": 8}, "box_as_object"),
            ({"x": 4, "y": 5, "width": 10, "height": 8, "cx": 9, "cy": 9}, "box_as_object"),
            ({"x": 9, "y": 9, "width": 10, "height": 8, "cx": 9, "cy": 9}, "box_as_object"),
        ],
    )
    def test_in_an_unambiguous_form_are_read(self, folder: CocoFolder, bbox: Any, problem: str) -> None:
        folder.annotations[0]["bbox"] = bbox
        dataset = folder.open()
        assert dataset.samples[0].boxes_xyxy_px.tolist() == [[4, 5, 14, 13]]
        assert problems(dataset) == {problem: ("repaired", 1)}

    @pytest.mark.parametrize("bbox", [None, [], [0, 0, 0, 0]])
    @pytest.mark.parametrize(
        "segmentation",
        [
            [[4, 5, 14, 5, 14, 13]],
            [[4, 5, 14, 5, 14, 13, 4, 13], [6, 6, 7, 6, 7, 7]],
            {"size": [30, 40], "counts": [4 * 30 + 5, *([8, 22] * 9), 8, 26 * 30 + 17]},
        ],
    )
    def test_that_are_missing_are_computed_from_the_segmentation(
        self, folder: CocoFolder, bbox: Any, segmentation: Any
    ) -> None:
        folder.annotations[0] |= {"bbox": bbox, "segmentation": segmentation}
        dataset = folder.open()
        assert dataset.samples[0].boxes_xyxy_px.tolist() == [[4, 5, 14, 13]]
        assert problems(dataset) == {"annotation_without_bbox": ("repaired", 1)}

    @pytest.mark.parametrize(
        "segmentation",
        [
            None,
            [],
            "nonsense",
            [[4, 5]],
            {"size": [30, 40], "counts": [1, 2]},
            {"size": [40, 30], "counts": [100, 50, 1050]},
        ],
    )
    def test_that_are_missing_without_a_valid_segmentation_are_refused(
        self, folder: CocoFolder, segmentation: Any
    ) -> None:
        folder.add_box(bbox=None, segmentation=segmentation)
        with pytest.raises(DataError, match=r"malformed_annotation: 1 \(annotation 2"):
            folder.open()

    @pytest.mark.parametrize("fields", [{"attributes": {"rotation": 45.0}}, {"rotation": "-12.5"}])
    def test_that_are_rotated_are_refused_or_dropped(self, folder: CocoFolder, fields: Any) -> None:
        folder.add_box(**fields)
        with pytest.raises(DataError, match=r"rotated_box: 1 \(annotation 2: "):
            folder.open()
        assert problems(folder.open(on_bad="drop")) == {"rotated_box": ("dropped", 1)}

    @pytest.mark.parametrize(
        ("polygon", "is_upright"),
        [
            ([9, 5, 14, 9, 9, 13, 4, 9], True),
            ([4, 5, 14, 5, 14, 13, 4, 13], False),
            ([9, 5, 24, 9, 9, 13, 4, 9], False),
        ],
    )
    def test_that_are_upright_around_a_rotated_polygon_are_read(
        self, folder: CocoFolder, polygon: list[int], *, is_upright: bool
    ) -> None:
        folder.annotations[0] |= {"attributes": {"rotation": 45.0}, "segmentation": [polygon]}
        dataset = inspect_dataset(folder_spec(folder), "train")
        assert ("rotated_box" not in problems(dataset)) == is_upright

    @pytest.mark.parametrize(
        "fields", [{"attributes": {"rotation": 0.0}}, {"attributes": {"rotation": 180}}, {"attributes": None}]
    )
    def test_with_a_rotation_of_zero_or_a_half_turn_are_read(self, folder: CocoFolder, fields: Any) -> None:
        folder.add_box(**fields)
        assert folder.open().checked.findings == []


class TestSegmentations:
    @pytest.mark.parametrize(
        "segmentation",
        [
            [4, 5, 14, 5, 14, 13, 4, 13],
            [[4, 5], [14, 5], [14, 13], [4, 13]],
            [[[4, 5], [14, 5], [14, 13], [4, 13]]],
            [{"x": 4, "y": 5}, {"x": 14, "y": 5}, {"x": 14, "y": 13}, {"x": 4, "y": 13}],
        ],
    )
    def test_of_points_in_any_form_are_polygons(self, folder: CocoFolder, segmentation: Any) -> None:
        folder.annotations[0]["segmentation"] = [[4, 5, 14, 5, 14, 13, 4, 13]]
        (plain,) = folder.open(with_masks=True).samples
        folder.annotations[0]["segmentation"] = segmentation
        dataset = folder.open(with_masks=True)
        assert plain.masks is not None
        assert dataset.samples[0].masks is not None
        assert dataset.samples[0].masks.counts == plain.masks.counts
        assert problems(dataset) == {"segmentation_in_other_form": ("repaired", 1)}

    def test_with_run_lengths_as_python_bytes_are_read(self, folder: CocoFolder) -> None:
        folder.annotations[0]["segmentation"] = [[4, 5, 14, 5, 14, 13, 4, 13]]
        (plain,) = folder.open(with_masks=True).samples
        assert plain.masks is not None
        (counts,) = plain.masks.counts
        folder.annotations[0]["segmentation"] = {"size": [30, 40], "counts": str(counts)}
        dataset = folder.open(with_masks=True)
        assert dataset.samples[0].masks is not None
        assert dataset.samples[0].masks.counts == (counts,)
        assert problems(dataset) == {"segmentation_in_other_form": ("repaired", 1)}


class TestFileNames:
    @pytest.mark.parametrize(
        ("on_disk", "listed"),
        [
            ("sub/my cat.png", "sub\\my cat.png"),
            ("my cat.png", "my%20cat.png"),
            ("my cat.png", ".\\my%20cat.png"),
            ("cat.png", "images/cat.png"),
            ("cat.png", "images\\cat.png"),
            ("cat.png", "images_of_mine/images/cat.png"),
            ("cat.PNG", "cat.png"),
            ("Cat.png", "cat.png"),
            (unicodedata.normalize("NFD", "été.png"), unicodedata.normalize("NFC", "été.png")),
            (unicodedata.normalize("NFC", "été.png"), unicodedata.normalize("NFD", "été.png")),
        ],
    )
    def test_in_another_spelling_mean_the_only_file_that_matches(
        self, folder: CocoFolder, on_disk: str, listed: str
    ) -> None:
        (folder.images_folder / on_disk).parent.mkdir(exist_ok=True)
        (folder.images_folder / "1.png").rename(folder.images_folder / on_disk)
        folder.images[0]["file_name"] = listed
        dataset = folder.open()
        assert [sample.file_name for sample in dataset.samples] == [on_disk]
        assert finding(dataset, "other_spelling").examples == [f"{listed}: {on_disk}"]
        assert dataset.load_image(0).shape == (3, 30, 40)

    def test_may_contain_the_path_of_the_folder(self, folder: CocoFolder) -> None:
        folder.images[0]["file_name"] = str(folder.images_folder / "1.png")
        folder.add_image()
        folder.images[1]["file_name"] = "../images/2.png"
        assert [sample.file_name for sample in folder.open().samples] == ["1.png", "2.png"]

    @pytest.mark.parametrize(
        "listed",
        [
            "https://host/data/1.png",
            "https://host/data/1.png?signed=a%2Fb",
            "train/1.png",
            "C:\\data\\1.png",
            "other/images/1.png",
            "deep/er/1.png",
        ],
    )
    def test_under_another_path_are_refused(self, folder: CocoFolder, listed: str) -> None:
        folder.add_image()
        folder.images[0]["file_name"] = listed
        with pytest.raises(DataError) as caught:
            folder.open()
        assert f"file_under_other_path: 1 ({listed}: 1.png" in caught.value.message

    def test_that_are_missing_are_read_from_the_url(self, folder: CocoFolder) -> None:
        del folder.images[0]["file_name"]
        folder.images[0]["coco_url"] = "http://host/zips/images/1.png"
        dataset = folder.open()
        assert [sample.file_name for sample in dataset.samples] == ["1.png"]
        assert finding(dataset, "file_name_from_url").examples == ["images/1.png"]
        folder.images[0]["coco_url"] = "http://host/zips/val2017/1.png"
        with pytest.raises(DataError, match=r"file_under_other_path: 1 \(val2017/1.png: 1.png"):
            folder.open()

    def test_of_a_file_in_a_subfolder_are_read_if_the_path_says_so(self, folder: CocoFolder) -> None:
        (folder.images_folder / "sub").mkdir()
        (folder.images_folder / "1.png").rename(folder.images_folder / "sub" / "1.png")
        with pytest.raises(DataError, match=r"file_under_other_path: 1 \(1.png: sub/1.png"):
            folder.open()
        folder.images[0]["path"] = "/datasets/mine/sub/1.png"
        assert [sample.file_name for sample in folder.open().samples] == ["sub/1.png"]

    @pytest.mark.parametrize("other", ["a b.png", "A%20B.png"])
    def test_of_two_images_that_match_one_file_are_both_missing(self, folder: CocoFolder, other: str) -> None:
        Image.new("RGB", (40, 30)).save(folder.images_folder / "a b.png")
        for image_id, name in enumerate((other, "images\\a b.png"), start=5):
            folder.images.append({"id": image_id, "file_name": name, "width": 40, "height": 30})
        with pytest.raises(DataError, match=r"missing_image: . \(.*images\\\\?a b.png"):
            folder.open()

    def test_that_match_two_files_are_missing(self, folder: CocoFolder) -> None:
        for name in ("Cat.png", "CAT.png"):
            Image.new("RGB", (40, 30)).save(folder.images_folder / name)
        if len(list(folder.images_folder.iterdir())) < 3:
            pytest.skip("the file system ignores case")
        folder.images[0]["file_name"] = "cat.png"
        with pytest.raises(DataError, match="missing_image: 1"):
            folder.open()


class TestInvalidTexts:
    @pytest.mark.parametrize("name", ["a\0b.png", "\ud800.png", " "])
    def test_as_file_names_are_refused_or_dropped(self, folder: CocoFolder, name: str) -> None:
        folder.images.append({"id": 2, "file_name": name, "width": 40, "height": 30})
        with pytest.raises(DataError, match=r"malformed_image: 1 \(images\[1\]: id 2, file_name "):
            folder.open()
        assert problems(folder.open(on_bad="drop")) == {"malformed_image": ("dropped", 1)}

    def test_as_class_names_are_refused(self, folder: CocoFolder) -> None:
        folder.categories[0]["name"] = "c\ud800t"
        with pytest.raises(DataError, match=r"malformed_category: 1 \(categories\[0\]: id 1, name "):
            folder.open()

    def test_as_ids_are_escaped_and_shortened_in_reports(self, folder: CocoFolder) -> None:
        folder.add_box(id="\ud800" + "x" * 10_000, bbox=(4, 5, 0, 8))
        (example,) = finding(folder.open(), "box_without_area").examples
        assert example.startswith("annotation \\ud800xxx")
        assert len(example) < 400


class TestCategories:
    @pytest.mark.parametrize(("name", "read"), [(0, "0"), (1.5, "1.5")])
    def test_with_a_number_as_name_are_named_by_its_digits(self, folder: CocoFolder, name: Any, read: str) -> None:
        folder.categories[0]["name"] = name
        dataset = folder.open()
        assert dataset.checked.boxes_per_category == {read: 1, "dog": 0}
        assert problems(dataset) == {"category_name_as_number": ("repaired", 1)}

    @pytest.mark.parametrize("name", [True, None, "", "  ", ["cat"]])
    def test_without_a_name_are_reported_but_not_their_annotations(self, folder: CocoFolder, name: Any) -> None:
        folder.categories[0]["name"] = name
        with pytest.raises(DataError, match="malformed_category") as caught:
            folder.open()
        assert "unknown_category" not in caught.value.message

    @pytest.mark.parametrize(
        "categories",
        [
            [{"id": 0, "name": "pets", "supercategory": "none"}, {"id": 1, "name": "cat", "supercategory": "pets"}],
            [{"id": 0, "name": "cat", "supercategory": "none"}, {"id": 1, "name": "cat", "supercategory": "cat"}],
            [{"id": 0, "name": "cat", "supercategory": "none"}, {"id": 1, "name": "cat", "supercategory": "none"}],
            [{"id": "0", "name": "pets", "supercategory": "none"}, {"id": "1", "name": "cat", "supercategory": "pets"}],
        ],
    )
    def test_that_are_the_root_of_the_classes_are_dropped(self, folder: CocoFolder, categories: list[Any]) -> None:
        folder.categories = categories
        dataset = folder.open()
        assert dataset.checked.boxes_per_category == {"cat": 1}
        assert problems(dataset)["root_category"] == ("dropped", 1)

    @pytest.mark.parametrize(
        "category",
        [
            {"id": 0, "name": "pets", "supercategory": "all"},
            {"id": 0, "name": "birds", "supercategory": "none"},
            {"id": 7, "name": "pets", "supercategory": "none"},
        ],
    )
    def test_without_annotations_are_classes_if_they_are_not_the_root(self, folder: CocoFolder, category: Any) -> None:
        folder.categories = [category, {"id": 1, "name": "cat", "supercategory": "pets"}]
        dataset = folder.open()
        assert dataset.checked.boxes_per_category == {category["name"]: 0, "cat": 1}
        assert dataset.checked.findings == []

    def test_above_others_are_classes_if_the_other_split_uses_them(self, folder: CocoFolder, tmp_path: Path) -> None:
        other = CocoFolder(tmp_path / "other")
        for each in (folder, other):
            each.categories = [
                {"id": 0, "name": "pets", "supercategory": "none"},
                {"id": 1, "name": "cat", "supercategory": "pets"},
            ]
        other.add_image()
        other.add_box(category_id=0)
        coco = Coco(train=folder.write(), val=other.write())
        assert open_dataset(coco, "train").checked.boxes_per_category == {"pets": 0, "cat": 1}
        assert open_dataset(coco, "val").checked.boxes_per_category == {"pets": 1, "cat": 0}


def _text_of(folder: CocoFolder, change: Callable[[str], str]) -> CocoSplit:
    folder.write()
    folder.annotations_file.write_text(change(folder.annotations_file.read_text()))
    return folder.split


class TestJson:
    @pytest.mark.parametrize(
        ("before", "after", "named"),
        [
            ('"iscrowd": 0', '"iscrowd": 0, "iscrowd": 1', "iscrowd of id 1"),
            ('"annotations": [', '"annotations": [], "annotations": [', "annotations of the file"),
            ('"name": "cat"', '"name": "cow", "name": "cat"', "name of name cat"),
        ],
    )
    def test_with_two_values_for_a_key_is_refused(
        self, folder: CocoFolder, before: str, after: str, named: str
    ) -> None:
        _text_of(folder, lambda text: text.replace(before, after, 1))
        with pytest.raises(DataError) as caught:
            folder.reopen(on_bad="drop")
        assert f"duplicate_key: 1 ({named}" in caught.value.message

    def test_with_the_same_value_twice_for_a_key_is_read(self, folder: CocoFolder) -> None:
        _text_of(folder, lambda text: text.replace('"iscrowd": 0', '"iscrowd": 0, "iscrowd": 0', 1))
        assert folder.reopen().checked.findings == []

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
    def test_in_any_unicode_encoding_is_read(self, folder: CocoFolder, encoding: str) -> None:
        folder.categories[0]["name"] = "Känguru"
        folder.write()
        text = json.dumps(json.loads(folder.annotations_file.read_text()), ensure_ascii=False)
        folder.annotations_file.write_bytes(text.encode(encoding))
        assert folder.reopen().checked.boxes_per_category == {"Känguru": 1, "dog": 0}

    def test_of_detections_is_reported_as_such(self, folder: CocoFolder) -> None:
        folder.annotations_file.write_text('[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.9}]')
        with pytest.raises(DataError, match="detections: name the annotation file that belongs to them"):
            folder.reopen()
