"""Finds and ends the processes of one Ray head, without touching any other Ray on the machine.

Two marks identify them, because neither is enough alone. Every child inherits an environment variable with the head's
id; but some processes of Ray rename themselves, which overwrites the memory that holds their environment. Those have
log files open below the head's temporary folder. All descendants of a process with a mark belong to the head as well.
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
    """Find all living processes of a head, except this process and its ancestors.

    Args:
        mark: value of the environment variable HEAD_MARK.
        temp_dir: the head's temporary folder.
        known: (pid, create time) of processes that were found earlier.
    """
    found: set[psutil.Process] = set()
    remembered = set(known)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if _identity(process) in remembered or _has_mark(process, mark, temp_dir):
                found.add(process)
    for process in tuple(found):
        with contextlib.suppress(psutil.Error):
            found.update(process.children(recursive=True))
    me = psutil.Process()
    return {process for process in found - {me, *me.parents()} if is_alive(process)}


def identities(processes: Iterable[psutil.Process]) -> list[tuple[int, float]]:
    """Return (pid, create time) of each process that still exists, sorted."""
    seen = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            seen.append(_identity(process))
    return sorted(seen)


def same_process(pid: int, create_time: float) -> bool:
    """Whether the process is alive, and not another process that got the same id later."""
    try:
        process = psutil.Process(pid)
        return is_alive(process) and abs(process.create_time() - create_time) < 1.0
    except psutil.Error:
        return False


def is_alive(process: psutil.Process) -> bool:
    """Whether the process runs; a zombie, which waits for its parent, does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def end_all(
    mark: str, temp_dir: Path, known: Iterable[tuple[int, float]] = (), *, session: int | None, grace_s: float
) -> None:
    """End every process of a head: runs with SIGTERM first, then all with SIGKILL. Ray itself has nothing to save.

    Args:
        session: the session id of Ray's own processes, which is the head's pid. Each run has its own session.
        grace_s: seconds that runs get to save their work.
    Raises:
        TimeoutError: a process survives SIGKILL, which only the kernel can cause.
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
        # A process loses its marks while it ends, so it is recognised by its id from now on.
        seen.update(identities(living))
        for process in living:
            with contextlib.suppress(psutil.Error):
                process.kill()
        _await_end(living, timeout_s=0.2)


def _await_end(processes: Iterable[psutil.Process], *, timeout_s: float) -> None:
    # psutil.wait_procs would also wait for zombies, until init collects them.
    deadline = time.monotonic() + timeout_s
    while any(map(is_alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.02)


def _has_mark(process: psutil.Process, mark: str, temp_dir: Path) -> bool:
    try:
        if process.environ().get(HEAD_MARK) == mark:
            return True
    except psutil.Error:
        # A process that we may not read belongs to another user.
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
