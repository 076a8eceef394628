"""`deploy/check_boards.py`, on a real Prometheus that watches itself."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy import check_boards

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="there is no Prometheus here; Debian's package `prometheus` brings one"
)


def board(*exprs: str, description: str = "", variables: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    targets = [{"expr": expr, "legendFormat": f"q{number}"} for number, expr in enumerate(exprs)]
    panel = {"title": "a panel", "description": description, "targets": targets}
    return {"title": "a board", "panels": [panel], "templating": {"list": variables or []}}


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("prometheus")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [{"job_name": "a (b)", "static_configs": [{"targets": [address]}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=log, stderr=log)
    try:
        deadline_s = time.monotonic() + 240
        while not scraped(f"http://{address}"):
            assert process.poll() is None and time.monotonic() < deadline_s, (folder / "log").read_text()
            time.sleep(0.2)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait()


def scraped(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/api/v1/query?query=up") as answer:
            return bool(json.load(answer)["data"]["result"])
    except OSError:
        return False


def checked(url: str, folder: Path, made: dict[str, Any], *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "board.json").write_text(json.dumps(made))
    script = str(ROOT / "deploy" / "check_boards.py")
    # -S: only the standard library.
    command = [sys.executable, "-I", "-S", script, "--prometheus", url, "--boards", str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_board_whose_queries_have_data_passes(prometheus: str, tmp_path: Path) -> None:
    done = checked(prometheus, tmp_path, board("up", "count(up)"))
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == "2 queries: 2 have data, 0 may be empty, 0 have none"


def test_a_query_without_data_fails(prometheus: str, tmp_path: Path) -> None:
    done = checked(prometheus, tmp_path, board("up", "there_is_none"))
    assert done.returncode == 1
    assert "<-- no data" in done.stdout


def test_nan_counts_as_no_data(prometheus: str, tmp_path: Path) -> None:
    assert checked(prometheus, tmp_path, board("up * NaN")).returncode == 1


def test_a_panel_marked_as_optional_may_be_empty(prometheus: str, tmp_path: Path) -> None:
    made = board("there_is_none", description="Of GPUs. May be empty: no node has one.")
    assert checked(prometheus, tmp_path, made).returncode == 0


def test_a_refused_query_fails_with_the_error_of_prometheus(prometheus: str, tmp_path: Path) -> None:
    done = checked(prometheus, tmp_path, board("sum by up"))
    assert done.returncode == 1
    assert "refused: " in done.stdout


def test_no_boards_is_a_failure(prometheus: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = subprocess.run(
        [sys.executable, str(ROOT / "deploy" / "check_boards.py"), "--prometheus", prometheus, "--boards", "empty"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1


def test_variables_have_the_given_or_existing_values(prometheus: str, tmp_path: Path) -> None:
    def variable(name: str, label: str, *, all_: bool = False) -> dict[str, Any]:
        query = {"query": f"label_values(up, {label})"}
        return {"name": name, "includeAll": all_, "allValue": ".*" if all_ else None, "query": query}

    variables = [variable("job", "job"), variable("job_id", "instance", all_=True)]
    made = board('up{job="$job", instance=~"${job_id}"}', "last_over_time(up[$__rate_interval])", variables=variables)
    assert checked(prometheus, tmp_path, made).returncode == 0
    assert checked(prometheus, tmp_path, made, "--job", "a (b)").returncode == 0
    assert checked(prometheus, tmp_path, made, "--job", 'another "one"').returncode == 1


def test_an_unreachable_prometheus_is_reported_in_one_line(tmp_path: Path) -> None:
    done = checked("http://127.0.0.1:1", tmp_path, board("up"))
    assert done.returncode == 1
    assert done.stderr.startswith("Prometheus does not answer: ")


def test_a_variable_whose_name_is_a_prefix_of_another_works() -> None:
    assert check_boards.substituted("$job_id of $job", {"job": "a", "job_id": "b"}) == "b of a"
