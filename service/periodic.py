"""Runs background work of the server at regular intervals."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from fgd_core.errors import FgdError

log = structlog.get_logger(__name__)


async def run_every(seconds: float, work: Callable[[], Awaitable[object]], *, failure_event: str) -> None:
    """Run `work` until cancelled, with a pause after each run. Errors are logged; the loop continues.

    Args:
        failure_event: name of the log event for an error.
    """
    while True:
        try:
            await work()
        except FgdError as error:
            log.warning(failure_event, error=str(error))
        except Exception:
            # A programming error must not end background work for good.
            log.exception(failure_event)
        await asyncio.sleep(seconds)
