"""Shares work that Python does slowly among the cores."""

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar, cast

from fgd_core.stopping import stoppable

T = TypeVar("T")
R = TypeVar("R")

MAX_PROCESSES = 8
"""More would wait for this process, which collects their results."""


def map_in_processes(function: Callable[[T], R], parts: Sequence[T], *, processes: int | None = None) -> Iterator[R]:
    """Yield `function` of each part, in order.

    Args:
        function: without side effects, and with results that can be pickled; the parts are inherited, not pickled.
        processes: at most so many; default: one for each core. With one, this process does the work itself.
    Raises:
        Stopped: the run should stop.
    """
    number = min(processes or min(num_cores(), MAX_PROCESSES), len(parts))
    if number < 2 or not may_fork():
        yield from stoppable(map(function, parts))
        return
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(number, fork, _inherit, (function, parts)) as pool:
        try:
            yield from stoppable(cast("Iterator[R]", pool.map(_run, range(len(parts)))))
        except BaseException:
            # Stopped, or the caller wants no more results. Otherwise the pool would first work through all other parts.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def may_fork() -> bool:
    """Return whether other processes may start as copies of this one."""
    # On macOS, system libraries fail in forked processes. A daemonic process, such as a loader's, may have no children.
    return sys.platform == "linux" and not multiprocessing.current_process().daemon


# What a forked process finds in its memory.
_inherited: list[tuple[Callable[..., object], Sequence[object]]] = []


def _inherit(function: Callable[..., object], parts: Sequence[object]) -> None:
    _inherited[:] = [(function, parts)]


def _run(index: int) -> object:
    function, parts = _inherited[0]
    return function(parts[index])
