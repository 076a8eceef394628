"""`fgd demo`"""

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from service.dispatcher import head_processes
from tests.client.conftest import Fgd
from tests.client.live_server import eventually


@pytest.mark.ray
def test_an_interrupted_demo_leaves_no_process(tmp_path: Path) -> None:
    log = (tmp_path / "log").open("w+")
    demo = subprocess.Popen(
        [sys.executable, "-m", "service.client.cli", "demo", "--quick", "--out", str(tmp_path / "out")],
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    home = tmp_path / "out" / "home-1"
    eventually(lambda: "starting" in (tmp_path / "log").read_text().partition("fgd demo")[2], timeout_s=240)
    head = json.loads((home / "ray.json").read_text())
    server_pid = int((home / "up.lock").read_text())
    assert head_processes.find(head["mark"], Path(head["temp_dir"]))
    assert psutil.pid_exists(server_pid)

    demo.send_signal(signal.SIGINT)

    assert demo.wait(timeout=240) == 130
    assert not psutil.pid_exists(server_pid)
    assert head_processes.find(head["mark"], Path(head["temp_dir"])) == set()
    log.close()


def test_missing_specs_are_named_with_the_cure(fgd: Fgd, tmp_path: Path) -> None:
    ended = fgd("demo", "--specs", tmp_path, "--out", tmp_path / "out")
    assert ended.exit_code == 2
    assert "teacher.yaml" in ended.err
    assert "--specs" in ended.err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_named(fgd: Fgd, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = fgd("demo", "--out", tmp_path / "file")
    assert ended.exit_code == 1
    assert "--out" in ended.err
