"""Repeats the background work of a control plane: one table of tasks, each with its period."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import structlog
from sqlalchemy.exc import SQLAlchemyError

from fgd_core.errors import FgdError

_BURST_S = 0.1
"""A task that is woken pauses at least this long, so that a burst of wake-ups leads to one more pass."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class BackgroundTask:
    """Describes work that is repeated until the server stops."""

    name: str
    run_once: Callable[[], Awaitable[bool | None]]
    """One pass. Returns True if more work is due at once."""
    period_s: float
    delay_s: float = 0.0
    """Pause before the first pass."""
    wake: asyncio.Event | None = None
    """Ends the pause between two passes when it is set."""


@asynccontextmanager
async def running(tasks: Sequence[BackgroundTask]) -> AsyncIterator[None]:
    """Repeat all tasks while the block runs, and cancel them at its end."""
    started = [asyncio.create_task(repeat(task), name=task.name) for task in tasks]
    try:
        yield
    finally:
        for each in started:
            each.cancel()
            with suppress(asyncio.CancelledError):
                await each


async def repeat(task: BackgroundTask) -> None:
    """Run passes until cancelled. An error of a pass is logged, and the next pass follows.

    A temporary error, such as an unreachable database, is logged when it begins and when it has ended.
    """
    is_failing = False
    current = asyncio.current_task()
    assert current is not None
    await asyncio.sleep(task.delay_s)
    # A pass may end its cancellation with another error.
    while not current.cancelling():
        if task.wake is not None:
            task.wake.clear()
        has_more = False
        try:
            has_more = await task.run_once() or False
        except (FgdError, SQLAlchemyError, OSError) as error:
            if not is_failing:
                log.warning("background_task_failed", task=task.name, error=str(error))
            is_failing = True
        except Exception:
            # A defect in one pass must not end the task: the next pass may not meet it.
            log.exception("background_task_failed", task=task.name)
        else:
            if is_failing:
                log.info("background_task_recovered", task=task.name)
            is_failing = False
        if not has_more:
            await _pause(task)


async def _pause(task: BackgroundTask) -> None:
    if task.wake is None:
        await asyncio.sleep(task.period_s)
        return
    await asyncio.sleep(min(_BURST_S, task.period_s))
    with suppress(TimeoutError):
        async with asyncio.timeout(task.period_s):
            await task.wake.wait()
