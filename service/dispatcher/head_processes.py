"""The processes of one Ray head: found by what only they carry, ended without touching any other Ray on the machine.

Two marks, for neither is enough alone. Every child inherits an environment variable with the head's own id; but some of
Ray's processes rename themselves and thereby overwrite the memory that their environment is read from. Those keep log
files open below the head's own temporary folder. Whatever descends from a process so found belongs to the head as well.
"""

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

HEAD_MARK = "FGD_RAY_HEAD"

_KILL_TIMEOUT_S = 10.0


def find(mark: str, temp_dir: Path, known: Iterable[tuple[int, float]] = ()) -> set[psutil.Process]:
    """All living processes of a head, but never this process nor those it descends from.

    Args:
        mark: value of the environment variable HEAD_MARK.
        temp_dir: the head's temporary folder.
        known: (pid, create time) of processes once seen to be the head's.
    """
    found: set[psutil.Process] = set()
    remembered = set(known)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if _identity(process) in remembered or _bears(process, mark, temp_dir):
                found.add(process)
    for process in tuple(found):
        with contextlib.suppress(psutil.Error):
            found.update(process.children(recursive=True))
    me = psutil.Process()
    return {process for process in found - {me, *me.parents()} if is_alive(process)}


def identities(processes: Iterable[psutil.Process]) -> list[tuple[int, float]]:
    seen = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            seen.append(_identity(process))
    return sorted(seen)


def same_process(pid: int, create_time: float) -> bool:
    """Whether the process with this id is alive and not another one that was given the id later."""
    try:
        process = psutil.Process(pid)
        return is_alive(process) and abs(process.create_time() - create_time) < 1.0
    except psutil.Error:
        return False


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs; a zombie, which waits to be collected by its parent, does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def end_all(
    mark: str, temp_dir: Path, known: Iterable[tuple[int, float]] = (), *, session: int | None, grace_s: float
) -> None:
    """End every process of a head. Runs are asked first; Ray itself keeps nothing that a signal could make it save.

    Args:
        session: the session that Ray's own processes share: the head's pid. Runs lead sessions of their own.
        grace_s: how long runs may take to write what they have.
    Raises:
        TimeoutError: one would not die, which only the kernel can bring about.
    """
    seen = set(known)
    runs = {process for process in find(mark, temp_dir, seen) if _session(process) != session}
    for process in runs:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _await_end(runs, timeout_s=grace_s)
    deadline = time.monotonic() + _KILL_TIMEOUT_S
    while living := find(mark, temp_dir, seen):
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {sorted(p.pid for p in living)} survive SIGKILL; restart the machine")
        # What is found once is known by its id from then on: a process loses its marks one by one while it ends.
        seen.update(identities(living))
        for process in living:
            with contextlib.suppress(psutil.Error):
                process.kill()
        _await_end(living, timeout_s=0.2)


def _await_end(processes: Iterable[psutil.Process], *, timeout_s: float) -> None:
    # psutil.wait_procs would wait for the zombies as well, for as long as init does not collect them.
    deadline = time.monotonic() + timeout_s
    while any(map(is_alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.02)


def _bears(process: psutil.Process, mark: str, temp_dir: Path) -> bool:
    try:
        if process.environ().get(HEAD_MARK) == mark:
            return True
    except psutil.Error:
        # A process that may not be read is another user's.
        return False
    below = f"{temp_dir}{os.sep}"
    return any(file.path.startswith(below) for file in process.open_files())


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except OSError:
        return None


def _identity(process: psutil.Process) -> tuple[int, float]:
    return process.pid, process.create_time()
