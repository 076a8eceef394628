"""How often, and after which pauses, a local Ray head that died is restarted."""

import itertools
from collections.abc import Callable
from contextlib import suppress

import pytest
import structlog

from fgd_core.errors import ClusterError
from service.dispatcher.local_watch import HEALTHY_AFTER_S, RESTARTS, keep_running

MAX_RESTARTS = 5


class DyingHead:
    """Starts, and is dead at the next check; or does not start.

    Args:
        lives_s: seconds from each start to its death.
        max_starts: the start after these is cancelled, as by the end of the server.
    """

    def __init__(
        self, *, starts: bool = True, lives_s: float = 0.0, takes_s: float = 0.0, max_starts: int = 100
    ) -> None:
        self._starts = starts
        self._lives_s = lives_s
        self._takes_s = takes_s
        self._max_starts = max_starts
        self._numbers = itertools.count(1)
        self.now_s = 0.0
        self.is_running = False

    def clock(self) -> float:
        return self.now_s

    async def start(
        self,
        num_cpus: int | None = None,
        num_gpus: int | None = None,
        *,
        report: Callable[[str], None] = lambda line: None,
    ) -> str:
        number = next(self._numbers)
        self.now_s += self._takes_s
        if number > self._max_starts:
            raise StopRestarting
        if not self._starts:
            raise ClusterError("the local Ray head does not come up; its logs say why")
        return f"http://127.0.0.1:{number}"

    def lives(self) -> None:
        self.now_s += self._lives_s


class StopRestarting(Exception):
    pass


async def restart(head: DyingHead) -> tuple[list[float], list[str], list[str], list[str]]:
    """Returns (seconds slept, addresses, names of the log events, reports)."""
    slept_s: list[float] = []
    moved: list[str] = []
    reports: list[str] = []

    async def sleep(seconds: float) -> None:
        slept_s.append(seconds)

    def has_moved(url: str) -> None:
        moved.append(url)
        head.lives()

    with structlog.testing.capture_logs() as lines, suppress(StopRestarting):
        await keep_running(head, has_moved, num_cpus=1, report=reports.append, sleep=sleep, clock=head.clock)
    return slept_s, moved, [line["event"] for line in lines], reports


@pytest.mark.parametrize("starts", [True, False])
async def test_a_head_that_keeps_dying_is_given_up_and_the_log_says_so(
    starts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Pauses without their random part.
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    slept_s, moved, events, reports = await restart(DyingHead(starts=starts))
    assert len(moved) == (MAX_RESTARTS if starts else 0)
    assert events.count("ray_died") == MAX_RESTARTS
    assert events[-1] == "ray_given_up"
    assert "not restarted any more" in reports[-1]
    assert slept_s[1::2] == [1.0, 2.0, 4.0, 8.0, 16.0]


async def test_counting_starts_again_after_a_head_was_healthy() -> None:
    num_starts = 3 * MAX_RESTARTS
    slept_s, moved, events, _ = await restart(DyingHead(lives_s=HEALTHY_AFTER_S, max_starts=num_starts))
    assert len(moved) == num_starts
    assert "ray_given_up" not in events
    assert max(slept_s[1::2]) <= RESTARTS.first_pause_s


async def test_starts_that_fail_are_given_up_however_long_they_take() -> None:
    _, moved, events, _ = await restart(DyingHead(starts=False, takes_s=2 * HEALTHY_AFTER_S))
    assert moved == []
    assert events[-1] == "ray_given_up"
