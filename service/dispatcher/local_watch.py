"""Restarts the local Ray head when it dies.

Its runs are lost with it; the dispatcher detects that by its usual rules, and starts them again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from fgd_core.errors import ClusterError
from fgd_core.retrying import Backoff, RetryPolicy

CHECK_EVERY_S = 1.0
RESTARTS = RetryPolicy(first_pause_s=1.0, longest_pause_s=16.0, max_tries=6)
"""Five restarts in a row, after pauses of up to 1, 2, 4, 8 and 16 s."""
HEALTHY_AFTER_S = 600.0
"""A head that ran for so long was healthy: when it dies after that, counting starts again."""

log = structlog.get_logger(__name__)


class Head(Protocol):
    """What `keep_running` needs of a `LocalRay`."""

    @property
    def is_running(self) -> bool:
        """Whether the process of the head is alive."""

    async def start(
        self, num_cpus: int | None = None, num_gpus: int | None = None, *, report: Callable[[str], None] = ...
    ) -> str:
        """Start the head; returns the address of its dashboard. Raises ClusterError or OSError."""


async def keep_running(
    head: Head,
    moved: Callable[[str], None],
    *,
    num_cpus: int | None,
    report: Callable[[str], None],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Restart the head each time it is dead, until cancelled, or until it died too often in a row.

    Args:
        moved: called with the address of the dashboard of each new head.
        report: called with a short text about what happens.
    """
    backoff = Backoff(RESTARTS)
    healthy_at_s = float("inf")
    while True:
        await sleep(CHECK_EVERY_S)
        if await asyncio.to_thread(_is_running, head):
            continue
        if clock() >= healthy_at_s:
            backoff.succeeded()
        healthy_at_s = float("inf")
        pause_s = backoff.failed()
        if pause_s is None:
            _give_up(backoff.failures - 1, report)
            return
        log.warning("ray_died", restart=backoff.failures, pause_s=pause_s)
        report(f"Ray died; starting it again (restart {backoff.failures})")
        await sleep(pause_s)
        try:
            url = await head.start(num_cpus=num_cpus, report=report)
        except (ClusterError, OSError) as error:
            log.warning("ray_not_restarted", error=str(error))
            continue
        healthy_at_s = clock() + HEALTHY_AFTER_S
        moved(url)
        log.info("ray_restarted", url=url)
        report("Ray runs again; its jobs are started again")


def _give_up(restarts: int, report: Callable[[str], None]) -> None:
    cure = "read logs/ray.log in the home; then stop `fgd up`, and start it again"
    log.error("ray_given_up", restarts=restarts, cure=cure)
    report(f"Ray died again after {restarts} restarts and is not restarted any more; {cure}")


def _is_running(head: Head) -> bool:
    try:
        return head.is_running
    except ClusterError:
        # Its state file is damaged; the next start reports that.
        return False
