"""Annotations that are well formed but probably wrong are found; valid data has no findings."""

from pathlib import Path
from typing import Any

import pytest
from coco_folder import CocoFolder, finding
from PIL import Image

from fgd_core.data import inspect_dataset
from fgd_core.errors import DataError
from fgd_core.spec.data import Coco, CocoSplit, Shapes, Voc, Yolo
from tests.data.shapes_as_coco import to_coco


@pytest.fixture
def folder(tmp_path: Path) -> CocoFolder:
    """Creates a data set with one image of 400x300 px and no boxes."""
    folder = CocoFolder(tmp_path / "set")
    folder.add_image(Image.new("RGB", (400, 300)))
    return folder


CORNERS = [(100, 100, 150, 160), (20, 30, 90, 80), (200, 150, 260, 230)]
"""Boxes that are inside the image both as corners and as sizes."""


class TestCorners:
    @pytest.mark.parametrize("on_bad", ["refuse", "drop"])
    @pytest.mark.parametrize("last_pixel", [0, 1])
    def test_are_refused_if_the_areas_fit_corners(self, folder: CocoFolder, on_bad: str, last_pixel: int) -> None:
        for x1, y1, x2, y2 in CORNERS:
            folder.add_box(bbox=(x1, y1, x2, y2), area=(x2 - x1 + last_pixel) * (y2 - y1 + last_pixel))
        with pytest.raises(DataError, match=r"boxes_as_corners: 3 \(annotation 1: \[100.0, 100.0, 150.0, 160.0\]"):
            folder.open(on_bad=on_bad)

    def test_are_refused_if_the_polygons_fit_corners(self, folder: CocoFolder) -> None:
        for x1, y1, x2, y2 in CORNERS:
            folder.add_box(bbox=(x1, y1, x2, y2), area=None, segmentation=[[x1, y1, x2, y1, x2, y2, x1, y2]])
        with pytest.raises(DataError, match="boxes_as_corners: 3"):
            folder.open()

    def test_are_not_found_if_one_area_fits_by_chance(self, folder: CocoFolder) -> None:
        x1, y1, x2, y2 = CORNERS[0]
        folder.add_box(bbox=CORNERS[0], area=(x2 - x1) * (y2 - y1))
        for _ in range(2):
            folder.add_box(bbox=(10, 20, 100, 80), area=5000)
        assert folder.open().checked.findings == []

    def test_are_not_found_if_both_readings_fit_the_area(self, folder: CocoFolder) -> None:
        folder.add_box(bbox=(0, 0, 20, 10), area=200)
        assert folder.open().checked.findings == []

    @pytest.mark.parametrize("on_bad", ["refuse", "drop"])
    def test_are_refused_if_only_corners_fit_the_image(self, folder: CocoFolder, on_bad: str) -> None:
        for x1, y1, x2, y2 in [(250, 200, 390, 290), (300, 100, 350, 160), (20, 30, 90, 80)]:
            folder.add_box(bbox=(x1, y1, x2, y2), area=None)
        with pytest.raises(DataError, match=r"boxes_as_corners: 2 \(annotation 1 in 1.png"):
            folder.open(on_bad=on_bad)

    def test_are_not_found_if_few_boxes_leave_the_image(self, folder: CocoFolder) -> None:
        folder.add_box(bbox=(250, 200, 390, 290), area=None)
        for _ in range(3):
            folder.add_box(bbox=(20, 30, 90, 80), area=None)
        assert "boxes_as_corners" not in [found.problem for found in folder.open().checked.findings]


class TestBoxesBelowAPixel:
    def test_that_are_fractions_are_refused_or_dropped(self, folder: CocoFolder) -> None:
        folder.add_box(bbox=(0.25, 0.25, 0.5, 0.5), area=None)
        folder.add_box(bbox=(10, 20, 100, 80), area=None)
        with pytest.raises(DataError, match=r"normalised_box: 1 \(annotation 1 in 1.png"):
            folder.open()
        assert folder.open(on_bad="drop").checked.num_boxes == 1

    @pytest.mark.parametrize("on_bad", ["refuse", "drop"])
    @pytest.mark.parametrize("first", [(50, 20, 0.25, 0.5), (0, 0, 1, 1)])
    def test_are_refused_if_all_boxes_are_so_small(
        self, folder: CocoFolder, first: tuple[float, ...], on_bad: str
    ) -> None:
        for box in (first, (100, 20, 0.25, 1)):
            folder.add_box(bbox=box, area=None)
        with pytest.raises(DataError, match="all_boxes_within_one_pixel: 2"):
            folder.open(on_bad=on_bad)

    def test_are_kept_and_reported_among_others(self, folder: CocoFolder) -> None:
        folder.add_box(bbox=(50, 20, 0.25, 0.5), area=None)
        folder.add_box(bbox=(10, 20, 100, 80), area=None)
        dataset = folder.open()
        assert (finding(dataset, "box_below_one_pixel").action, dataset.checked.num_boxes) == ("kept", 2)

    def test_are_found_in_yolo_and_voc(self, tmp_path: Path) -> None:
        for name in ("images", "labels", "Annotations", "JPEGImages", "ImageSets/Main"):
            (tmp_path / name).mkdir(parents=True)
        for name in ("images/1.png", "JPEGImages/1.jpg"):
            Image.new("RGB", (400, 300)).save(tmp_path / name)
        (tmp_path / "labels" / "1.txt").write_text("0 0.5 0.5 0.001 0.001\n0 0.1 0.1 0.002 0.003\n")
        (tmp_path / "data.yaml").write_text("{names: [cat], train: images, val: images}")
        (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("1\n")
        (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("1\n")
        (tmp_path / "Annotations" / "1.xml").write_text(
            "<annotation><object><name>cat</name><bndbox><xmin>0.2</xmin><ymin>0.2</ymin><xmax>0.7</xmax>"
            "<ymax>0.7</ymax></bndbox></object></annotation>"
        )
        yolo = inspect_dataset(Yolo(data_yaml=str(tmp_path / "data.yaml")), "train")
        assert "all_boxes_within_one_pixel" in str(yolo.refusal)
        voc = inspect_dataset(Voc(folder=str(tmp_path), one_based=False), "train")
        assert "normalised_box" in str(voc.refusal)


class TestBoxesApartFromTheirOutline:
    @pytest.mark.parametrize("form", ["polygon", "run lengths"])
    def test_are_refused_or_dropped(self, folder: CocoFolder, form: str) -> None:
        folder.add_box(bbox=(10, 20, 100, 80), area=None, segmentation=[[10, 20, 110, 20, 110, 100, 10, 100]])
        column = [100, 50, 150]
        segmentation: Any = [[10, 200, 110, 200, 110, 280, 10, 280]]
        if form == "run lengths":
            segmentation = {"size": [300, 400], "counts": [300 * 50 + column[0], column[1], 300 * 349 + column[2]]}
        folder.add_box(bbox=(200, 20, 100, 40), area=None, segmentation=segmentation)
        problem = "box_off_its_polygon" if form == "polygon" else "box_off_its_mask"
        with pytest.raises(DataError, match=rf"{problem}: 1 \(annotation 2 in 1.png"):
            folder.open(with_masks=True)
        assert folder.open(on_bad="drop", with_masks=True).checked.num_boxes == 1

    def test_are_refused_even_without_reading_masks(self, folder: CocoFolder) -> None:
        folder.add_box(bbox=(200, 20, 100, 40), area=None, segmentation=[[10, 200, 110, 200, 110, 280, 10, 280]])
        with pytest.raises(DataError, match="box_off_its_polygon"):
            folder.open()

    def test_are_kept_and_reported_if_they_touch_it(self, folder: CocoFolder) -> None:
        folder.add_box(bbox=(10, 20, 100, 80), segmentation=[[110, 20, 200, 20, 200, 100, 110, 100]])
        folder.add_box(bbox=(10, 20, 100, 80), segmentation=[[10, 60, 110, 60, 110, 140, 10, 140]])
        dataset = folder.open()
        assert [(each.problem, each.action, each.count) for each in dataset.checked.findings] == [
            ("box_unlike_its_polygon", "kept", 2)
        ]
        assert dataset.checked.num_boxes == 2

    @pytest.mark.parametrize("polygon", [[10, 20, 110, 60, 30, 100], [9, 18, 112, 18, 112, 103, 9, 103]])
    def test_are_not_found_if_they_fit_it_roughly(self, folder: CocoFolder, polygon: list[int]) -> None:
        folder.add_box(bbox=(10, 20, 100, 80), segmentation=[polygon])
        assert folder.open().checked.findings == []


class TestCategories:
    @pytest.mark.parametrize(
        "names",
        [
            ("Car", "car"),
            ("car", "car "),
            ("traffic light", "traffic  light"),
            ("ﬁsh", "fish"),
            ("cat", "c\u200bat"),
            ("\u00e9t\u00e9", "e\u0301te\u0301"),
        ],
    )
    def test_with_similar_names_are_kept_and_reported(self, folder: CocoFolder, names: tuple[str, str]) -> None:
        folder.categories = [{"id": place, "name": name} for place, name in enumerate(names, start=1)]
        folder.add_box()
        dataset = folder.open()
        found = finding(dataset, "similar_category_names")
        assert (found.action, found.examples) == ("kept", [f"{names[0]!r}, {names[1]!r}"])
        assert len(dataset.categories) == 2

    @pytest.mark.parametrize("on_bad", ["refuse", "drop"])
    @pytest.mark.parametrize(("listed", "used"), [((1, 2, 3), (0, 1, 2)), ((0, 1, 2), (1, 2, 3)), ((1,), (0,))])
    def test_shifted_by_one_are_refused(
        self, folder: CocoFolder, listed: tuple[int, ...], used: tuple[int, ...], on_bad: str
    ) -> None:
        folder.categories = [{"id": one, "name": f"class {one}"} for one in listed]
        for category_id in used:
            folder.add_box(category_id=category_id)
        with pytest.raises(DataError, match="shifted_category_ids: 1") as caught:
            folder.open(on_bad=on_bad)
        assert "unknown_category" not in caught.value.message

    @pytest.mark.parametrize("used", [(1, 2, 3), (0, 3), (1, 2, 9)])
    def test_unknown_for_other_reasons_are_not_reported_as_shifted(
        self, folder: CocoFolder, used: tuple[int, ...]
    ) -> None:
        folder.categories = [{"id": one, "name": f"class {one}"} for one in (1, 2)]
        for category_id in used:
            folder.add_box(category_id=category_id)
        folder.add_box(category_id=1)
        with pytest.raises(DataError, match="unknown_category"):
            folder.open()


class TestManyObjects:
    def test_are_reported_with_the_possible_recall(self, folder: CocoFolder) -> None:
        folder.add_image()
        folder.add_box(2)
        for place in range(199):
            folder.add_box(bbox=(place, 10, 20, 20), area=400)
        found = finding(folder.open(), "many_objects")
        assert (found.action, found.count) == ("kept", 1)
        assert found.examples == ["1.png: 199 objects, recall at most 50.3% in this image and 50.5% in the split"]

    def test_are_not_found_up_to_100_without_crowds(self, folder: CocoFolder) -> None:
        for place in range(110):
            folder.add_box(bbox=(place, 10, 20, 20), area=400, iscrowd=int(place >= 100))
        assert folder.open().checked.findings == []


class TestValidData:
    @pytest.mark.parametrize("split", ["train", "val"])
    @pytest.mark.parametrize("name", ["bccd", "nuclei_small"])
    def test_published_data_has_no_findings(self, shared: Path, name: str, split: Any) -> None:
        root = shared / "data" / name
        if not root.is_dir():
            pytest.skip(f"no data set at {root}")
        parts = {
            each: CocoSplit(images=f"{root}/images", annotations=f"{root}/annotations_{each}.json")
            for each in ("train", "val")
        }
        dataset = inspect_dataset(Coco(**parts), split, with_masks=True)
        assert (dataset.checked.findings, dataset.refusal) == ([], None)

    def test_synthetic_data_has_no_findings(self, tmp_path: Path) -> None:
        part = to_coco(Shapes(num_train=200), "train", tmp_path)
        dataset = inspect_dataset(Coco(train=part, val=part), "train", with_masks=True)
        assert dataset.checked.findings == []
