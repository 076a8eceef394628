"""How often, and how soon, a local Ray head that died is started again."""

import itertools
from collections.abc import Callable

import pytest
import structlog

from fgd_core.errors import ClusterError
from service.dispatcher.local_watch import MAX_RESTARTS, WELL_AFTER_S, Restarts, keep_running


class TestRestarts:
    def test_each_pause_is_longer_until_it_is_given_up(self) -> None:
        restarts = Restarts()
        pauses_s = []
        for now_s in range(MAX_RESTARTS + 1):
            pauses_s.append(restarts.pause_s(now_s))
            restarts.started(now_s)
        assert pauses_s == [1.0, 2.0, 4.0, 8.0, 16.0, None]

    def test_a_head_that_was_well_for_long_begins_anew(self) -> None:
        restarts = Restarts()
        now_s = 0.0
        for _ in range(3 * MAX_RESTARTS):
            assert restarts.pause_s(now_s) == 1.0
            restarts.started(now_s)
            now_s += WELL_AFTER_S

    def test_starts_that_fail_are_given_up_however_long_they_take(self) -> None:
        restarts = Restarts()
        pauses_s = []
        for number in range(MAX_RESTARTS + 1):
            pauses_s.append(restarts.pause_s(number * 2 * WELL_AFTER_S))
            restarts.failed()
        assert pauses_s[-1] is None


class DyingHead:
    """Comes up, and is dead at the next look; or does not even come up."""

    def __init__(self, *, comes_up: bool) -> None:
        self._comes_up = comes_up
        self._numbers = itertools.count(1)
        self.is_running = False

    async def start(
        self,
        num_cpus: int | None = None,
        num_gpus: int | None = None,
        *,
        report: Callable[[str], None] = lambda line: None,
    ) -> str:
        number = next(self._numbers)
        if not self._comes_up:
            raise ClusterError("the local Ray head does not come up; its logs say why")
        return f"http://127.0.0.1:{number}"


@pytest.mark.parametrize("comes_up", [True, False])
async def test_a_head_that_dies_again_and_again_is_given_up_and_the_log_says_so(comes_up: bool) -> None:
    moved: list[str] = []
    said: list[str] = []
    slept_s: list[float] = []

    async def sleep(seconds: float) -> None:
        slept_s.append(seconds)

    with structlog.testing.capture_logs() as lines:
        await keep_running(DyingHead(comes_up=comes_up), moved.append, num_cpus=1, report=said.append, sleep=sleep)
    assert len(moved) == (MAX_RESTARTS if comes_up else 0)
    events = [line["event"] for line in lines]
    assert events.count("ray_died") == MAX_RESTARTS
    assert events[-1] == "ray_given_up"
    assert "given up" in said[-1]
    assert slept_s[1::2] == [1.0, 2.0, 4.0, 8.0, 16.0]
