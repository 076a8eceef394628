"""`deploy/verify` does not touch a system that is in use in the same checkout."""

import shutil
from pathlib import Path

import pytest
import yaml

from deploy.verifying import engine
from deploy.verifying.results import Results
from deploy.verifying.system import prepared

pytestmark = pytest.mark.skipif(shutil.which("docker-compose") is None, reason="there is no docker-compose 1.29 here")


def test_settings_of_the_system_in_use_are_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("docker-compose.yml", "deploy/env.example"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(engine.ROOT / name, tmp_path / name)
    (tmp_path / ".env").write_text("FGD_STORAGE_URL=s3://in-use/fgd\nAWS_ACCESS_KEY_ID=theirs\n")
    (tmp_path / "docker-compose.override.yml").write_text("services: {api: {environment: {FGD_TICK_S: 9}}}\n")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "theirs")
    monkeypatch.setattr(engine, "ROOT", tmp_path)
    trial = prepared(Results(), project="a-trial", port=1, images={"FGD_IMAGE": "tried"}, has_grafana=False)
    try:
        api = yaml.safe_load(trial.compose("config"))["services"]["api"]
    finally:
        shutil.rmtree(trial.folder)
    assert (api["image"], api["environment"]["FGD_SECRET"]) == ("tried", trial.compose.env["FGD_SECRET"])
    assert api["environment"]["FGD_STORAGE_URL"] == "/artifacts"
    assert not [value for value in api["environment"].values() if value == "theirs"]
    assert "FGD_TICK_S" not in api["environment"]
