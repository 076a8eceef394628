"""Watches over the local Ray head, and starts it again after it died.

What ran on it is lost with it; the dispatcher finds that out by its usual rules, and starts it again as well.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from fgd_core.errors import ClusterError

LOOK_EVERY_S = 1.0
MAX_RESTARTS = 5
FIRST_PAUSE_S = 1.0
"""Doubled at each restart: 1, 2, 4, 8 and 16 s."""
WELL_AFTER_S = 600.0
"""A head that ran for so long has been well: its death is a new trouble, and counts as the first."""

log = structlog.get_logger(__name__)


class Head(Protocol):
    """What is asked of a `LocalRay`."""

    @property
    def is_running(self) -> bool: ...

    async def start(
        self, num_cpus: int | None = None, num_gpus: int | None = None, *, report: Callable[[str], None] = ...
    ) -> str: ...


class Restarts:
    """How often, and after which pause, a head is started again."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._well_at_s = 0.0

    @property
    def in_a_row(self) -> int:
        return self._in_a_row

    def pause_s(self, now_s: float) -> float | None:
        """How long to wait before the next start of a head that died at `now_s`; None: it is given up."""
        if self._in_a_row and now_s >= self._well_at_s:
            self._in_a_row = 0
        if self._in_a_row == MAX_RESTARTS:
            return None
        self._in_a_row += 1
        return FIRST_PAUSE_S * 2.0 ** (self._in_a_row - 1)

    def started(self, now_s: float) -> None:
        self._well_at_s = now_s + WELL_AFTER_S

    def failed(self) -> None:
        self._well_at_s = float("inf")


async def keep_running(
    head: Head,
    moved: Callable[[str], None],
    *,
    num_cpus: int | None,
    report: Callable[[str], None],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Start the head again each time it is found dead, until cancelled or until it died too often.

    Args:
        moved: called with the address of the dashboard of each new head.
        report: called with a short text about what happens.
    """
    restarts = Restarts()
    while True:
        await sleep(LOOK_EVERY_S)
        if await asyncio.to_thread(_is_running, head):
            continue
        pause_s = restarts.pause_s(time.monotonic())
        if pause_s is None:
            cure = "look at logs/ray.log in the home; then stop `fgd up`, and start it again"
            log.error("ray_given_up", restarts=restarts.in_a_row, cure=cure)
            report(f"Ray died again after {restarts.in_a_row} restarts and is given up; {cure}")
            return
        log.warning("ray_died", restart=restarts.in_a_row, at_most=MAX_RESTARTS, pause_s=pause_s)
        report(f"Ray died; starting it again (restart {restarts.in_a_row} of {MAX_RESTARTS})")
        await sleep(pause_s)
        try:
            url = await head.start(num_cpus=num_cpus, report=report)
        except (ClusterError, OSError) as error:
            restarts.failed()
            log.warning("ray_not_restarted", error=str(error))
            continue
        restarts.started(time.monotonic())
        moved(url)
        log.info("ray_restarted", url=url)
        report("Ray is back; its runs are started again")


def _is_running(head: Head) -> bool:
    try:
        return head.is_running
    except ClusterError:
        # The note on it is damaged, which the start will say.
        return False
