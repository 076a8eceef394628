"""Tests that run in several processes: each is reported once, also if its process dies; and the order of all tests."""

import subprocess
import sys
from pathlib import Path

from tests import schedule
from tests.parallel import Group

HOOKS = """
from tests.parallel import Group, run


def pytest_runtestloop(session):
    first, *others = range(len(session.items))
    run(session, {groups}, {processes}, rays=1)
    return True
"""
TWO = "[Group([first]), Group(others)]"
TESTS = """
import os
import signal
import time
import warnings

import pytest


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    yield tmp_path_factory.mktemp("server")
    (tmp_path_factory.getbasetemp() / "stopped").touch()


def test_fails(server):
    print("words of a test")
    assert not server.exists()


def test_kills_its_process(): os.kill(os.getpid(), signal.SIGKILL)


def test_warns(server): warnings.warn("careful", DeprecationWarning)


@pytest.mark.skip
def test_is_skipped(): pass


@pytest.mark.timeout(0.5)
def test_hangs(): time.sleep(60)
"""


RAYS = """
import time

import pytest


@pytest.fixture(scope="session")
def ray(tmp_path_factory):
    folder = tmp_path_factory.getbasetemp().parent
    (folder / "only one at a time").mkdir()
    yield
    (folder / "only one at a time").rmdir()
    (folder / f"ended {time.time_ns()}").touch()


@pytest.mark.parametrize("number", range(3))
def test_starts_a_ray(ray, number): time.sleep(0.2)


def test_is_short(tmp_path): assert not [*tmp_path.parents[1].glob("ended *")]
"""


def run(folder: Path, processes: int, *options: str, tests: str = TESTS, groups: str = TWO) -> str:
    """Run tests, by default five of which the first has a process for itself; return what pytest prints."""
    (folder / "conftest.py").write_text(HOOKS.format(processes=processes, groups=groups))
    (folder / "test_it.py").write_text(tests)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--basetemp={folder / 'temp'}",
        *options,
    ]
    done = subprocess.run(
        [*command, str(folder)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": "."},
    )
    assert done.returncode == (tests == TESTS), done.stdout + done.stderr
    return done.stdout


def test_each_test_is_reported_once_and_those_after_a_dead_process_run_in_another(tmp_path: Path) -> None:
    output = run(tmp_path, 2)
    assert "3 failed, 1 passed, 1 skipped, 1 warning" in output
    assert "words of a test" in output
    assert "ended with exit code -9" in output
    assert "Timeout" in output
    assert "DeprecationWarning: careful" in output
    # The fixtures of the session end with each process that ends by itself.
    assert len([*(tmp_path / "temp").glob("*/stopped")]) == 2


def test_after_the_first_failure_no_process_gets_other_tests_if_pytest_is_to_stop(tmp_path: Path) -> None:
    assert "1 failed" in run(tmp_path, 1, "-x").splitlines()[-1]


def test_groups_with_a_ray_wait_for_each_other_and_end_it_while_other_tests_run(tmp_path: Path) -> None:
    groups = "[*(Group([index], starts_ray=True) for index in range(3)), Group([3])]"
    assert "4 passed" in run(tmp_path, 3, tests=RAYS, groups=groups)
    assert len([*(tmp_path / "temp").glob("ended *")]) == 3


def test_tests_that_share_a_ray_or_a_fixture_share_a_process_and_the_longest_begin() -> None:
    ids = ["tests/test_docs.py::one", "tests/test_runs.py::one", "tests/test_runs.py::two", "tests/test_export.py::one"]
    rays = ["tests/end_to_end/test_sweep.py::one", "tests/end_to_end/test_whole.py::one", "tests/test_teachers.py::one"]
    tests = [(id_, id_ in rays) for id_ in [*ids, *rays]]
    assert schedule.groups(tests) == [Group([4, 5], True), Group([6], True), Group([3]), Group([1, 2]), Group([0])]


def test_the_schedule_names_modules_that_exist() -> None:
    for prefix in (*schedule.RAYS, *schedule.SLOW):
        assert [*schedule.REPOSITORY.glob(f"{prefix.partition('::')[0]}*")], prefix
    assert {*schedule.RAYS.values()} < {*schedule.ORDER}
