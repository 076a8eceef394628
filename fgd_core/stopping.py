"""Lets work that takes long, deep inside the library, notice that its run has been asked to stop.

A training step saves its place and returns. Everything else, an evaluation or the opening of data, has nothing to save
and is left by `Stopped`. The question belongs to the run and not to the data or the detector that it passes through, so
it is kept per thread of execution and appears in no signature.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import TypeVar

T = TypeVar("T")

_POLL_S = 0.2


class Stopped(Exception):
    """The run has been asked to stop, and this work is given up."""


def _nobody_asks() -> bool:
    return False


_should_stop: ContextVar[Callable[[], bool]] = ContextVar("should_stop", default=_nobody_asks)


@contextmanager
def checking_for_stop(should_stop: Callable[[], bool]) -> Iterator[None]:
    """Have all work inside ask `should_stop` now and then; in this thread alone."""
    token = _should_stop.set(should_stop)
    try:
        yield
    finally:
        _should_stop.reset(token)


def raise_if_stopped() -> None:
    """
    Raises:
        Stopped: the run has been asked to stop.
    """
    if _should_stop.get()():
        raise Stopped


def stoppable(items: Iterable[T], *, every: int = 1) -> Iterator[T]:
    """The items, one by one, asking after each of them, or each `every`-th, but the first.

    Work of a single item, or of less than `every`, is over soon and asks nothing.

    Raises:
        Stopped: as `raise_if_stopped`.
    """
    for number, item in enumerate(items, start=1):
        yield item
        if number % every == 0 and number > 1:
            raise_if_stopped()


def run_in_thread(work: Callable[[], T]) -> T:
    """Do work that asks nothing itself, such as a download, in a thread of its own, asking meanwhile.

    Work that is given up goes on until it asks, or it or the process ends; nobody takes its result.

    Raises:
        Stopped: as `raise_if_stopped`.
        BaseException: whatever `work` raises.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def do() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    # With this thread's question.
    thread = threading.Thread(target=copy_context().run, args=(do,), daemon=True)
    thread.start()
    while True:
        thread.join(_POLL_S)
        if not thread.is_alive():
            break
        raise_if_stopped()
    if errors:
        raise errors[0]
    return results[0]
