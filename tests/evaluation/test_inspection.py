"""The job that checks a data set, on real files."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from PIL import Image

from fgd_core.data import open_dataset
from fgd_core.errors import DataError
from fgd_core.runs import execute
from fgd_core.spec.data import Coco, Registered
from fgd_core.spec.event_text import describe
from fgd_core.spec.events import ArtifactSaved, DataChecked, DataSetChecked, RunFinished, Warned
from fgd_core.spec.kinds.check_data import CheckDataSpec
from fgd_core.spec.profiles import Bin
from tests.library import RecordingContext, train_spec, with_data, write_pool, write_squares

Document: TypeAlias = dict[str, Any]
"""The `data` of a spec."""


@pytest.fixture
def data(tmp_path: Path) -> Document:
    """Six images to train on, four to score on, of 64 px, with a square of 32 px each."""
    train = write_squares(tmp_path / "train", 6)["train"]
    val = write_squares(tmp_path / "val", 4)["val"]
    document = json.loads(Path(val["annotations"]).read_text())
    for annotation in document["annotations"]:
        annotation["bbox"][2] = 20
    Path(val["annotations"]).write_text(json.dumps(document))
    return {"type": "coco", "train": train, "val": val}


def check(tmp_path: Path, data: Document, **fields: object) -> tuple[RecordingContext, RunFinished]:
    spec = CheckDataSpec.model_validate({"name": "check", "data": data} | fields)
    context = RecordingContext(tmp_path / "job")
    return context, execute(spec, context)


def change_annotations(part: dict[str, str], **fields: object) -> None:
    path = Path(part["annotations"])
    document = json.loads(path.read_text())
    document["annotations"][0] |= fields
    path.write_text(json.dumps(document))


class TestValidDataSet:
    def test_is_counted_and_has_the_fingerprints_of_a_training(self, tmp_path: Path, data: Document) -> None:
        context, end = check(tmp_path, data)
        assert end.outcome == "succeeded"
        (event,) = context.of(DataSetChecked)
        assert [(each.split, each.num_images, each.num_boxes) for each in event.splits] == [
            ("train", 6, 6),
            ("val", 4, 4),
        ]
        opened = [open_dataset(Coco.model_validate(data), split).fingerprint for split in ("train", "val")]
        assert [each.fingerprint for each in event.splits] == opened
        train, val = event.profiles
        assert (train.num_small, train.num_medium, val.num_small) == (0, 6, 4)
        assert train.images_per_category == {"square": 6}
        assert train.objects_per_image == [Bin(first=0, last=0, count=0), Bin(first=1, last=1, count=6)]
        assert train.longer_sides_px == [Bin(first=0, last=256, count=6)]
        assert (train.num_sizes, train.common_sizes[0].num_images) == (1, 6)

    def test_samples_of_both_splits_are_drawn(self, tmp_path: Path, data: Document) -> None:
        context, _ = check(tmp_path, data, num_samples=5)
        assert [saved.name for saved in context.of(ArtifactSaved)] == ["samples_train.png", "samples_val.png"]
        with Image.open(tmp_path / "job" / "samples_train.png") as picture:
            # Two rows of four squares of 256 px.
            assert picture.size == (4 * 260 + 4, 2 * 260 + 4)
            assert (230, 25, 75) in set(picture.convert("RGB").get_flattened_data())

    def test_training_images_are_drawn_with_their_changes(self, tmp_path: Path) -> None:
        data = {"type": "shapes", "num_train": 8, "num_val": 2, "image_size_px": 64}
        augment = [{"type": "vertical_flip", "probability": 1.0}, {"type": "copy_paste"}, {"type": "mosaic"}]
        pictures = []
        for number, of_input in enumerate(({"augment": augment}, {"augment": augment}, {"augment": []})):
            folder = tmp_path / str(number)
            context, end = check(folder, data, input={"shorter_px": 64} | of_input, num_samples=2)
            assert end.outcome == "succeeded", end.error
            assert [saved.name for saved in context.of(ArtifactSaved)][2:] == ["samples_augmented.png"]
            pictures.append((folder / "job" / "samples_augmented.png").read_bytes())
        assert pictures[0] == pictures[1] != pictures[2]

    def test_changes_that_do_not_suit_the_data_fail_the_check(self, tmp_path: Path, data: Document) -> None:
        _, end = check(tmp_path, data, input={"augment": [{"type": "copy_paste"}]})
        assert end.error is not None and "copy_paste, which copies objects by their masks" in end.error.message

    @pytest.mark.parametrize("shapes", [{"type": "shapes", "num_train": 4, "num_val": 2, "image_size_px": 64}])
    def test_synthetic_data_can_be_checked(self, tmp_path: Path, shapes: Document) -> None:
        assert check(tmp_path, shapes)[1].outcome == "succeeded"


class TestPool:
    def test_is_counted_and_gets_a_fingerprint(self, tmp_path: Path, data: Document) -> None:
        context, end = check(tmp_path, data | {"pool": write_pool(tmp_path / "pool")})
        (event,) = context.of(DataSetChecked)
        assert end.outcome == "succeeded" and event.pool is not None
        assert (event.pool.num_images, len(event.pool.fingerprint)) == (6, 64)

    def test_that_a_training_would_refuse_fails_the_check(self, tmp_path: Path, data: Document) -> None:
        context, end = check(tmp_path, data | {"pool": {"images": data["val"]["images"]}})
        assert end.error is not None and "pool_image_in_val" in end.error.message
        assert context.of(DataSetChecked)[0].pool is None


class TestBadData:
    def test_is_counted_and_drawn_and_refused_with_all_findings(self, tmp_path: Path, data: Document) -> None:
        (Path(data["train"]["images"]) / "3.png").unlink()
        change_annotations(data["val"], category_id=9)
        context, end = check(tmp_path, data)
        assert (end.outcome, end.error is not None and end.error.code) == ("failed", "data")
        assert end.error is not None
        assert "missing_image" in end.error.message
        assert "unknown_category" in end.error.message
        (event,) = context.of(DataSetChecked)
        found = {
            each.split: [(f.problem, f.action) for f in each.findings if f.action == "refused"] for each in event.splits
        }
        assert found == {"train": [("missing_image", "refused")], "val": [("unknown_category", "refused")]}
        assert event.splits[0].num_images == 5
        assert len(context.of(ArtifactSaved)) == 2

    def test_passes_if_the_spec_drops_it(self, tmp_path: Path, data: Document) -> None:
        (Path(data["train"]["images"]) / "3.png").unlink()
        context, end = check(tmp_path, data | {"on_bad": "drop"})
        assert end.outcome == "succeeded"
        assert ("missing_image", "dropped") in [(f.problem, f.action) for f in context.of(DataChecked)[0].findings]

    def test_an_image_in_both_splits_is_reported(self, tmp_path: Path, data: Document) -> None:
        shutil.copy(data["train"]["annotations"], data["val"]["annotations"])
        shutil.copytree(data["train"]["images"], data["val"]["images"], dirs_exist_ok=True)
        context, end = check(tmp_path, data)
        (found,) = [f for f in context.of(DataChecked)[1].findings if f.problem == "in_both_splits"]
        assert (found.count, found.action, end.outcome) == (6, "kept", "succeeded")

    def test_an_unreadable_split_does_not_hide_the_findings_of_the_other(self, tmp_path: Path, data: Document) -> None:
        Path(data["train"]["annotations"]).write_text("no JSON")
        change_annotations(data["val"], category_id=9)
        context, end = check(tmp_path, data)
        assert end.error is not None
        assert ("not JSON" in end.error.message, "unknown_category" in end.error.message) == (True, True)
        (event,) = context.of(DataSetChecked)
        assert [(each.split, each.findings[0].problem) for each in event.splits] == [("val", "unknown_category")]

    def test_splits_of_other_classes_are_refused(self, tmp_path: Path, data: Document) -> None:
        path = Path(data["val"]["annotations"])
        path.write_text(path.read_text().replace('"square"', '"circle"'))
        assert "different categories" in str(check(tmp_path, data)[1].error)


def every_image_gone(folder: Path) -> Document:
    parts = {split: write_squares(folder / split, 4)["train"] for split in ("train", "val")}
    for part in parts.values():
        for image in Path(part["images"]).glob("*.png"):
            image.unlink()
    return {"type": "coco", **parts}


def every_box_bad(folder: Path) -> Document:
    parts = {split: write_squares(folder / split, 4)["train"] for split in ("train", "val")}
    for part in parts.values():
        path = Path(part["annotations"])
        document = json.loads(path.read_text())
        document["annotations"] = [each | {"bbox": [1, 2, 3]} for each in document["annotations"]]
        path.write_text(json.dumps(document))
    return {"type": "coco", **parts}


def every_label_file_gone(folder: Path) -> Document:
    for split in ("train", "val"):
        (folder / "images" / split).mkdir(parents=True)
        Image.new("RGB", (40, 30)).save(folder / "images" / split / "1.png")
    (folder / "data.yaml").write_text("{names: [cat], train: images/train, val: images/val}")
    return {"type": "yolo", "data_yaml": str(folder / "data.yaml")}


def every_xml_gone(folder: Path) -> Document:
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    for split in ("train", "val"):
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("one\n")
    Image.new("RGB", (40, 30)).save(folder / "JPEGImages" / "one.jpg")
    return {"type": "voc", "folder": str(folder)}


ALL_BAD = [
    (every_image_gone, "missing_image", "0.png"),
    (every_box_bad, "malformed_box", "annotation 1"),
    (every_label_file_gone, "missing_label_file", "1.png"),
    (every_xml_gone, "missing_annotation_file", "one.xml"),
]


@pytest.mark.parametrize("on_bad", ["refuse", "drop"])
@pytest.mark.parametrize(("make_bad", "problem", "example"), ALL_BAD)
class TestOnlyBadEntries:
    def test_the_check_reports_each_finding_and_its_error_starts_with_them(
        self, tmp_path: Path, make_bad: Callable[[Path], Document], problem: str, example: str, on_bad: str
    ) -> None:
        context, end = check(tmp_path, make_bad(tmp_path / "set") | {"on_bad": on_bad})
        assert end.error is not None
        found, lacking = end.error.message.split(
            "Fix these problems: without the bad entries, the train split has no "
        )[:2]
        assert f"{problem}: " in found
        assert example in found
        assert lacking
        assert not [advice for advice in ("add images", "annotate objects") if advice in end.error.message]
        (event,) = context.of(DataSetChecked)
        assert [each.split for each in event.splits] == ["train", "val"]
        assert all(problem in [found.problem for found in each.findings] for each in event.splits)

    def test_a_training_reports_each_finding(
        self, tmp_path: Path, make_bad: Callable[[Path], Document], problem: str, example: str, on_bad: str
    ) -> None:
        context = RecordingContext(tmp_path / "job")
        end = execute(with_data(train_spec(), make_bad(tmp_path / "set") | {"on_bad": on_bad}), context)
        assert end.error is not None
        assert (end.error.code, f"{problem}: " in end.error.message, example in end.error.message) == (
            "data",
            True,
            True,
        )
        (event,) = context.of(DataChecked)
        assert problem in [found.problem for found in event.findings]


def test_the_terminal_shows_each_finding_with_its_meaning_before_the_counts(tmp_path: Path) -> None:
    context, _ = check(tmp_path, every_image_gone(tmp_path / "set"))
    first, *_, counts = str(describe(context.of(DataChecked)[0])).splitlines()
    assert first == (
        "train: 4 missing_image refused (0.png, 1.png, 2.png, 3.png): the images folder does not contain this file"
    )
    assert counts == "train: 0 images, 0 boxes"


class TestMasks:
    @pytest.fixture
    def masked(self, data: Document) -> Document:
        """All objects have a mask; one mask is empty."""
        for part in (data["train"], data["val"]):
            path = Path(part["annotations"])
            document = json.loads(path.read_text())
            for annotation in document["annotations"]:
                x, y, width, height = annotation["bbox"]
                annotation["segmentation"] = [[x, y, x + width, y, x + width, y + height, x, y + height]]
            document["annotations"][1]["segmentation"] = []
            path.write_text(json.dumps(document))
        return data

    def test_that_are_bad_are_reported_and_do_not_fail_the_check(self, tmp_path: Path, masked: Document) -> None:
        context, end = check(tmp_path, masked)
        assert end.outcome == "succeeded"
        train, _ = context.of(DataSetChecked)[0].splits
        found = [(each.problem, each.action) for each in train.findings if "mask" in each.problem]
        assert found == [("missing_mask", "refused")]
        assert (train.num_boxes, train.masks_fingerprint is not None) == (6, True)

    def test_that_are_all_bad_are_reported(self, tmp_path: Path, masked: Document) -> None:
        for part in (masked["train"], masked["val"]):
            path = Path(part["annotations"])
            document = json.loads(path.read_text())
            document["annotations"] = [
                each | {"segmentation": {"size": [1, 1], "counts": [0, 1]}} for each in document["annotations"]
            ]
            path.write_text(json.dumps(document))
        context, end = check(tmp_path, masked)
        train, _ = context.of(DataSetChecked)[0].splits
        found = [(each.problem, each.count) for each in train.findings if "mask" in each.problem]
        assert found == [("mask_of_other_size", 6)]
        assert (end.outcome, train.num_boxes, train.masks_fingerprint) == ("succeeded", 6, None)

    @pytest.mark.parametrize("with_masks", [False, True])
    def test_do_not_change_the_fingerprint_of_checked_data(
        self, tmp_path: Path, masked: Document, *, with_masks: bool
    ) -> None:
        lenient = masked | {"on_bad": "drop"}
        event = check(tmp_path, lenient)[0].of(DataSetChecked)[0]
        prints = {each.split: each.fingerprint for each in event.splits}
        resolved = {"dataset_id": "d1", "data": lenient, "fingerprints": prints}
        named = Registered.model_validate({"name": "squares", "resolved": resolved})
        assert open_dataset(named, "train", with_masks=with_masks).checked.num_boxes == (5 if with_masks else 6)
        change_annotations(masked["train"], bbox=[1, 1, 9, 9])
        with pytest.raises(DataError, match="has changed since its newest check"):
            open_dataset(named, "train", with_masks=with_masks)


class TestNamedData:
    """Data as the control plane resolves `data: {type: registered, name: …}`."""

    def named(self, data: Document, **fields: object) -> Document:
        prints = {split: open_dataset(Coco.model_validate(data), split).fingerprint for split in ("train", "val")}  # type: ignore[arg-type]
        resolved = {"dataset_id": "d1", "data": data, "fingerprints": prints} | fields.pop("resolved", {})
        return {"type": "registered", "name": "squares", "resolved": resolved} | fields

    def run(self, tmp_path: Path, data: Document) -> tuple[RecordingContext, RunFinished]:
        context = RecordingContext(tmp_path / "job")
        return context, execute(with_data(train_spec(training={"epochs": 1}), data), context)

    def test_trains_like_the_same_data_written_out(self, tmp_path: Path, data: Document) -> None:
        context, end = self.run(tmp_path, self.named(data))
        assert end.outcome == "succeeded", end.error
        assert context.of(DataChecked)[0].num_images == 6

    def test_changed_since_its_check_fails_the_run_before_the_first_step(self, tmp_path: Path, data: Document) -> None:
        named = self.named(data)
        change_annotations(data["val"], bbox=[1, 1, 9, 9])
        _, end = self.run(tmp_path, named)
        assert end.error is not None
        assert end.error.code == "data"
        assert "val split of 'squares' has changed since its newest check" in end.error.message
        assert "fgd data check squares" in end.error.message

    def test_changed_since_its_check_is_a_warning_if_the_spec_says_so(self, tmp_path: Path, data: Document) -> None:
        named = self.named(data, if_changed="warn")
        change_annotations(data["val"], bbox=[1, 1, 9, 9])
        context, end = self.run(tmp_path, named)
        assert end.outcome == "succeeded", end.error
        assert [warned.code for warned in context.of(Warned) if warned.code == "data_changed"] == ["data_changed"]

    def test_without_a_check_reports_its_fingerprint(self, tmp_path: Path, data: Document) -> None:
        context, end = self.run(tmp_path, self.named(data, resolved={"fingerprints": None}))
        assert end.outcome == "succeeded", end.error
        assert len(context.of(DataChecked)[0].fingerprint) == 64

    def test_a_new_check_is_not_compared_with_the_old_check(self, tmp_path: Path, data: Document) -> None:
        named = self.named(data)
        change_annotations(data["val"], bbox=[1, 1, 9, 9])
        assert check(tmp_path, named)[1].outcome == "succeeded"

    def test_needs_a_control_plane(self, tmp_path: Path) -> None:
        _, end = self.run(tmp_path, {"type": "registered", "name": "squares"})
        assert end.error is not None
        assert (end.error.code, "fgd submit" in end.error.message) == ("spec", True)


def test_real_data_is_drawn_with_its_annotations(shared: Path, tmp_path: Path) -> None:
    root = shared / "data" / "nuclei_small"
    part = {
        split: {"images": f"{root}/images", "annotations": f"{root}/annotations_{split}.json"}
        for split in ("train", "val")
    }
    context, end = check(tmp_path, {"type": "coco", **part}, num_samples=4)
    assert end.outcome == "succeeded", end.error
    (event,) = context.of(DataSetChecked)
    assert [each.num_boxes for each in event.splits] == [3556, 1053]
    picture = (tmp_path / "job" / "samples_val.png").read_bytes()
    assert Image.open(io.BytesIO(picture)).size == (4 * 260 + 4, 264)
