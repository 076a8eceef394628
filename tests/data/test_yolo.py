"""Opening YOLO data sets, with the mistakes that their files may contain."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from coco_folder import finding
from PIL import Image
from yolo_folder import BOX, YoloFolder

from fgd_core.data import open_dataset
from fgd_core.data.samples import Category, check_same_categories, fingerprint
from fgd_core.errors import DataError
from fgd_core.spec.data import Coco, CocoSplit, Yolo


@pytest.fixture
def folder(tmp_path: Path) -> YoloFolder:
    """Creates a data set with a training and a validation image, each with a cat."""
    folder = YoloFolder(tmp_path / "set")
    folder.add("1.png")
    folder.add("2.png", at="images/val")
    return folder


class TestValidFolder:
    def test_is_read_without_findings(self, folder: YoloFolder) -> None:
        dataset = folder.open()
        (sample,) = dataset.samples
        assert sample.boxes_xyxy_px.tolist() == [[4, 5, 14, 13]]
        assert (sample.file_name, sample.width, sample.height) == ("1.png", 40, 30)
        assert [(c.id, c.name) for c in dataset.categories] == [(0, "cat"), (1, "dog")]
        assert dataset.checked.findings == []
        assert dataset.load_image(0).shape == (3, 30, 40)
        check_same_categories(dataset, folder.open("val"))

    def test_a_polygon_gives_its_bounding_box(self, folder: YoloFolder) -> None:
        folder.add("p.png", "1 0.1 0.2 0.5 0.2 0.5 0.8")
        assert folder.open().samples[1].boxes_xyxy_px.tolist() == [[4, 6, 20, 24]]

    def test_a_polygon_gives_a_mask_if_masks_are_read(self, folder: YoloFolder) -> None:
        folder.add("1.png", "1 0.25 0.2 0.5 0.2 0.5 0.8 0.25 0.8")
        (sample,) = folder.open(with_masks=True).samples
        assert sample.masks is not None
        (mask,) = sample.masks.decode()
        assert mask[6:24, 10:20].all()
        assert int(mask.sum()) == 18 * 10

    def test_keypoints_after_a_box_are_ignored(self, folder: YoloFolder) -> None:
        folder.document["kpt_shape"] = [2, 2]
        folder.add("1.png", f"{BOX} 0.1 0.1 0.2 0.2")
        assert folder.open().samples[0].boxes_xyxy_px.tolist() == [[4, 5, 14, 13]]

    def test_class_indices_may_have_gaps(self, folder: YoloFolder) -> None:
        folder.document["names"] = {0: "cat", 7: "dog"}
        folder.add("d.png", BOX.replace("0 ", "7 ", 1))
        dataset = folder.open()
        assert [c.id for c in dataset.categories] == [0, 7]
        assert dataset.samples[1].labels.tolist() == [1]

    def test_an_empty_label_file_means_no_objects(self, folder: YoloFolder) -> None:
        folder.add("e.png", "\n")
        checked = folder.open().checked
        assert (checked.num_images_without_boxes, checked.findings) == (1, [])

    @pytest.mark.parametrize(
        ("places", "names"),
        [
            (["images/train", "images/val"], ["images/train/1.png", "images/val/2.png"]),
            ("list.txt", ["images/val/2.png", "images/train/1.png"]),
            ("../images/train", ["1.png"]),
        ],
    )
    def test_images_may_be_in_several_folders_a_list_or_a_roboflow_path(
        self, folder: YoloFolder, places: Any, names: list[str]
    ) -> None:
        (folder.root / "list.txt").write_text("./images/val/2.png\nimages/train/1.png\n")
        folder.document["train"] = places
        dataset = folder.open()
        assert [sample.file_name for sample in dataset.samples] == names
        assert [len(sample.labels) for sample in dataset.samples] == [1] * len(names)

    def test_a_path_of_another_machine_is_ignored(self, folder: YoloFolder) -> None:
        folder.document["path"] = "../datasets/elsewhere"
        assert folder.open().checked.num_images == 1
        (folder.root / "deeper").mkdir()
        (folder.root / "images").rename(folder.root / "deeper" / "images")
        (folder.root / "labels").rename(folder.root / "deeper" / "labels")
        folder.document["path"] = "deeper"
        assert folder.open().checked.num_boxes == 1


BAD_ENTRIES: list[tuple[str, Callable[[YoloFolder], None], str]] = [
    ("unknown_category", lambda f: f.add("b.png", f"big bird 0.5 0.5 0.1 0.1\n{BOX}"), "b.txt, line 1: class big bird"),
    ("malformed_label", lambda f: f.add("b.png", f"{BOX}\n0 0.5 0.5 0.1"), "b.txt, line 2: 0 0.5 0.5 0.1"),
    ("malformed_label", lambda f: f.add("b.png", f"{BOX}\n0 0.5 0.5 0.1 nan"), "b.txt, line 2: 0 0.5 0.5 0.1 nan"),
    ("not_normalised", lambda f: f.add("b.png", f"{BOX}\n0 20 15 10 8"), "b.txt, line 2: 0 20 15 10 8"),
    ("unknown_category", lambda f: f.add("b.png", f"{BOX}\n2 0.5 0.5 0.1 0.1"), "b.txt, line 2: category 2"),
    (
        "git_lfs_pointer",
        lambda f: f.add("b.png", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "b.txt",
    ),
    ("unreadable_label_file", lambda f: f.add("b.png", b"\xff\xfe\x00"), "b.txt"),
]


class TestBadEntries:
    @pytest.mark.parametrize(("problem", "make_bad", "name"), BAD_ENTRIES)
    def test_are_refused_with_their_names(
        self, folder: YoloFolder, problem: str, make_bad: Callable[[YoloFolder], None], name: str
    ) -> None:
        make_bad(folder)
        with pytest.raises(DataError) as caught:
            folder.open()
        assert problem in caught.value.message
        assert name in caught.value.message

    @pytest.mark.parametrize(("problem", "make_bad", "name"), BAD_ENTRIES)
    def test_are_dropped_with_their_names(
        self, folder: YoloFolder, problem: str, make_bad: Callable[[YoloFolder], None], name: str
    ) -> None:
        make_bad(folder)
        dataset = folder.open(on_bad="drop")
        (found,) = dataset.checked.findings
        assert (found.problem, found.action, found.count, found.examples) == (problem, "dropped", 1, [name])
        assert dataset.samples[0].boxes_xyxy_px.tolist() == [[4, 5, 14, 13]]

    def test_a_label_file_shared_by_images_is_reported(self, folder: YoloFolder) -> None:
        folder.add("twin.png")
        folder.add("twin.jpg")
        dataset = folder.open(on_bad="drop")
        assert finding(dataset, "shared_label_file").examples == ["twin.jpg", "twin.png"]
        assert len(dataset.samples) == 1

    def test_a_label_file_without_image_is_reported(self, folder: YoloFolder) -> None:
        folder.add("lost.png")
        (folder.root / "images/train/lost.png").unlink()
        (folder.root / "labels/train/classes.txt").write_text("cat\n")
        assert finding(folder.open(on_bad="drop"), "label_without_image").examples == ["labels/train/lost.txt"]

    def test_a_listed_image_that_does_not_exist_is_reported(self, folder: YoloFolder) -> None:
        (folder.root / "list.txt").write_text("images/train/1.png\nimages/train/gone.png\n")
        folder.document["train"] = "list.txt"
        found = finding(folder.open(on_bad="drop"), "missing_image")
        assert found.examples == ["images/train/gone.png"]

    def test_a_repeated_class_name_is_refused(self, folder: YoloFolder) -> None:
        folder.document["names"] = ["cat", "cat"]
        with pytest.raises(DataError, match="duplicate_category_name"):
            folder.open(on_bad="drop")


class TestRepairedOrKeptEntries:
    def test_a_missing_label_file_means_no_objects_and_is_reported(self, folder: YoloFolder) -> None:
        folder.add("unlabelled.png", None)
        dataset = folder.open()
        assert finding(dataset, "missing_label_file").examples == ["unlabelled.png"]
        assert dataset.checked.num_images_without_boxes == 1

    def test_a_repeated_line_counts_once(self, folder: YoloFolder) -> None:
        folder.add("1.png", f"{BOX}\n{BOX}")
        dataset = folder.open()
        assert (finding(dataset, "repeated_annotation").count, dataset.checked.num_boxes) == (1, 1)

    def test_boxes_past_the_border_are_clipped_and_empty_ones_dropped(self, folder: YoloFolder) -> None:
        folder.add("1.png", "0 0.95 0.5 0.2 0.2\n0 0.5 0.5 0 0.1")
        dataset = folder.open()
        assert dataset.samples[0].boxes_xyxy_px.tolist() == [[34, 12, 40, 18]]
        assert [found.problem for found in dataset.checked.findings] == ["box_without_area", "box_past_border"]

    def test_an_image_listed_twice_counts_once(self, folder: YoloFolder) -> None:
        folder.document["train"] = ["images/train", "images/train"]
        dataset = folder.open()
        assert (finding(dataset, "repeated_image").count, len(dataset.samples)) == (1, 1)


class TestUnusableDataSet:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"train": None}, "no 'train' split"),
            ({"train": "images/training"}, "does not exist"),
            ({"train": "../../etc"}, "outside"),
            ({"train": "/etc"}, "outside"),
            ({"names": None}, "does not name its classes"),
            ({"names": {"cat": 0}}, "does not name its classes"),
            ({"nc": 3}, "3 classes"),
        ],
    )
    def test_an_invalid_data_yaml_is_refused_with_the_cure(
        self, folder: YoloFolder, changes: dict[str, Any], message: str
    ) -> None:
        folder.document |= changes
        with pytest.raises(DataError, match=message):
            folder.open()

    def test_a_list_that_leads_out_of_the_folder_is_refused(self, folder: YoloFolder) -> None:
        (folder.root / "list.txt").write_text("../../etc/1.png\n")
        folder.document["train"] = "list.txt"
        with pytest.raises(DataError, match="leads out"):
            folder.open()

    def test_a_wider_root_allows_images_outside_the_folder(self, folder: YoloFolder) -> None:
        (folder.root.parent / "elsewhere" / "images").mkdir(parents=True)
        Image.new("RGB", (40, 30)).save(folder.root.parent / "elsewhere" / "images" / "9.png")
        (folder.root.parent / "elsewhere" / "labels").mkdir()
        (folder.root.parent / "elsewhere" / "labels" / "9.txt").write_text(BOX)
        folder.document["train"] = "elsewhere/images"
        assert folder.open(root=str(folder.root.parent)).checked.num_boxes == 1

    def test_a_file_that_is_not_yaml_or_missing_is_refused(self, folder: YoloFolder) -> None:
        (folder.root / "data.yaml").write_text("names: [cat")
        with pytest.raises(DataError, match="not valid YAML"):
            open_dataset(Yolo(data_yaml=str(folder.root / "data.yaml")), "train")
        with pytest.raises(DataError, match="file does not exist"):
            open_dataset(Yolo(data_yaml=str(folder.root / "none.yaml")), "train")


def test_published_data_in_this_format_equals_its_coco_form(shared: Path, tmp_path: Path) -> None:
    bccd = shared / "data" / "bccd"
    folder = YoloFolder(tmp_path / "yolo")
    for split in ("train", "val"):
        document = json.loads((bccd / f"annotations_{split}.json").read_text())
        folder.document["names"] = [category["name"] for category in document["categories"]]
        (tmp_path / "yolo/images" / split).mkdir(parents=True)
        (tmp_path / "yolo/labels" / split).mkdir(parents=True)
        sides = {image["id"]: (image["width"], image["height"]) for image in document["images"]}
        lines: dict[int, list[str]] = {}
        for one in document["annotations"]:
            (x, y, w, h), (width, height) = one["bbox"], sides[one["image_id"]]
            numbers = ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height)
            line = " ".join(map(repr, (one["category_id"] - 1, *numbers)))
            lines.setdefault(one["image_id"], []).append(line)
        for image in document["images"]:
            name = image["file_name"]
            (tmp_path / "yolo/images" / split / name).symlink_to(bccd / "images" / name)
            label = tmp_path / "yolo/labels" / split / Path(name).with_suffix(".txt")
            label.write_text("\n".join(lines.get(image["id"], [])))
    parts = [CocoSplit(images=f"{bccd}/images", annotations=f"{bccd}/annotations_{s}.json") for s in ("train", "val")]
    coco = Coco(train=parts[0], val=parts[1])
    for split in ("train", "val"):
        ours, theirs = folder.open(split), open_dataset(coco, split)  # type: ignore[arg-type]
        assert ours.checked == theirs.checked.model_copy(update={"fingerprint": ours.fingerprint})
        # COCO counts its categories from 1, YOLO from 0; everything else is identical.
        from_zero = [Category(id=category.id - 1, name=category.name) for category in theirs.categories]
        assert ours.fingerprint == fingerprint(from_zero, theirs.samples)
