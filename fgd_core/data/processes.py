"""Shares work that Python does slowly among the cores."""

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

from fgd_core.stopping import Stopped, stoppable

T = TypeVar("T")
R = TypeVar("R")

MAX_PROCESSES = 8
"""More would wait for this process, which collects their results."""


def map_in_processes(function: Callable[[T], R], parts: Sequence[T]) -> Iterator[R]:
    """Yield `function` of each part, in order; in this process if it has one core, or cannot fork.

    Args:
        function: without side effects, and with results that can be pickled; the parts are inherited, not pickled.
    Raises:
        Stopped: the run should stop.
    """
    processes = min(_num_cores(), len(parts), MAX_PROCESSES)
    if processes < 2 or not _may_fork():
        yield from stoppable(map(function, parts))
        return
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, fork, _inherit, (function, parts)) as pool:
        try:
            yield from stoppable(pool.map(_run, range(len(parts))))
        except Stopped:
            # Otherwise the pool would first work through all other parts.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _may_fork() -> bool:
    # On macOS, system libraries fail in forked processes. A daemonic process, such as a loader's, may have no children.
    return sys.platform == "linux" and not multiprocessing.current_process().daemon


# What a forked process finds in its memory.
_inherited: list[tuple[Callable[[Any], Any], Sequence[Any]]] = []


def _inherit(function: Callable[[Any], Any], parts: Sequence[Any]) -> None:
    _inherited[:] = [(function, parts)]


def _run(index: int) -> Any:
    function, parts = _inherited[0]
    return function(parts[index])
