"""A Ray head that does not start: the error of `fgd up` is about this start, and not about an earlier one.

A process that prints and ends replaces `ray start`, which takes seconds to fail.
"""

import sys
from pathlib import Path

import pytest

from fgd_core.errors import ClusterError
from service.dispatcher import local
from service.dispatcher.local import LocalRay


def ray_start_is(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_command", lambda *_: [sys.executable, "-c", code])


async def test_the_error_shows_the_output_of_this_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray_start_is("raise SystemExit('the disk is full')", monkeypatch)
    with pytest.raises(ClusterError, match="the disk is full"):
        await LocalRay(tmp_path).start()
    ray_start_is("raise SystemExit('no memory is left')", monkeypatch)
    with pytest.raises(ClusterError, match="no memory is left") as refusal:
        await LocalRay(tmp_path).start()
    assert "the disk is full" not in str(refusal.value)
    assert "the disk is full" in (tmp_path / "logs" / "ray.log").read_text()


async def test_the_error_of_a_start_without_output_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray_start_is("raise SystemExit('the disk is full')", monkeypatch)
    with pytest.raises(ClusterError):
        await LocalRay(tmp_path).start()
    ray_start_is("raise SystemExit(1)", monkeypatch)
    with pytest.raises(ClusterError) as refusal:
        await LocalRay(tmp_path).start()
    assert refusal.value.details["last_lines"] == "Ray printed nothing"


async def test_only_log_files_of_the_last_start_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("earlier", "later"):
        ray_start_is(f"{_WRITE_LOG}write({name!r})", monkeypatch)
        with pytest.raises(ClusterError):
            await LocalRay(tmp_path).start()
    assert [path.name for path in (tmp_path / "logs" / "ray-failed-start").iterdir()] == ["later"]


# Ray writes the log files of its processes below the head's temporary folder.
_WRITE_LOG = """
import json, pathlib
logs = pathlib.Path(json.loads(pathlib.Path('ray.json').read_text())['temp_dir']) / 'session_latest' / 'logs'
logs.mkdir(parents=True)
write = lambda name: (logs / name).touch()
"""
