"""Lets long work, deep inside the library, notice that its run should stop.

Between training steps a run saves a checkpoint and returns. All other work, such as an evaluation or the opening of
data, has nothing to save and ends with `Stopped`. The check belongs to the run and not to the data or the detector, so
it is a context variable and appears in no signature.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import TypeVar

T = TypeVar("T")

_POLL_S = 0.2


class Stopped(Exception):
    """Raised in long work when the run should stop."""


def _never() -> bool:
    return False


_should_stop: ContextVar[Callable[[], bool]] = ContextVar("should_stop", default=_never)


@contextmanager
def checking_for_stop(should_stop: Callable[[], bool]) -> Iterator[None]:
    """Let all work inside check `should_stop` from time to time; only in this thread."""
    token = _should_stop.set(should_stop)
    try:
        yield
    finally:
        _should_stop.reset(token)


def raise_if_stopped() -> None:
    """Check whether the run should stop.

    Raises:
        Stopped: the run should stop.
    """
    if _should_stop.get()():
        raise Stopped


def stoppable(items: Iterable[T], *, every: int = 1) -> Iterator[T]:
    """Yield the items, and check after each `every`-th item whether the run should stop; not after the first.

    So work with a single item, or with fewer than `every` items, never checks: it is short.

    Raises:
        Stopped: the run should stop.
    """
    for number, item in enumerate(items, start=1):
        yield item
        if number % every == 0 and number > 1:
            raise_if_stopped()


def run_in_thread(work: Callable[[], T]) -> T:
    """Run work that cannot check by itself, such as a download, in its own thread, and check meanwhile.

    Work that is left behind continues until it checks, or until it or the process ends; its result is dropped.

    Raises:
        Stopped: the run should stop.
        BaseException: the error that `work` raises.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def do() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    # With a copy of this thread's context, so that the work can check too.
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
