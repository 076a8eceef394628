"""Teachers from other libraries and with other classes: how they are loaded and checked."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torchvision.models.detection import retinanet_resnet50_fpn

from fgd_core.data.samples import Category
from fgd_core.data.targets import Targets
from fgd_core.detectors import build_detector
from fgd_core.detectors.weights import load_weights
from fgd_core.detectors.weights.checkpoint import DetectorCheckpoint, Record, read_checkpoint, save_checkpoint
from fgd_core.detectors.weights.classes import COCO_CLASSES
from fgd_core.detectors.weights.matching import SourceWeights
from fgd_core.detectors.weights.sources import load_teacher
from fgd_core.errors import SpecError, WeightsError
from fgd_core.evaluation.relabelled import RelabelledDetector
from fgd_core.runs import execute
from fgd_core.spec import events
from fgd_core.spec.backbones import ResNet
from fgd_core.spec.detectors import RetinaNet
from fgd_core.spec.kinds.teacher import Teacher
from tests.detectors.mmdetection_layouts import Sizes, filled, retinanet
from tests.detectors.steps import detections_of, losses_of
from tests.library import TINY_DETECTOR, RecordingContext, distill_spec, train_spec, with_data, write_squares

SMALL = Sizes(blocks=(1, 1, 1, 1), stem=4, is_basic=True, width=8, classes=2)
TINY = ResNet(name="resnet18", stem_width=4, blocks=(1, 1, 1, 1))
WIDE: dict[str, Any] = {"backbone": {"stem_width": 8}, "fpn_width": 16}


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return write_squares(tmp_path_factory.mktemp("data") / "squares")


@pytest.fixture(scope="module")
def skilled(tmp_path_factory: pytest.TempPathFactory, squares: dict[str, Any]) -> DetectorCheckpoint:
    """Checkpoint of a teacher that detects squares."""
    folder = tmp_path_factory.mktemp("skilled")
    training = {"epochs": 40, "evaluate_every": 40, "optimizer": {"learning_rate": 5e-3}}
    finished = execute(with_data(train_spec(detector=WIDE, training=training), squares), RecordingContext(folder))
    assert finished.result is not None and (finished.result.scores.ap or 0) > 0.3, finished.error
    return read_checkpoint(folder / "checkpoints/best.pt")[0]


def relabelled(skilled: DetectorCheckpoint, *classes: str) -> DetectorCheckpoint:
    """Return the same detector with another list of classes; it has not learned the new ones."""
    detector = build_detector(skilled.detector, len(classes))
    offer = SourceWeights(state=skilled.state, classes=tuple(category.name for category in skilled.categories))
    load_weights(detector, offer, classes=classes, role="teacher", source="the skilled")
    return DetectorCheckpoint(
        detector=skilled.detector,
        categories=tuple(Category(index, name) for index, name in enumerate(classes, start=5)),
        input=skilled.input,
        record=skilled.record,
        state=detector.state_dict(),
    )


def distil(teacher: dict[str, Any], squares: dict[str, Any], folder: Path, **fields: Any) -> RecordingContext:
    context = RecordingContext(folder)
    spec = distill_spec(teacher["checkpoint"], teacher=teacher, student={"fpn_width": 16}, **fields)
    execute(with_data(spec, squares), context)
    return context


class TestClasses:
    def test_a_teacher_with_more_classes_is_matched_by_name(
        self, skilled: DetectorCheckpoint, squares: dict[str, Any], tmp_path: Path
    ) -> None:
        names = [category.name for category in skilled.categories]
        save_checkpoint(tmp_path / "more.pt", relabelled(skilled, "zebra", *reversed(names)))
        teacher = {"checkpoint": str(tmp_path / "more.pt")}
        context = distil(teacher, squares, tmp_path / "run", inherit="neck_and_head")
        (checked,) = context.of(events.TeacherChecked)
        assert checked.ap == pytest.approx(checked.recorded_ap, abs=0.02) and checked.same_data
        assert checked.classes_judged == []
        inherited = {event.role: event for event in context.of(events.WeightsLoaded)}["inherited"]
        assert inherited.classes_found == names and inherited.classes_unused == ["zebra"]
        assert context.of(events.RunFinished)[0].outcome == "succeeded"

    def test_a_teacher_of_some_classes_is_scored_on_these(self, skilled: DetectorCheckpoint, tmp_path: Path) -> None:
        save_checkpoint(tmp_path / "some.pt", relabelled(skilled, "zebra", "square", "circle"))
        context = RecordingContext(tmp_path / "run")
        execute(distill_spec(tmp_path / "some.pt", student={"fpn_width": 16}), context)  # of five shapes
        (checked,) = context.of(events.TeacherChecked)
        assert checked.classes_judged == ["circle", "square"]

    def test_the_expected_ap_is_required(
        self, skilled: DetectorCheckpoint, squares: dict[str, Any], tmp_path: Path
    ) -> None:
        worse = {**skilled.state}
        worse["head.regression_head.bbox_reg.bias"] = worse["head.regression_head.bbox_reg.bias"] + 0.1
        save_checkpoint(tmp_path / "worse.pt", dataclasses.replace(skilled, state=worse, record=Record()))
        teacher: dict[str, Any] = {"checkpoint": str(tmp_path / "worse.pt")}
        silent = distil(teacher, squares, tmp_path / "silent")
        (checked,) = silent.of(events.TeacherChecked)
        assert checked.recorded_ap is None and silent.of(events.RunFinished)[0].outcome == "succeeded"
        promised = distil({**teacher, "expected_ap": 1.0}, squares, tmp_path / "promised")
        (finished,) = promised.of(events.RunFinished)
        assert finished.error is not None and finished.error.code == "teacher"
        assert "teacher.expected_ap is 1.000" in finished.error.message


class TestRelabelledDetector:
    def test_detections_get_the_labels_of_the_data_and_unknown_classes_are_dropped(self) -> None:
        settings = RetinaNet(backbone=TINY, fpn_width=8, score_threshold=0.0)
        detector = build_detector(settings, 3).eval()
        relabelled_detector = RelabelledDetector(detector, {0: 4, 2: 1}, 5)
        maps = relabelled_detector.features(torch.randn(1, 3, 64, 64))
        (raw,) = detections_of(detector, maps, [(64, 64)])
        (found,) = detections_of(relabelled_detector, maps, [(64, 64)])
        known = raw.labels != 1
        assert 0 < known.sum() < len(raw.labels)
        assert torch.equal(found.boxes_xyxy_px, raw.boxes_xyxy_px[known])
        assert found.labels.tolist() == [{0: 4, 2: 1}[label] for label in raw.labels[known].tolist()]

    def test_objects_of_unknown_classes_give_no_loss(self) -> None:
        detector = build_detector(RetinaNet(backbone=TINY, fpn_width=8), 3)
        relabelled_detector = RelabelledDetector(detector, {0: 4, 2: 1}, 5)
        boxes, sizes = torch.tensor([[0.0, 0, 30, 30], [20, 20, 60, 60]]), [(64, 64)]
        maps = relabelled_detector.features(torch.randn(1, 3, 64, 64))
        ours = losses_of(relabelled_detector, maps, Targets([boxes], [torch.tensor([3, 1])], sizes))
        theirs = losses_of(detector, maps, Targets([boxes[1:]], [torch.tensor([2])], sizes))
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


class TestMmdetection:
    def save(self, folder: Path, *, without: str | None = None, **meta: Any) -> str:
        state = {key: value for key, value in filled(retinanet(SMALL)).items() if key != without}
        torch.save({"state_dict": state, "meta": meta}, folder / "epoch_12.pth")
        return str(folder / "epoch_12.pth")

    def test_a_checkpoint_file_can_teach(self, squares: dict[str, Any], tmp_path: Path) -> None:
        teacher = {
            "checkpoint": self.save(tmp_path, CLASSES=("zebra", "square")),
            "detector": {**TINY_DETECTOR, "convention": "mmdetection"},
            "gate": "keys",
        }
        context = distil(teacher, squares, tmp_path / "run")
        assert context.of(events.RunFinished)[0].outcome == "succeeded", context.events[-1]
        (loaded,) = (event for event in context.of(events.WeightsLoaded) if event.role == "teacher")
        assert loaded.num_matched == loaded.num_total

    def test_a_missing_key_is_refused(self, tmp_path: Path) -> None:
        path = self.save(tmp_path, without="neck.fpn_convs.2.conv.weight", CLASSES=("cat", "dog"))
        settings = Teacher.model_validate(
            {"checkpoint": path, "detector": {**TINY_DETECTOR, "convention": "mmdetection"}}
        )
        with pytest.raises(WeightsError) as caught:
            load_teacher(settings, resolve=Path)
        assert caught.value.details["missing"] == ["backbone.fpn.layer_blocks.2.0.weight"]
        assert "fgd weights check" in caught.value.message

    def test_classes_in_the_spec_override_those_in_the_file(self, tmp_path: Path) -> None:
        detector = {**TINY_DETECTOR, "convention": "mmdetection"}
        path = self.save(tmp_path, CLASSES=("cat", "dog"))
        settings = Teacher.model_validate({"checkpoint": path, "detector": detector, "classes": ["a", "b"]})
        assert load_teacher(settings, resolve=Path).classes == ("a", "b")

    def test_a_checkpoint_of_fgd_takes_no_detector(self, skilled: DetectorCheckpoint, tmp_path: Path) -> None:
        save_checkpoint(tmp_path / "ours.pt", skilled)
        settings = Teacher.model_validate({"checkpoint": str(tmp_path / "ours.pt"), "detector": {"type": "gfl"}})
        with pytest.raises(SpecError, match=r"remove teacher\.detector"):
            load_teacher(settings, resolve=Path)


class TestTorchvision:
    NAME = "RetinaNet_ResNet50_FPN_Weights.COCO_V1"

    def test_a_name_is_enough(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        published = retinanet_resnet50_fpn(weights=None, weights_backbone=None)
        file = tmp_path / "hub/checkpoints" / Path(torchvision.models.get_weight(self.NAME).url).name
        file.parent.mkdir(parents=True)
        torch.save(published.state_dict(), file)
        teacher = load_teacher(Teacher(checkpoint=self.NAME), resolve=Path)
        assert teacher.classes == COCO_CLASSES
        assert teacher.event.num_matched == teacher.event.num_total and not teacher.event.unexpected
        assert [level.stride for level in teacher.detector.levels] == [8, 16, 32, 64, 128]

    def test_a_backbone_is_refused_as_a_teacher(self) -> None:
        with pytest.raises(SpecError, match="not a whole detector"):
            load_teacher(Teacher(checkpoint="ResNet50_Weights.IMAGENET1K_V2"), resolve=Path)

    def test_a_detector_that_does_not_fit_its_weights_is_refused(self) -> None:
        settings = Teacher.model_validate({"checkpoint": self.NAME, "detector": {"type": "retinanet", "version": "v2"}})
        with pytest.raises(SpecError, match="set version to v1"):
            load_teacher(settings, resolve=Path)
