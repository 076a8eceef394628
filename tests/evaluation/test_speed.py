"""Speeds: measured with exclusive use of a device, or marked as disturbed."""

import fcntl
import select
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from fgd_core.evaluation import device_lock
from fgd_core.evaluation.device_lock import DeviceLock
from fgd_core.evaluation.speed import find_disturbance
from fgd_core.runs import execute
from tests.library import RecordingContext, train_spec, with_data, write_squares

OTHER_RUN = """
import sys
from pathlib import Path
from fgd_core.evaluation.device_lock import DeviceLock
lock = DeviceLock(Path(sys.argv[1]), "cpu")
lock.acquire()
print("working", flush=True)
for line in sys.stdin:
    lock.yield_device()
    print("yielded", flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "devices"


@pytest.fixture
def other_run(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that works on the device, and reaches an evaluation with each line that it reads."""
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER_RUN, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "working\n"
    yield process
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        with suppress(OSError):
            pipe.close()


def test_a_single_run_on_a_device_is_exclusive(folder: Path) -> None:
    lock = DeviceLock(folder, "cpu")
    lock.acquire()
    with lock.exclusive(0) as is_exclusive:
        assert is_exclusive


def test_a_run_next_to_another_on_the_device_is_not_exclusive(folder: Path, other_run: "subprocess.Popen[str]") -> None:
    with DeviceLock(folder, "cpu").exclusive(0) as is_exclusive:
        assert not is_exclusive


def test_a_run_on_another_device_does_not_matter(folder: Path, other_run: "subprocess.Popen[str]") -> None:
    with DeviceLock(folder, "cuda-1").exclusive(0) as is_exclusive:
        assert is_exclusive


def test_a_run_yields_at_its_evaluation_until_the_speed_is_measured(
    folder: Path, other_run: "subprocess.Popen[str]"
) -> None:
    assert other_run.stdin is not None and other_run.stdout is not None
    lock = DeviceLock(folder, "cpu")
    lock.acquire()
    with ThreadPoolExecutor() as threads, ExitStack() as measuring:
        waiting = threads.submit(measuring.enter_context, lock.exclusive(60))
        while not is_locked(folder / "cpu.turnstile"):
            assert not waiting.done()
        # However many evaluations the other run reaches from now on, it waits at the first.
        other_run.stdin.write("evaluate\n" * 1000)
        other_run.stdin.flush()
        assert waiting.result()
        assert select.select([other_run.stdout], [], [], 0)[0] == []
        measuring.close()
        other_run.stdin.close()
        assert other_run.stdout.read() == "yielded\n" * 1000


def is_locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def test_a_dead_run_holds_no_lock(folder: Path, other_run: "subprocess.Popen[str]") -> None:
    other_run.kill()
    other_run.wait()
    with DeviceLock(folder, "cpu").exclusive(0) as is_exclusive:
        assert is_exclusive


def test_a_run_that_has_hung_is_waited_for_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(device_lock, "YIELD_LIMIT_S", 0.2)
    monkeypatch.setattr(device_lock.time, "sleep", waits.append)
    hung, other = DeviceLock(folder, "cpu"), DeviceLock(folder, "cpu")
    other.acquire()
    for _ in range(2):
        with ExitStack() as measuring:
            other.release()
            assert measuring.enter_context(hung.exclusive(0))
            other.yield_device()
            assert waits
            waits.clear()
            other.yield_device()
            assert not waits
        # Once it has given way, the next one that measures is waited for again.
        other.yield_device()
        hung.release()
        assert not waits


def test_an_unsafe_folder_is_not_used(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    for unsafe in (folder, tmp_path / "open"):
        lock = DeviceLock(unsafe, "cpu")
        lock.acquire()
        lock.yield_device()
        with lock.exclusive(0) as is_exclusive:
            assert not is_exclusive
        lock.release()
        assert list(unsafe.iterdir()) == []


@pytest.mark.parametrize(
    ("measurement", "expected"),
    [
        ({}, None),
        ({"is_exclusive": False}, "other runs worked on the device"),
        ({"cpu_share": 0.6}, "other programs had the CPU for 40% of the time"),
        ({"cpu_share": None, "spread": 0.25}, "repetitions differ by 25%"),
    ],
)
def test_the_disturbance_of_a_measurement_is_described(measurement: dict[str, object], expected: str | None) -> None:
    assert find_disturbance(**{"is_exclusive": True, "spread": 0.02, "cpu_share": 1.0, **measurement}) == expected  # type: ignore[arg-type]


def test_a_run_reports_how_its_speed_was_measured(tmp_path: Path) -> None:
    spec = with_data(train_spec(training={"epochs": 1}), write_squares(tmp_path / "squares"))
    result = execute(spec, RecordingContext(tmp_path / "run")).result
    assert result is not None and result.speed is not None
    assert result.images_per_s == pytest.approx(1000 / result.speed.latency_ms)
    assert result.speed.repetitions == 5
    assert result.speed.machine
