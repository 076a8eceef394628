"""The images and label files of a YOLO data set are found in usual and unusual places, or reported."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from coco_folder import finding
from PIL import Image
from yolo_folder import BOX, YoloFolder

from fgd_core.data import open_dataset
from fgd_core.data.samples import DetectionDataset
from fgd_core.errors import DataError, StorageError
from fgd_core.spec.data import Yolo

APPLE_DOUBLE = b"\0\x05\x16\x07" + bytes(60)


@pytest.fixture
def folder(tmp_path: Path) -> YoloFolder:
    """Creates a data set with two training images and a validation image, each with a cat."""
    folder = YoloFolder(tmp_path / "set")
    folder.add("1.png")
    folder.add("2.png")
    folder.add("3.png", at="images/val")
    return folder


def move(folder: YoloFolder, source: str, target: str) -> None:
    (folder.root / target).parent.mkdir(parents=True, exist_ok=True)
    (folder.root / source).rename(folder.root / target)


def problems(dataset: DetectionDataset) -> list[str]:
    return [found.problem for found in dataset.checked.findings]


class TestLabelFile:
    @pytest.mark.parametrize("name", ["1.TXT", "1.Txt", "1.png.txt"])
    def test_may_have_another_suffix(self, folder: YoloFolder, name: str) -> None:
        move(folder, "labels/train/1.txt", f"labels/train/{name}")
        dataset = folder.open()
        assert (dataset.checked.num_boxes, problems(dataset)) == (2, [])

    @pytest.mark.parametrize("name", ["IMG_1.txt", "img_1.TXT"])
    def test_may_differ_from_its_image_in_case(self, folder: YoloFolder, name: str) -> None:
        folder.add("Img_1.png")
        move(folder, "labels/train/Img_1.txt", f"labels/train/{name}")
        assert folder.open().checked.num_boxes == 3

    def test_may_differ_from_its_image_in_unicode_form(self, folder: YoloFolder) -> None:
        folder.add("caf\u00e9.png")
        move(folder, "labels/train/caf\u00e9.txt", "labels/train/cafe\u0301.txt")
        assert folder.open().checked.num_boxes == 3

    def test_beside_its_image_is_read_and_reported(self, folder: YoloFolder) -> None:
        move(folder, "labels/train/2.txt", "images/train/2.txt")
        dataset = folder.open()
        assert dataset.checked.num_boxes == 2
        assert finding(dataset, "labels_beside_images").examples == ["2.png"]

    def test_in_two_places_is_refused_if_the_contents_differ(self, folder: YoloFolder) -> None:
        (folder.root / "images/train/2.txt").write_text(BOX)
        assert folder.open().checked.findings == []
        (folder.root / "images/train/2.txt").write_text("1 0.5 0.5 0.1 0.1")
        with pytest.raises(DataError, match=r"labels_in_two_places: 1 .2.png: labels/train/2.txt, images/train/2.txt"):
            folder.open()

    def test_is_not_a_caption(self, folder: YoloFolder) -> None:
        folder.add("4.png", None)
        (folder.root / "images/train/4.txt").write_text("a cat on a mat, 4 of 5 times asleep")
        assert problems(folder.open()) == ["missing_label_file"]

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
    def test_may_have_any_unicode_encoding(self, folder: YoloFolder, encoding: str) -> None:
        (folder.root / "labels/train/2.txt").write_bytes(f"{BOX}\r\n".encode(encoding))
        assert folder.open().checked.num_boxes == 2

    @pytest.mark.parametrize("content", [bytes(40), b"\xff\xfe\x00", b"0 0.5 \xe9"])
    def test_that_is_not_text_is_refused(self, folder: YoloFolder, content: bytes) -> None:
        (folder.root / "labels/train/2.txt").write_bytes(content)
        with pytest.raises(DataError, match="unreadable_label_file"):
            folder.open()

    def test_that_is_a_broken_link_is_refused(self, folder: YoloFolder) -> None:
        (folder.root / "labels/train/2.txt").unlink()
        (folder.root / "labels/train/2.txt").symlink_to("gone.txt")
        with pytest.raises(DataError, match="unreadable_label_file"):
            folder.open()


class TestLabelFolders:
    @pytest.mark.parametrize(
        ("images", "labels"),
        [("Images", "Labels"), ("images", "LABELS"), ("JPEGImages", "labels"), ("IMAGES", "labels")],
    )
    def test_may_have_names_in_any_case(self, folder: YoloFolder, images: str, labels: str) -> None:
        move(folder, "images", images)
        move(folder, "labels", f"{labels}")
        folder.document |= {"train": f"{images}/train", "val": f"{images}/val"}
        dataset = folder.open()
        assert (dataset.checked.num_boxes, problems(dataset)) == (2, [])

    @pytest.mark.parametrize("place", ["annotations/train", "labels/training", "train_labels", "labels"])
    def test_elsewhere_are_read_and_reported_if_only_one_fits(self, folder: YoloFolder, place: str) -> None:
        for name in ("1.txt", "2.txt"):
            move(folder, f"labels/train/{name}", f"{place}/{name}")
        dataset = folder.open()
        assert dataset.checked.num_boxes == 2
        assert finding(dataset, "labels_elsewhere").examples == [f"images/train: {place}"]

    def test_elsewhere_are_matched_by_the_name_of_the_split(self, folder: YoloFolder) -> None:
        folder.add("1.png", "1 0.5 0.5 0.1 0.1", at="images/val")
        move(folder, "labels", "annotations")
        assert [s.labels.tolist() for s in folder.open("train").samples] == [[0], [0]]
        assert [s.labels.tolist() for s in folder.open("val").samples] == [[1], [0]]

    def test_are_matched_by_a_word_in_their_names(self, folder: YoloFolder) -> None:
        folder.add("1.png", "1 0.5 0.5 0.1 0.1", at="images/val")
        for split in ("train", "val"):
            move(folder, f"images/{split}", f"{split}_pictures")
            move(folder, f"labels/{split}", f"{split.title()}-labels")
            folder.document[split] = f"{split}_pictures"
        assert [s.labels.tolist() for s in folder.open("train").samples] == [[0], [0]]
        assert [s.labels.tolist() for s in folder.open("val").samples] == [[1], [0]]

    @pytest.mark.parametrize("place", ["runs/detect/predict/labels", "predictions", "pred_train"])
    def test_of_predictions_are_never_read(self, folder: YoloFolder, place: str) -> None:
        for name in ("1.txt", "2.txt"):
            move(folder, f"labels/train/{name}", f"{place}/{name}")
        with pytest.raises(DataError, match=f"labels_in_doubt: 2 .1.png: {place}"):
            folder.open()

    def test_elsewhere_are_refused_if_several_fit(self, folder: YoloFolder) -> None:
        move(folder, "labels/train", "old")
        (folder.root / "new").mkdir()
        (folder.root / "new/1.txt").write_text("1 0.5 0.5 0.1 0.1")
        with pytest.raises(DataError, match=r"labels_in_doubt: 2 .1.png: new, old"):
            folder.open()

    def test_of_another_split_are_never_read(self, folder: YoloFolder) -> None:
        folder.add("1.png", at="images/val")
        (folder.root / "labels/train/1.txt").unlink()
        (folder.root / "labels/train/2.txt").unlink()
        with pytest.raises(DataError, match="missing_label_file"):
            folder.open()

    def test_are_refused_if_images_of_two_folders_match(self, folder: YoloFolder) -> None:
        folder.add("1.png", None, at="images/val")
        for name in ("1.txt", "2.txt"):
            move(folder, f"labels/train/{name}", f"labels/{name}")
        (folder.root / "labels/val/3.txt").unlink()
        with pytest.raises(DataError, match="labels_in_doubt"):
            folder.open()


class TestImageFolder:
    def test_may_contain_links_to_folders(self, folder: YoloFolder, tmp_path: Path) -> None:
        for kind in ("images", "labels"):
            (tmp_path / kind).mkdir()
            (folder.root / kind / "train/more").symlink_to(tmp_path / kind)
        Image.new("RGB", (40, 30)).save(tmp_path / "images/7.png")
        (tmp_path / "labels/7.txt").write_text(BOX)
        dataset = folder.open()
        assert [sample.file_name for sample in dataset.samples] == ["1.png", "2.png", "more/7.png"]
        assert dataset.checked.num_boxes == 3

    @pytest.mark.parametrize("above", ["images/train", "images", "."])
    def test_with_a_link_to_itself_is_read_once(self, folder: YoloFolder, above: str) -> None:
        (folder.root / "images/train/again").symlink_to(folder.root / above)
        (folder.root / "images/train/self").symlink_to("self")
        assert folder.open().checked.num_images == 2

    def test_may_contain_system_files(self, folder: YoloFolder) -> None:
        for name in ("images/train/._1.png", "labels/train/._1.txt", "images/train/__MACOSX/1.png"):
            (folder.root / name).parent.mkdir(exist_ok=True)
            (folder.root / name).write_bytes(APPLE_DOUBLE)
        for name in ("Thumbs.db", ".DS_Store", "desktop.ini"):
            (folder.root / "images/train" / name).write_bytes(APPLE_DOUBLE)
            (folder.root / "labels/train" / name).write_bytes(APPLE_DOUBLE)
        dataset = folder.open()
        assert (dataset.checked.num_images, problems(dataset)) == (2, [])

    @pytest.mark.parametrize("suffix", ["jfif", "jpe", "avif", "mpo", "PNG"])
    def test_may_contain_images_with_rare_suffixes(self, folder: YoloFolder, suffix: str) -> None:
        folder.add("4.png")
        image = folder.root / "images/train/4.png"
        Image.open(image).save(image.with_suffix(f".{suffix}"), format="PNG")
        image.unlink()
        assert folder.open().checked.num_boxes == 3

    def test_with_unsupported_images_is_refused(self, folder: YoloFolder) -> None:
        (folder.root / "images/train/4.heic").write_bytes(b"\0\0\0\x18ftypheic")
        with pytest.raises(DataError, match=r"unread_image_format: 1 .4.heic .HEIC"):
            folder.open()

    def test_may_contain_raw_files_beside_images(self, folder: YoloFolder) -> None:
        (folder.root / "images/train/1.dng").write_bytes(b"II*\0")
        assert problems(folder.open()) == []


class TestImageList:
    @pytest.mark.parametrize(
        "line",
        [
            "data/images/train/1.png",
            "images\\train\\1.png",
            ".\\images\\train\\1.png",
            "/home/somebody/set/images/train/1.png",
            "C:\\Users\\somebody\\set\\images\\train\\1.png",
            "../set/images/train/1.png",
            "  images/train/1.png \r",
        ],
    )
    def test_may_contain_paths_of_another_machine(self, folder: YoloFolder, line: str) -> None:
        (folder.root / "list.txt").write_text(f"\n{line}\n\n")
        folder.document["train"] = "list.txt"
        dataset = folder.open()
        assert [sample.file_name for sample in dataset.samples] == ["images/train/1.png"]
        assert dataset.checked.num_boxes == 1

    def test_may_contain_names_with_spaces(self, folder: YoloFolder) -> None:
        folder.add("my cat 1.png")
        (folder.root / "list.txt").write_bytes("images/train/my cat 1.png\r\n".encode("utf-16"))
        folder.document["train"] = "list.txt"
        assert folder.open().checked.num_boxes == 1

    def test_may_leave_images_to_another_list(self, folder: YoloFolder) -> None:
        (folder.root / "a.txt").write_text("images/train/1.png\n")
        (folder.root / "b.txt").write_text("images/train/2.png\n")
        folder.document |= {"train": "a.txt", "val": "b.txt"}
        assert problems(folder.open()) == []

    def test_beside_images_is_not_a_label_file(self, tmp_path: Path) -> None:
        folder = YoloFolder(tmp_path / "flat")
        folder.add("1.png", at="")
        (folder.root / "train.txt").write_text("1.png\n")
        (folder.root / "1.txt").write_text(BOX)
        folder.document |= {"train": "train.txt", "val": "train.txt"}
        assert problems(folder.open()) == []


class TestSplitEntry:
    @pytest.mark.parametrize(
        "place",
        [
            "/content/drive/set/images/train",
            "C:\\data\\set\\images\\train",
            "data/images/train",
            "../../set/images/train",
            "images\\train",
        ],
    )
    def test_may_be_a_path_of_another_machine(self, folder: YoloFolder, place: str) -> None:
        folder.document["train"] = place
        assert folder.open().checked.num_boxes == 2

    def test_outside_the_root_is_refused(self, folder: YoloFolder, tmp_path: Path) -> None:
        (tmp_path / "other/images/train").mkdir(parents=True)
        folder.document["train"] = str(tmp_path / "other/images/train")
        with pytest.raises(DataError, match="outside"):
            folder.open()

    @pytest.mark.parametrize("entry", ["valid", "validation"])
    def test_for_validation_may_have_other_names(self, folder: YoloFolder, entry: str) -> None:
        folder.document[entry] = folder.document.pop("val")
        assert folder.open("val").checked.num_boxes == 1

    @pytest.mark.parametrize("nothing", [None, "", "~"])
    def test_without_a_value_is_missing(self, folder: YoloFolder, nothing: Any) -> None:
        folder.document["train"] = nothing
        with pytest.raises(DataError, match="no 'train' split"):
            folder.open()

    def test_with_an_invalid_path_is_refused_with_the_cure(self, folder: YoloFolder) -> None:
        folder.document |= {"path": "../datasets/toy", "train": "photos/train"}
        with pytest.raises(DataError, match=r"`path` \(../datasets/toy\).*set data.root"):
            folder.open()

    def test_is_relative_to_path_from_the_file_below_a_wider_root(self, folder: YoloFolder) -> None:
        (folder.root / "cfg").mkdir()
        document = {**folder.document, "path": "../images/..", "names": ["cat", "dog"]}
        (folder.root / "cfg/toy.yaml").write_text(yaml.safe_dump(document))
        spec = Yolo(data_yaml=str(folder.root / "cfg/toy.yaml"), root=str(folder.root))
        assert open_dataset(spec, "train").checked.num_boxes == 2


class TestClassNames:
    @pytest.mark.parametrize(
        ("text", "names"),
        [
            ("[yes, no]", ["yes", "no"]),
            ("[NO, 1.5]", ["NO", "1.5"]),
            ("[on, off]", ["on", "off"]),
            ("[010, 2024-01-01]", ["010", "2024-01-01"]),
            ("[0x1F, 1_000]", ["0x1F", "1_000"]),
            ("[null, 1e3]", ["null", "1e3"]),
            ("['0', 12:30:45]", ["0", "12:30:45"]),
            ("{'0': cat, '1': dog}", ["cat", "dog"]),
            ("{1: dog, 0: no}", ["no", "dog"]),
        ],
    )
    def test_stay_the_text_in_the_file(self, folder: YoloFolder, text: str, names: list[str]) -> None:
        assert [category.name for category in folder.open_with_names(text).categories] == names

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{0: cat, 0: dog}", "key '0' twice"),
            ("{0: cat, 00: dog}", "have the index 0"),
            ("[cat, '']", "class 1 in data.yaml has no name"),
            ("\n- cat\n-", "class 1 in data.yaml has no name"),
            ("[cat, [dog]]", "class 1 in data.yaml has no name"),
            ("classes.names", "neither a list nor a file"),
            ("../classes.txt", "neither a list nor a file"),
        ],
    )
    def test_are_refused_if_invalid(self, folder: YoloFolder, text: str, message: str) -> None:
        with pytest.raises(DataError, match=message):
            folder.open_with_names(text)

    @pytest.mark.parametrize(
        ("file", "content"),
        [
            ("obj.names", "yes\r\nbig dog\r\n\r\n"),
            ("classes.txt", "\ufeffyes\nbig dog"),
            ("names.yaml", "names: [yes, big dog]"),
            ("names.yml", "0: yes\n1: big dog"),
        ],
    )
    def test_may_be_in_a_separate_file(self, folder: YoloFolder, file: str, content: str) -> None:
        (folder.root / file).write_text(content)
        assert [category.name for category in folder.open_with_names(file).categories] == ["yes", "big dog"]

    def test_may_be_in_utf_16(self, folder: YoloFolder) -> None:
        text = json.dumps({**folder.document, "names": ["Käse", "狗"]}, ensure_ascii=False)
        assert [c.name for c in folder.open_text(text.encode("utf-16")).categories] == ["Käse", "狗"]


def test_a_data_yaml_that_is_not_unicode_is_refused(folder: YoloFolder) -> None:
    with pytest.raises(DataError, match="save it as UTF-8"):
        folder.open_text("names: [Käse]\ntrain: images/train\n".encode("cp1252"))


def test_an_invalid_data_yaml_is_refused_with_the_line(folder: YoloFolder) -> None:
    with pytest.raises(DataError, match=r"not valid YAML.*line 2"):
        folder.open_text(b"names:\n\t- cat\n")


def test_a_repeated_split_in_data_yaml_is_refused(folder: YoloFolder) -> None:
    with pytest.raises(DataError, match="key 'train' twice"):
        folder.open_text(b"names: [cat, dog]\ntrain: images/train\nval: images/val\ntrain: images/val\n")


@pytest.mark.skipif(os.getuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed_is_refused(folder: YoloFolder) -> None:
    (folder.root / "images/train/locked").mkdir(mode=0)
    with pytest.raises(StorageError, match="cannot be listed"):
        folder.open()
