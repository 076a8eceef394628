"""Opening Pascal VOC data sets, with the mistakes that their files may contain."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from coco_folder import finding
from PIL import Image

from fgd_core.data import open_dataset
from fgd_core.data.samples import DetectionDataset, check_same_categories
from fgd_core.errors import DataError
from fgd_core.spec.data import Coco, CocoSplit, Voc

BILLION_LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><annotation><filename>&b;</filename></annotation>'


def obj(name: str = "cat", corners: Sequence[object] = (5, 6, 14, 13), **fields: object) -> str:
    box = "".join(
        f"<{key}>{value}</{key}>" for key, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    )
    rest = "".join(f"<{key}>{value}</{key}>" for key, value in fields.items())
    return f"<object><name>{escape(name)}</name>{rest}<bndbox>{box}</bndbox></object>"


class VocFolder:
    """Writes a data set in the layout of Pascal VOC."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (root / part).mkdir(parents=True)
        self.sets: dict[str, list[str]] = {"train": [], "val": []}

    def add(self, name: str, *objects: str, image_set: str = "train", **changes: Any) -> None:
        """Write an image of 40x30 px; `changes` replace the name of its file, or values in its XML."""
        fields: dict[str, Any] = {"file": f"{name}.jpg", "filename": f"{name}.jpg", "size": (40, 30), "xml": None}
        fields |= changes
        if fields["file"]:
            Image.new("RGB", (40, 30), (10, 200, 30)).save(self.root / "JPEGImages" / fields["file"])
        width, height = fields["size"]
        size = f"<size><width>{width}</width><height>{height}</height></size>" if width else ""
        xml = f"<annotation><filename>{fields['filename']}</filename>{size}{''.join(objects)}</annotation>"
        (self.root / "Annotations" / f"{name}.xml").write_text(fields["xml"] or xml)
        self.sets[image_set].append(name)

    def open(self, split: Any = "train", **fields: Any) -> DetectionDataset:
        for image_set, names in self.sets.items():
            (self.root / "ImageSets" / "Main" / f"{image_set}.txt").write_text("".join(f"{name}\n" for name in names))
        return open_dataset(Voc(folder=str(self.root), **fields), split)


@pytest.fixture
def folder(tmp_path: Path) -> VocFolder:
    """Creates a data set with a training and a validation image, each with a cat."""
    folder = VocFolder(tmp_path / "VOC2007")
    folder.add("000001", obj())
    folder.add("000002", obj(), image_set="val")
    return folder


class TestValidFolder:
    def test_corners_are_inclusive_pixels_counted_from_one(self, folder: VocFolder) -> None:
        (sample,) = folder.open().samples
        assert sample.boxes_xyxy_px.tolist() == [[4, 5, 14, 13]]
        assert (sample.file_name, sample.width, sample.height) == ("000001.jpg", 40, 30)
        assert sample.areas_px2.tolist() == [80]
        assert folder.open().load_image(0).shape == (3, 30, 40)

    def test_corners_may_be_edges_counted_from_zero(self, folder: VocFolder) -> None:
        assert folder.open(one_based=False).samples[0].boxes_xyxy_px.tolist() == [[5, 6, 14, 13]]

    def test_a_box_may_be_one_pixel(self, folder: VocFolder) -> None:
        folder.add("one", obj(corners=(1, 1, 1, 1)))
        assert folder.open().samples[1].boxes_xyxy_px.tolist() == [[0, 0, 1, 1]]

    def test_classes_come_from_both_splits_in_alphabetical_order(self, folder: VocFolder) -> None:
        folder.add("000003", obj("zebra"), obj("ant"), image_set="val")
        train, val = folder.open("train"), folder.open("val")
        assert [(c.id, c.name) for c in train.categories] == [(1, "ant"), (2, "cat"), (3, "zebra")]
        check_same_categories(train, val)
        assert train.samples[0].labels.tolist() == [1]

    def test_classes_may_be_listed_in_the_spec(self, folder: VocFolder) -> None:
        assert [c.name for c in folder.open(classes=("dog", "cat")).categories] == ["dog", "cat"]

    def test_difficult_objects_are_crowds_unless_the_spec_keeps_them(self, folder: VocFolder) -> None:
        folder.add("hard", obj(difficult=1), obj(corners=(1, 1, 5, 5), difficult=0))
        assert folder.open().samples[1].is_crowd.tolist() == [True, False]
        assert folder.open(difficult="keep").samples[1].is_crowd.tolist() == [False, False]

    def test_parts_of_objects_are_ignored(self, folder: VocFolder) -> None:
        part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
        folder.add("man", obj("person").replace("</object>", f"{part}</object>"))
        dataset = folder.open()
        assert (dataset.checked.boxes_per_category, dataset.checked.findings) == ({"cat": 1, "person": 1}, [])

    def test_image_sets_of_one_class_can_be_named(self, folder: VocFolder) -> None:
        folder.sets["cat_trainval"] = ["000001  1", "000002 -1"]
        assert folder.open(train="cat_trainval").checked.num_images == 2

    def test_images_may_be_of_other_formats(self, folder: VocFolder) -> None:
        folder.add("drawn", obj(), file="drawn.PNG", filename="drawn.png")
        assert folder.open().samples[1].file_name == "drawn.PNG"


def _no_xml(folder: VocFolder) -> None:
    folder.add("gone", obj())
    (folder.root / "Annotations" / "gone.xml").unlink()


BAD_ENTRIES: list[tuple[str, Callable[[VocFolder], None], str]] = [
    ("missing_annotation_file", _no_xml, "gone.xml"),
    ("missing_image", lambda f: f.add("lost", obj(), file=None), "lost.jpg"),
    ("git_lfs_pointer", lambda f: f.add("lfs", xml="version https://git-lfs.github.com/spec/v1\n"), "lfs.xml"),
    ("malformed_xml", lambda f: f.add("torn", xml="<annotation><object>"), "torn.xml"),
    ("malformed_xml", lambda f: f.add("other", xml="<html/>"), "other.xml"),
    ("malformed_xml", lambda f: f.add("bomb", xml=BILLION_LAUGHS), "bomb.xml"),
    ("malformed_object", lambda f: f.add("bare", "<object><name>cat</name></object>", obj()), "object 1 of bare.xml"),
    (
        "malformed_object",
        lambda f: f.add("twice", obj().replace("</object>", "<bndbox><xmin>1</xmin></bndbox></object>"), obj()),
        "object 1 of twice.xml",
    ),
    ("malformed_object", lambda f: f.add("anon", obj(""), obj()), "object 1 of anon.xml"),
    ("size_mismatch", lambda f: f.add("big", obj(), size=(41, 30)), "big.jpg is 40x30, annotated 41x30"),
    ("bad_name", lambda f: f.sets["train"].append("../../secret"), "../../secret"),
]


class TestBadEntries:
    @pytest.mark.parametrize(("problem", "make_bad", "name"), BAD_ENTRIES)
    def test_are_refused_with_their_names(
        self, folder: VocFolder, problem: str, make_bad: Callable[[VocFolder], None], name: str
    ) -> None:
        make_bad(folder)
        with pytest.raises(DataError) as caught:
            folder.open()
        assert problem in caught.value.message
        assert name in caught.value.message

    @pytest.mark.parametrize(("problem", "make_bad", "name"), BAD_ENTRIES)
    def test_are_dropped_with_their_names(
        self, folder: VocFolder, problem: str, make_bad: Callable[[VocFolder], None], name: str
    ) -> None:
        make_bad(folder)
        dataset = folder.open(on_bad="drop")
        (found,) = dataset.checked.findings
        assert (found.problem, found.action, found.count, found.examples) == (problem, "dropped", 1, [name])
        assert dataset.samples[0].boxes_xyxy_px.tolist() == [[4, 5, 14, 13]]

    def test_a_class_that_the_spec_does_not_list_is_reported(self, folder: VocFolder) -> None:
        folder.add("zoo", obj("zebra"), obj("cat"))
        dataset = folder.open(classes=("cat",), on_bad="drop")
        assert "zebra" in finding(dataset, "unknown_category").examples[0]
        assert len(dataset.samples[1].labels) == 1

    def test_a_repeated_class_is_refused(self, folder: VocFolder) -> None:
        with pytest.raises(DataError, match="duplicate_category_name"):
            folder.open(classes=("cat", "cat"), on_bad="drop")

    def test_the_annotation_decides_between_files_with_one_name(self, folder: VocFolder) -> None:
        folder.add("two", obj(), filename="two.png")
        Image.new("RGB", (40, 30)).save(folder.root / "JPEGImages" / "two.png")
        assert folder.open().samples[1].file_name == "two.png"
        folder.add("both", obj(), filename="both")
        Image.new("RGB", (40, 30)).save(folder.root / "JPEGImages" / "both.png")
        assert finding(folder.open(on_bad="drop"), "ambiguous_image_file").examples == ["both.jpg, both.png"]


class TestRepairedOrKeptEntries:
    def test_bad_boxes_are_dropped_and_those_past_the_border_clipped(self, folder: VocFolder) -> None:
        folder.add(
            "odd",
            obj(corners=("a", 2, 3, 4)),
            obj(corners=(9, 9, 3, 12)),
            obj(corners=(30, 20, 60, 25)),
            obj(corners=(70, 20, 80, 25)),
        )
        dataset = folder.open(on_bad="drop")
        assert dataset.samples[1].boxes_xyxy_px.tolist() == [[29, 19, 40, 25]]
        actions = {found.problem: (found.action, found.count) for found in dataset.checked.findings}
        assert actions == {
            "malformed_box": ("dropped", 1),
            "negative_box_size": ("dropped", 1),
            "box_outside_image": ("dropped", 1),
            "box_past_border": ("clipped", 1),
        }
        with pytest.raises(
            DataError, match=r"negative_box_size: 1 \(object 2 of odd.xml in odd.jpg: corners 8, 8, 3, 12"
        ):
            folder.open(on_bad="refuse")

    def test_a_corner_at_zero_is_reported(self, folder: VocFolder) -> None:
        folder.add("zero", obj(corners=(0, 3, 9, 9)))
        assert finding(folder.open(), "corner_zero").examples == ["object 1 of zero.xml"]
        assert folder.open(one_based=False).checked.findings == []

    def test_an_image_without_size_gets_that_of_its_file(self, folder: VocFolder) -> None:
        folder.add("sizeless", obj(), size=(0, 0))
        assert finding(folder.open(), "image_without_size").count == 1

    def test_an_image_listed_twice_counts_once(self, folder: VocFolder) -> None:
        folder.sets["train"].append("000001")
        dataset = folder.open()
        assert (finding(dataset, "repeated_image").examples, len(dataset.samples)) == (["000001"], 1)

    def test_an_annotation_that_names_another_image_is_reported(self, folder: VocFolder) -> None:
        folder.add("copied", obj(), filename="original.jpg")
        assert finding(folder.open(), "other_file_name").examples == ["copied.xml: original.jpg"]

    def test_an_image_without_objects_is_kept(self, folder: VocFolder) -> None:
        folder.add("empty")
        assert folder.open().checked.num_images_without_boxes == 1


ENCODINGS = [
    ("utf-16", "utf-16"),
    ("utf-8-sig", "utf-8"),
    ("utf-8", ""),
    ("gbk", "gb2312"),
    ("gb18030", "GBK"),
    ("shift_jis", "Shift_JIS"),
    ("utf-16-le", "utf-16"),
    ("utf-8", "utf-16"),
]


class TestXmlText:
    @pytest.mark.parametrize(("encoding", "declared"), ENCODINGS)
    def test_may_be_in_the_encoding_that_it_declares(self, folder: VocFolder, encoding: str, declared: str) -> None:
        folder.add("cjk", obj("猫"))
        path = folder.root / "Annotations/cjk.xml"
        declaration = f"<?xml version='1.0' encoding='{declared}'?>\n" if declared else ""
        path.write_bytes((declaration + path.read_text(encoding="utf-8")).encode(encoding))
        assert [category.name for category in folder.open().categories] == ["cat", "猫"]

    def test_with_a_class_in_another_encoding_is_refused(self, folder: VocFolder) -> None:
        folder.add("cjk", obj("狗"))
        path = folder.root / "Annotations/cjk.xml"
        path.write_bytes(path.read_text(encoding="utf-8").encode("gbk"))
        with pytest.raises(DataError, match=r"undecodable_xml: 1 .cjk.xml.*save it as UTF-8"):
            folder.open()

    def test_may_have_a_path_in_another_encoding(self, folder: VocFolder) -> None:
        folder.add("path", obj(), xml=None)
        path = folder.root / "Annotations/path.xml"
        content = path.read_text().replace("<size>", "<path>D:\\图片\\path.jpg</path><size>")
        path.write_bytes(content.encode("gbk"))
        assert folder.open().checked.findings == []

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-8", "utf-7"])
    def test_with_a_document_type_is_refused_in_any_encoding(self, folder: VocFolder, encoding: str) -> None:
        folder.add("bomb", obj())
        declared = f"<?xml version='1.0' encoding='{encoding}'?>{BILLION_LAUGHS}"
        (folder.root / "Annotations/bomb.xml").write_bytes(declared.encode(encoding))
        with pytest.raises(DataError, match=r"malformed_xml: 1 .bomb.xml"):
            folder.open()

    def test_may_have_an_unescaped_ampersand(self, folder: VocFolder) -> None:
        folder.add("R&D", obj(), filename="R&D.jpg")
        assert folder.open().checked.findings == []


class TestImageSetNames:
    @pytest.mark.parametrize(
        "line",
        [
            "my cat 1",
            "my cat 1.jpg",
            "my cat 1.xml",
            "JPEGImages/my cat 1.jpg",
            "./JPEGImages/my cat 1",
            "JPEGImages\\my cat 1.jpg",
            "/home/somebody/VOC2007/JPEGImages/my cat 1.jpg",
            "C:\\VOC2007\\Annotations\\my cat 1.xml",
            "data/obj_train_data/my cat 1.jpg",
            "  my cat 1\r",
            "My Cat 1",
        ],
    )
    def test_may_be_paths_of_other_tools_and_machines(self, folder: VocFolder, line: str) -> None:
        folder.add("my cat 1", obj())
        folder.add("my cat", obj("dog"))
        folder.sets["train"] = [line, "", "   "]
        dataset = folder.open()
        assert [sample.file_name for sample in dataset.samples] == ["my cat 1.jpg"]
        assert dataset.checked.findings == []

    def test_may_all_end_with_a_number(self, folder: VocFolder) -> None:
        folder.add("my cat 1", obj())
        folder.add("my cat 0", obj())
        folder.sets["train"] = ["my cat 1", "my cat 0"]
        assert [sample.file_name for sample in folder.open().samples] == ["my cat 1.jpg", "my cat 0.jpg"]

    def test_may_be_followed_by_the_column_of_one_class(self, folder: VocFolder) -> None:
        folder.add("my cat", obj())
        folder.sets["cat_train"] = ["my cat  1", "000001 -1"]
        assert [s.file_name for s in folder.open(train="cat_train").samples] == ["my cat.jpg", "000001.jpg"]

    def test_may_contain_dots_folders_and_accents(self, folder: VocFolder) -> None:
        for part in ("Annotations", "JPEGImages"):
            (folder.root / part / "子").mkdir()
        folder.add("a.rgb", obj())
        folder.add("子/e\u0301t\u00e9", obj(), filename="\u00e9t\u00e9.jpg")
        folder.sets["train"] = ["a.rgb", "子/\u00e9t\u00e9"]
        assert folder.open().checked.num_images == 2

    def test_may_omit_the_folder_of_a_unique_file(self, folder: VocFolder) -> None:
        for part in ("Annotations", "JPEGImages"):
            (folder.root / part / "a").mkdir()
            (folder.root / part / "b").mkdir()
        folder.add("a/one", obj(), filename="one.jpg")
        folder.add("a/two", obj(), filename="two.jpg")
        folder.add("b/two", obj(), filename="two.jpg")
        folder.sets["train"] = ["one", "two"]
        dataset = folder.open(on_bad="drop")
        assert [sample.file_name for sample in dataset.samples] == ["a/one.jpg"]
        assert finding(dataset, "missing_annotation_file").examples == ["two.xml"]

    def test_may_be_in_utf_16(self, folder: VocFolder) -> None:
        folder.open()
        (folder.root / "ImageSets/Main/train.txt").write_bytes("000001\r\n".encode("utf-16"))
        assert open_dataset(Voc(folder=str(folder.root)), "train").checked.num_images == 1


class TestFiles:
    def test_may_have_names_in_any_case(self, folder: VocFolder) -> None:
        folder.open()
        (folder.root / "Annotations/000001.xml").rename(folder.root / "Annotations/000001.XML")
        (folder.root / "JPEGImages/000001.jpg").rename(folder.root / "JPEGImages/000001.JPG")
        (folder.root / "JPEGImages").rename(folder.root / "JpegImages")
        (folder.root / "Annotations").rename(folder.root / "annotations")
        dataset = open_dataset(Voc(folder=str(folder.root)), "train")
        assert (dataset.checked.num_boxes, dataset.checked.findings) == (1, [])

    def test_are_matched_in_any_case_and_unicode_form(self, folder: VocFolder) -> None:
        folder.add("IMG_1", obj(), file="img_1.jpg", filename="img_1.jpg")
        folder.add("\u00e9t\u00e9", obj(), file="e\u0301te\u0301.jpg")
        assert folder.open().checked.num_images == 3

    def test_that_differ_only_in_case_are_distinguished(self, folder: VocFolder) -> None:
        folder.add("a", obj())
        folder.add("A", obj("dog"))
        folder.sets["train"] = ["a", "A"]
        assert [sample.file_name for sample in folder.open().samples] == ["a.jpg", "A.jpg"]

    @pytest.mark.parametrize("suffix", ["jfif", "jpe", "png", "avif"])
    def test_may_have_rare_suffixes(self, folder: VocFolder, suffix: str) -> None:
        folder.add("rare", obj(), filename=f"rare.{suffix}")
        (folder.root / "JPEGImages/rare.jpg").rename(folder.root / f"JPEGImages/rare.{suffix}")
        assert folder.open().samples[1].file_name == f"rare.{suffix}"

    def test_of_the_system_are_ignored_and_links_followed(self, folder: VocFolder, tmp_path: Path) -> None:
        folder.add("linked", obj())
        for part in ("Annotations", "JPEGImages"):
            (folder.root / part / "._000001.xml").write_bytes(b"\0\5\x16\7")
            (folder.root / part).rename(tmp_path / part)
            (folder.root / part).symlink_to(tmp_path / part)
        dataset = folder.open()
        assert (dataset.checked.num_boxes, dataset.checked.findings) == (2, [])

    def test_may_be_named_only_by_the_annotation(self, folder: VocFolder) -> None:
        folder.add("note", obj(), file="IMG_5.jpg", filename="IMG_5.jpg")
        dataset = folder.open()
        assert dataset.samples[1].file_name == "IMG_5.jpg"
        assert finding(dataset, "image_by_file_name").examples == ["note.xml: IMG_5.jpg"]


class TestCorners:
    def test_between_pixels_are_refused_with_the_cure(self, folder: VocFolder) -> None:
        folder.add("cvat", obj(corners=(5.5, 6.25, 14, 13)))
        with pytest.raises(DataError, match=r"corners_between_pixels: 1 .object 1 of cvat.*one_based to false"):
            folder.open(on_bad="drop")
        assert folder.open(one_based=False).samples[1].boxes_xyxy_px.tolist() == [[5.5, 6.25, 14, 13]]

    def test_between_pixels_are_counted_over_both_splits(self, folder: VocFolder) -> None:
        folder.add("cvat", *[obj(corners=(5 + n % 3, 6.5, 14, 13 + n)) for n in range(5)], image_set="val")
        folder.add("whole", *[obj(corners=(5, 6, 14, 14 + n)) for n in range(15)])
        with pytest.raises(DataError, match="corners_between_pixels"):
            folder.open("val")

    def test_that_are_rarely_between_pixels_are_read_and_reported(self, folder: VocFolder) -> None:
        folder.add("many", *[obj(corners=(1 + n % 20, 1 + n // 20, 30, 25)) for n in range(199)])
        folder.add("one", obj(corners=(5.5, 6, 14, 13)))
        dataset = folder.open()
        assert dataset.samples[2].boxes_xyxy_px.tolist() == [[4.5, 5, 14, 13]]
        assert finding(dataset, "fractional_corner").examples == ["object 1 of one.xml"]

    def test_may_have_decimal_commas(self, folder: VocFolder) -> None:
        folder.add("comma", obj(corners=("5,5", "6,0", "14,0", "13,0")))
        assert folder.open(one_based=False).samples[1].boxes_xyxy_px.tolist() == [[5.5, 6, 14, 13]]


def _polygon(points: str, name: str = "cat") -> str:
    return f"<object><name>{name}</name><polygon>{points}</polygon></object>"


class TestObjectWithoutBox:
    @pytest.mark.parametrize(
        "points",
        [
            "<x1>5</x1><y1>6</y1><x2>14</x2><y2>6</y2><x3>14</x3><y3>13</y3>",
            "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in ((5, 13), (14, 6), (9, 9))),
        ],
        ids=["numbered", "points"],
    )
    def test_gets_the_box_around_its_polygon(self, folder: VocFolder, points: str) -> None:
        folder.add("outline", _polygon(points))
        dataset = folder.open()
        assert dataset.samples[1].boxes_xyxy_px.tolist() == [[4, 5, 14, 13]]
        assert finding(dataset, "box_from_polygon").examples == ["object 1 of outline.xml"]

    def test_is_refused_with_two_corners(self, folder: VocFolder) -> None:
        folder.add("line", _polygon("<x1>5</x1><y1>6</y1><x2>14</x2><y2>6</y2>"))
        with pytest.raises(DataError, match="malformed_object"):
            folder.open()

    def test_is_refused_with_a_rotated_box(self, folder: VocFolder) -> None:
        rotated = "<robndbox><cx>9</cx><cy>9</cy><w>4</w><h>2</h><angle>0.5</angle></robndbox>"
        folder.add("turned", f"<object><name>cat</name>{rotated}</object>")
        with pytest.raises(DataError, match=r"rotated_box: 1 .*robndbox"):
            folder.open()


class TestDifficult:
    @pytest.mark.parametrize("text", ["1", "True", " 1 ", "yes", "TRUE", "1.0", "Y"])
    def test_may_be_yes_in_several_forms(self, folder: VocFolder, text: str) -> None:
        folder.add("hard", obj(difficult=text))
        assert folder.open().samples[1].is_crowd.tolist() == [True]

    @pytest.mark.parametrize("text", ["0", "False", "no", "", "Unspecified", "0.0"])
    def test_may_be_no_in_several_forms(self, folder: VocFolder, text: str) -> None:
        folder.add("easy", obj(difficult=text))
        assert folder.open().samples[1].is_crowd.tolist() == [False]

    def test_is_refused_if_neither_yes_nor_no(self, folder: VocFolder) -> None:
        folder.add("hm", obj(difficult="perhaps"))
        with pytest.raises(DataError, match="unclear_difficult"):
            folder.open()


class TestRoboflowExport:
    def _rearrange(self, folder: VocFolder, folders: dict[str, str]) -> None:
        """Move the XML files and images into one folder for each split, and remove all other folders."""
        for split, place in folders.items():
            (folder.root / place).mkdir(exist_ok=True)
            for name in folder.sets[split]:
                (folder.root / "Annotations" / f"{name}.xml").rename(folder.root / place / f"{name}.xml")
                (folder.root / "JPEGImages" / f"{name}.jpg").rename(folder.root / place / f"{name}.jpg")
        for part in ("Annotations", "JPEGImages", "ImageSets/Main", "ImageSets"):
            (folder.root / part).rmdir()

    @pytest.mark.parametrize("val", ["valid", "val", "Valid"])
    def test_with_a_folder_for_each_split_is_read(self, folder: VocFolder, val: str) -> None:
        self._rearrange(folder, {"train": "train", "val": val})
        for split in ("train", "val"):
            dataset = open_dataset(Voc(folder=str(folder.root)), split)  # type: ignore[arg-type]
            assert (dataset.checked.num_boxes, dataset.checked.findings) == (1, [])

    def test_without_splits_is_refused_with_the_cure(self, folder: VocFolder) -> None:
        self._rearrange(folder, {"train": ".", "val": "."})
        with pytest.raises(DataError, match=r"2 XML files beside their images.*into the folders train and val"):
            open_dataset(Voc(folder=str(folder.root)), "train")


class TestUnusableDataSet:
    def test_a_split_of_only_difficult_objects_is_refused_with_the_cure(self, folder: VocFolder) -> None:
        folder.sets["train"] = []
        folder.add("hard", obj(difficult="True"))
        with pytest.raises(DataError, match=r"all of its 1 objects are .*difficult: keep"):
            folder.open()
        assert folder.open(difficult="keep").checked.num_boxes == 1

    def test_a_folder_of_another_layout_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no Annotations"):
            open_dataset(Voc(folder=str(tmp_path)), "train")

    def test_a_parent_folder_is_refused_with_the_folders_inside(self, folder: VocFolder) -> None:
        with pytest.raises(DataError, match="contains folders with Annotations") as caught:
            open_dataset(Voc(folder=str(folder.root.parent)), "train")
        assert caught.value.details["folders"] == ["VOC2007"]

    def test_a_missing_image_set_is_refused_with_the_existing_ones(self, folder: VocFolder) -> None:
        folder.sets["cat_train"] = []
        with pytest.raises(DataError, match="trainval") as caught:
            folder.open(train="trainval")
        assert caught.value.details["image_sets"] == ["train", "val"]

    def test_an_image_set_without_images_is_refused(self, folder: VocFolder) -> None:
        folder.sets["train"].clear()
        with pytest.raises(DataError, match="has no images"):
            folder.open()

    def test_a_split_without_boxes_is_refused(self, folder: VocFolder) -> None:
        folder.sets["train"] = []
        folder.add("empty")
        with pytest.raises(DataError, match="no boxes to learn from"):
            folder.open()


def _as_voc(bccd: Path, root: Path, *, one_based: bool) -> Sequence[str]:
    """Write BCCD in this layout, in which it was first published; return its classes in COCO's order."""
    folder = VocFolder(root)
    (root / "JPEGImages").rmdir()
    (root / "JPEGImages").symlink_to(bccd / "images")
    classes: list[str] = []
    for split in ("train", "val"):
        document = json.loads((bccd / f"annotations_{split}.json").read_text())
        names = {category["id"]: category["name"] for category in document["categories"]}
        classes = list(names.values())
        objects: dict[int, list[str]] = {}
        for one in document["annotations"]:
            x, y, width, height = one["bbox"]
            first = 1 if one_based else 0
            corners = (x + first, y + first, x + width, y + height)
            objects.setdefault(one["image_id"], []).append(obj(names[one["category_id"]], corners))
        for image in document["images"]:
            name, size = Path(image["file_name"]).stem, (image["width"], image["height"])
            folder.add(name, *objects.get(image["id"], ()), image_set=split, size=size, file=None)
    folder.open(one_based=one_based)
    return classes


@pytest.mark.parametrize("one_based", [True, False])
def test_published_data_in_this_format_equals_its_coco_form(shared: Path, tmp_path: Path, *, one_based: bool) -> None:
    bccd = shared / "data" / "bccd"
    classes = _as_voc(bccd, tmp_path / "voc", one_based=one_based)
    voc = Voc(folder=str(tmp_path / "voc"), classes=tuple(classes), one_based=one_based)
    parts = [CocoSplit(images=f"{bccd}/images", annotations=f"{bccd}/annotations_{s}.json") for s in ("train", "val")]
    coco = Coco(train=parts[0], val=parts[1])
    for split in ("train", "val"):
        ours, theirs = open_dataset(voc, split), open_dataset(coco, split)  # type: ignore[arg-type]
        assert ours.checked == theirs.checked
        assert ours.fingerprint == theirs.fingerprint
