"""Reading a spec from a file, and the errors of a malformed one."""

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from fgd_core.spec.kinds.chain import ChainSpec
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.evaluate import EvaluateSpec
from fgd_core.spec.kinds.train import TrainSpec
from service.client.errors import SpecFileError, UsageError
from service.client.spec_file import read_spec

TRAIN = """\
kind: train
name: a job
detector: {type: retinanet, backbone: {name: resnet50}}
data:
  type: shapes
training:
  epochs: 3
"""

CHAIN = """\
kind: chain
name: a chain
student: {{type: retinanet, backbone: {{name: resnet50}}}}
method: {{type: fgd}}
stages:
  - teacher: {{checkpoint: job:abc/best}}
  - teacher: {{checkpoint: {teacher}}}
data: {{type: shapes}}
"""

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
JOBS = [path for path in sorted(EXAMPLES.rglob("*.yaml")) if path.name != "index.yaml"]


def write(folder: Path, text: str) -> str:
    path = folder / "spec.yaml"
    path.write_text(text)
    return str(path)


def reasons(error: SpecFileError) -> list[dict[str, Any]]:
    found = error.details["reasons"]
    assert isinstance(found, list)
    return [reason for reason in found if isinstance(reason, dict)]


class TestChains:
    def test_paths_of_teachers_start_from_the_folder_of_the_file(self, tmp_path: Path) -> None:
        spec = read_spec(write(tmp_path, CHAIN.format(teacher="teachers/b.pth")))
        assert isinstance(spec, ChainSpec)
        assert spec.stages[1].teacher.checkpoint == str(tmp_path / "teachers/b.pth")
        assert spec.stages[0].teacher.checkpoint == "job:abc/best"

    def test_a_misspelt_field_of_a_stage_is_answered_with_its_line_and_the_nearest(self, tmp_path: Path) -> None:
        with pytest.raises(SpecFileError) as refusal:
            read_spec(write(tmp_path, CHAIN.format(teacher="b.pth, input_scal: 2")))
        (reason,) = reasons(refusal.value)
        assert (reason["loc"], reason["line"]) == ("stages.1.teacher.input_scal", 7)
        assert "did you mean 'input_scale'?" in str(reason["message"])

    def test_a_stage_is_set_by_its_number(self, tmp_path: Path) -> None:
        source = write(tmp_path, CHAIN.format(teacher="b.pth"))
        spec = read_spec(source, overrides=["stages.1.teacher.checkpoint=job:def/best"])
        assert isinstance(spec, ChainSpec) and spec.stages[1].teacher.checkpoint == "job:def/best"


class TestExamples:
    @pytest.mark.parametrize("path", JOBS, ids=lambda path: str(path.relative_to(EXAMPLES)))
    def test_each_is_a_valid_spec(self, path: Path) -> None:
        assert read_spec(str(path)).name

    def test_the_readme_lists_each(self) -> None:
        table = (EXAMPLES / "README.md").read_text()
        listed = [p for p in JOBS if p.parent.name != "paper"]
        assert [p for p in listed if str(p.relative_to(EXAMPLES)) not in table] == []
        # The tests of the recipes check the table of that folder.
        assert "paper/README.md" in table

    @pytest.mark.parametrize("folder", ["demo", "bccd", "coco_own_data"])
    def test_distilled_and_plain_student_differ_only_in_the_teacher(self, folder: str) -> None:
        plain = read_spec(str(EXAMPLES / folder / ("plain.yaml" if folder == "demo" else "student.yaml")))
        distilled = read_spec(str(EXAMPLES / folder / "distilled.yaml"))
        assert isinstance(plain, TrainSpec)
        assert isinstance(distilled, DistillSpec)
        assert distilled.student == plain.detector
        for field in ("data", "input", "training", "resources", "seed"):
            assert getattr(distilled, field) == getattr(plain, field), field


class TestPaths:
    def test_paths_in_the_file_start_from_its_folder(self, tmp_path: Path) -> None:
        spec = read_spec(write(tmp_path, "kind: evaluate\nname: e\ncheckpoint: runs/best.pt\ndata: {type: shapes}\n"))
        assert isinstance(spec, EvaluateSpec)
        assert spec.checkpoint == str(tmp_path / "runs" / "best.pt")

    def test_paths_in_overrides_start_from_the_current_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        path = write(tmp_path, "kind: evaluate\nname: e\ncheckpoint: x\ndata: {type: shapes}\n")
        spec = read_spec(path, overrides=["checkpoint=best.pt"])
        assert isinstance(spec, EvaluateSpec)
        assert spec.checkpoint == str(tmp_path / "here" / "best.pt")

    @pytest.mark.parametrize(
        ("weights", "stays"),
        [("ResNet18_Weights.IMAGENET1K_V1", True), ("job:3f2a/best", True), ("best.pt", False), ("runs/best", False)],
    )
    def test_names_and_references_are_not_paths(self, tmp_path: Path, weights: str, stays: bool) -> None:
        spec = read_spec(write(tmp_path, TRAIN), overrides=[f"detector.weights={weights}"])
        assert isinstance(spec, TrainSpec)
        assert (spec.detector.weights == weights) is stays
        assert spec.detector.weights is not None
        assert stays or Path(spec.detector.weights).is_absolute()

    def test_the_name_of_torchvision_weights_is_not_a_path(self, tmp_path: Path) -> None:
        name = "FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1"
        document = f"""
            kind: distill
            name: d
            student: {{type: retinanet}}
            teacher: {{checkpoint: {name}}}
            method: {{type: fgd}}
            data: {{type: shapes}}
        """
        spec = read_spec(write(tmp_path, textwrap.dedent(document)))
        assert isinstance(spec, DistillSpec)
        assert spec.teacher.checkpoint == name


class TestOverrides:
    def test_values_are_yaml(self, tmp_path: Path) -> None:
        changes = ["training.epochs=7", "detector.backbone.blocks=[1, 1, 1, 1]", "training.clip_norm=null"]
        spec = read_spec(write(tmp_path, TRAIN), overrides=changes, name="other")
        assert isinstance(spec, TrainSpec)
        assert (spec.training.epochs, spec.training.clip_norm, spec.name) == (7, None, "other")
        assert spec.detector.backbone.blocks == (1, 1, 1, 1)

    @pytest.mark.parametrize("override", ["training.epochs", "=3", "name.x.y=[", "training.optimizer={type"])
    def test_malformed_overrides_are_refused(self, tmp_path: Path, override: str) -> None:
        with pytest.raises(UsageError, match="--set"):
            read_spec(write(tmp_path, TRAIN), overrides=[override])


class TestFaults:
    def test_every_fault_has_path_and_line(self, tmp_path: Path) -> None:
        text = TRAIN.replace("epochs: 3", "epoch: 3\n  batch_size: 0").replace("shapes", "shape")
        with pytest.raises(SpecFileError) as error:
            read_spec(write(tmp_path, text))
        by_field = {reason["loc"]: reason for reason in reasons(error.value)}
        assert {loc: reason["line"] for loc, reason in by_field.items()} == {
            "data": 4,
            "training.epoch": 7,
            "training.batch_size": 8,
        }
        assert "did you mean 'epochs'?" in by_field["training.epoch"]["message"]
        assert "did you mean 'shapes'?" in by_field["data"]["message"]

    def test_a_missing_field_has_the_line_of_its_parent(self, tmp_path: Path) -> None:
        text = TRAIN.replace("  type: shapes", "  type: coco\n  val: {images: v, annotations: a}")
        with pytest.raises(SpecFileError) as error:
            read_spec(write(tmp_path, text))
        assert [(reason["loc"], reason["line"]) for reason in reasons(error.value)] == [("data.train", 4)]

    def test_a_field_given_twice_is_refused_with_both_lines(self, tmp_path: Path) -> None:
        with pytest.raises(SpecFileError, match=r"training\.epochs is on line 7 and again on line 8"):
            read_spec(write(tmp_path, TRAIN + "  epochs: 4\n"))

    def test_broken_yaml_is_refused_with_its_line(self, tmp_path: Path) -> None:
        with pytest.raises(SpecFileError, match="line 3"):
            read_spec(write(tmp_path, "kind: train\nname: a\ndata: ]\n"))

    @pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words"])
    def test_a_document_without_a_job_is_refused(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(SpecFileError, match="has no job"):
            read_spec(write(tmp_path, text))

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"nowhere\.yaml"):
            read_spec(str(tmp_path / "nowhere.yaml"))

    def test_json_is_read(self, tmp_path: Path) -> None:
        document = yaml.safe_load(TRAIN)
        path = tmp_path / "spec.json"
        path.write_text(json.dumps(document, indent=1))
        assert read_spec(str(path)) == read_spec(write(tmp_path, TRAIN))
