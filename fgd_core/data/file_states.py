"""Notices whether files have changed since they were last read, without reading them again."""

import os
import stat
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fgd_core import confined
from fgd_core.stopping import stoppable

States: TypeAlias = npt.NDArray[np.int64]
"""(n, 3) size in bytes, and the times of the last change of content and of any change, in ns. A program can set the
time of content back, but not the other one. A file whose state is unknown has -1 everywhere."""

State: TypeAlias = tuple[int, int, int]
UNKNOWN: State = (-1, -1, -1)
SETTLED_AFTER_S = 60.0
"""Two changes within one tick of a file system's clock, at most 2 s, leave the same time. The rest is for a file server
whose clock is behind ours."""

# The system calls of a network file system wait for its server; threads wait together.
_THREADS = 16
_FILES_PER_TASK = 1024


def file_states(folder: Path, names: Sequence[str]) -> States:
    """Return the states of files in a folder.

    A missing file has an unknown state, and also a link if the control plane limits what this run may read: the target
    must be checked each time.
    """
    tasks = [names[start : start + _FILES_PER_TASK] for start in range(0, len(names), _FILES_PER_TASK)]
    with ThreadPoolExecutor(_THREADS) as pool:
        parts = [*stoppable(pool.map(lambda part: _states(f"{folder}/", part), tasks))]
    return np.concatenate([np.zeros((0, 3), np.int64), *parts])


def are_known(states: States) -> bool:
    """Return whether the states of all files are known."""
    return bool((states >= 0).all())


def state_of(file: str | int, *, follows: bool) -> State:
    """Return the state of one file.

    Args:
        file: its path, or its descriptor if it is open, which takes less time.
        follows: whether a path that is a link stands for its target; otherwise its state is unknown.
    """
    try:
        found = os.stat(file, follow_symlinks=follows)  # noqa: PTH116  # of a hundred thousand paths
    except (OSError, ValueError):
        return UNKNOWN
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns) if stat.S_ISREG(found.st_mode) else UNKNOWN


def settled_state(file: int) -> State | None:
    """Return a state that any later change of this open file will change; None if the file has only just changed."""
    state = state_of(file, follows=True)
    return state if 0 < state[2] / 1e9 < time.time() - SETTLED_AFTER_S else None


def _states(prefix: str, names: Sequence[str]) -> States:
    follows = not confined.is_limited()
    states = [state_of(prefix + name, follows=follows) for name in names]
    return np.array(states, dtype=np.int64).reshape(-1, 3)
