"""`python -m fgd_core run`: the library without service and Ray."""

from pathlib import Path

import pytest
import yaml

from fgd_core.__main__ import main
from tests.library import train_spec


def write(path: Path, **changes: object) -> str:
    path.write_text(yaml.safe_dump(train_spec().model_dump(mode="json") | changes))
    return str(path)


def test_runs_a_spec_and_shows_what_came_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", write(tmp_path / "spec.yaml"), "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "epoch 2/2" in shown
    assert "AP50" in shown and "parameters" in shown
    assert (tmp_path / "out/checkpoints/best.pt").is_file()


def test_a_misspelt_field_is_named_with_the_right_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "spec.yaml", training={"epoch": 3})
    assert main(["run", path, "--out", str(tmp_path / "out")]) == 2
    assert "training.epoch" in (said := capsys.readouterr().err) and "'epochs'" in said
    assert not (tmp_path / "out").exists()


def test_a_failed_run_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "spec.yaml", training={"batch_size": 99})
    assert main(["run", path, "--out", str(tmp_path / "out")]) == 1
    assert "99" in capsys.readouterr().out
