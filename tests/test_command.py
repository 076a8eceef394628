"""`python -m fgd_core`: the library without service and Ray."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from fgd_core.__main__ import main
from fgd_core.detectors.weights.examining import detector_settings
from fgd_core.errors import SpecError
from tests.detectors.mmdetection_layouts import Sizes, filled, gfl
from tests.library import train_spec


def write(path: Path, **changes: object) -> str:
    path.write_text(yaml.safe_dump(train_spec().model_dump(mode="json") | changes))
    return str(path)


def test_run_shows_epochs_and_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", write(tmp_path / "spec.yaml"), "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "epoch 2/2" in shown
    assert "AP50" in shown and "parameters" in shown
    assert (tmp_path / "out/checkpoints/best.pt").is_file()


def test_a_misspelt_field_is_named_with_a_suggestion(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "spec.yaml", training={"epoch": 3})
    assert main(["run", path, "--out", str(tmp_path / "out")]) == 2
    assert "training.epoch" in (shown := capsys.readouterr().err) and "'epochs'" in shown
    assert not (tmp_path / "out").exists()


def test_a_failed_run_shows_its_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "spec.yaml", training={"batch_size": 99})
    assert main(["run", path, "--out", str(tmp_path / "out")]) == 1
    assert "99" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["--help"], 0),
        (["run", "--help"], 0),
        (["weights", "--help"], 0),
        (["walk"], 2),
        (["run", "no-such-spec.yaml"], 2),
        (["weights", "file.pth", "--detector", "no-such-detector.yaml"], 2),
    ],
    ids=str,
)
def test_help_and_wrong_arguments_do_not_load_torch(arguments: list[str], exit_code: int, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom fgd_core.__main__ import main\n"
        f"try:\n    ended = main({arguments})\nexcept SystemExit as end:\n    ended = end.code\n"
        "print('torch' in sys.modules, ended, file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr.splitlines()[-1] == f"False {exit_code}"


class TestWeights:
    def test_every_key_is_shown_with_what_it_becomes(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file, detector = _gfl_of_mmdetection(tmp_path)
        assert main(["weights", file, "--detector", detector]) == 0
        shown = capsys.readouterr().out
        assert "bbox_head.gfl_cls.weight" in shown and "head.gfl_cls.weight" in shown
        assert "a constant" in shown
        assert "0 missing, 0 mismatched, 0 unexpected" in shown
        assert "3 classes: cat, dog, bird" in shown

    def test_the_exit_code_is_1_if_a_key_does_not_fit(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file, detector = _gfl_of_mmdetection(tmp_path, without="bbox_head.gfl_reg.bias")
        assert main(["weights", file, "--detector", detector, "--json"]) == 1
        result = json.loads(capsys.readouterr().out)
        assert result["missing"] == ["head.gfl_reg.bias"]
        assert result["num_total"] - result["num_matched"] == 1
        row = next(row for row in result["keys"] if row["becomes"] == "head.gfl_reg.bias")
        assert (row["key"], row["fate"]) == (None, "missing")

    def test_a_checkpoint_of_fgd_contains_its_detector(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["run", write(tmp_path / "spec.yaml"), "--out", str(tmp_path / "out")]) == 0
        capsys.readouterr()
        assert main(["weights", str(tmp_path / "out/checkpoints/best.pt"), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["is_complete"]

    def test_other_files_need_the_detector(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file, _ = _gfl_of_mmdetection(tmp_path)
        assert main(["weights", file]) == 2
        assert "--detector" in capsys.readouterr().err

    def test_settings_that_contradict_the_file_are_a_usage_error(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file, _ = _gfl_of_mmdetection(tmp_path)
        (tmp_path / "fcos.yaml").write_text("type: fcos\nbackbone: {name: resnet18}\n")
        assert main(["weights", file, "--detector", str(tmp_path / "fcos.yaml")]) == 2
        assert "set convention: mmdetection" in " ".join(capsys.readouterr().err.split())

    def test_a_missing_file_is_named(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        _, detector = _gfl_of_mmdetection(tmp_path)
        assert main(["weights", str(tmp_path / "none.pth"), "--detector", detector]) == 1
        shown = capsys.readouterr().err
        assert shown.startswith("error: ") and "the file does not exist" in shown
        assert main(["predict", str(tmp_path / "none.onnx"), str(tmp_path)]) == 1
        assert capsys.readouterr().err.startswith("error: ")


def _gfl_of_mmdetection(folder: Path, *, without: str | None = None) -> tuple[str, str]:
    """Write a small checkpoint and a file with its detector; return both paths."""
    sizes = Sizes(blocks=(1, 1, 1, 1), stem=4, is_basic=True, width=8, classes=3)
    state = {key: value for key, value in filled(gfl(sizes)).items() if key != without}
    torch.save({"state_dict": state, "meta": {"CLASSES": ("cat", "dog", "bird")}}, folder / "gfl.pth")
    detector = {"type": "gfl", "backbone": train_spec().detector.backbone.model_dump(mode="json"), "fpn_width": 8}
    (folder / "gfl.yaml").write_text(yaml.safe_dump({"detector": detector}))
    return str(folder / "gfl.pth"), str(folder / "gfl.yaml")


def test_a_misspelt_type_of_detector_gets_a_suggestion() -> None:
    with pytest.raises(SpecError, match="did you mean 'gfl'"):
        detector_settings({"type": "gfll"}, "d.yaml")
