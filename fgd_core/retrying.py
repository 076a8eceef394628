"""The one policy for waiting and trying again: the library, the workers, the service and the client use it.

A module of ours rather than `tenacity` or `stamina`, for two reasons. A run's first event waits for the imports of its
process, and both libraries load asyncio. And a run that is asked to stop must leave a retry at once (see
`fgd_core.stopping`), which neither library knows.
"""

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from fgd_core.stopping import raise_if_stopped

Result = TypeVar("Result")
Errors = type[Exception] | tuple[type[Exception], ...]

_POLL_S = 0.2
"""How often a pause checks whether the run was asked to stop."""


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Says how long to pause after each failure, and when to give up.

    Pauses grow by `factor` from `first_pause_s` to `longest_pause_s`. Each one is shortened at random by up to a half,
    so that many processes do not retry at the same moment.

    Raises:
        ValueError: neither `max_tries` nor `timeout_s` is given; every retry has an end.
    """

    first_pause_s: float = 0.1
    longest_pause_s: float = 5.0
    factor: float = 2.0
    max_tries: int | None = None
    timeout_s: float | None = None
    """Seconds from the first try, or from the last success; the try that runs at that moment is the last one."""

    def __post_init__(self) -> None:
        if self.max_tries is None and self.timeout_s is None:
            raise ValueError("a retry policy needs an end; set max_tries or timeout_s")

    def pause_s(self, failures: int, elapsed_s: float = 0.0) -> float | None:
        """Seconds to pause after this many failures in a row; None means give up.

        Args:
            failures: at least 1.
            elapsed_s: since the first try.
        """
        if self.max_tries is not None and failures >= self.max_tries:
            return None
        if self.timeout_s is not None and elapsed_s > self.timeout_s:
            return None
        # The exponent is bounded, because a float overflows after some hundred failures.
        longest_s = min(self.longest_pause_s, self.first_pause_s * self.factor ** min(failures - 1, 64))
        return longest_s * random.uniform(0.5, 1.0)


class Backoff:
    """Counts the failures in a row of a loop; for threads and streams that do not retry a single call.

    Not safe for several threads.
    """

    def __init__(self, policy: RetryPolicy, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._policy, self._clock = policy, clock
        self.failures = 0
        self._began_s = clock()

    def failed(self) -> float | None:
        """Count a failure; returns the seconds to pause, or None to give up."""
        self.failures += 1
        return self._policy.pause_s(self.failures, self._clock() - self._began_s)

    def succeeded(self) -> None:
        """Start counting again, failures and time."""
        self.failures = 0
        self._began_s = self._clock()


def _ignore(error: Exception) -> None:
    return


def _never() -> bool:
    return False


def retry(
    call: Callable[[], Result],
    *,
    on: Errors,
    policy: RetryPolicy,
    on_first_failure: Callable[[Exception], object] = _ignore,
    is_over: Callable[[], bool] = _never,
) -> Result:
    """Call until it succeeds.

    Args:
        on: the errors after which another try may help.
        on_first_failure: called once, before the first pause.
        is_over: True when nobody needs the result any more.
    Raises:
        Exception: the last error of `call`, when the policy gives up or `is_over`; any other error of `call` at once.
        Stopped: the run was asked to stop.
    """
    backoff = Backoff(policy)
    while True:
        try:
            return call()
        except on as error:
            pause_s = backoff.failed()
            if pause_s is None or is_over():
                raise
            raise_if_stopped()
            if backoff.failures == 1:
                on_first_failure(error)
        pause(pause_s, is_over=is_over)


async def retry_async(
    call: Callable[[], Awaitable[Result]],
    *,
    on: Errors,
    policy: RetryPolicy,
    sleep: Callable[[float], Awaitable[object]],
    on_first_failure: Callable[[Exception], object] = _ignore,
) -> Result:
    """As `retry`, for coroutines; cancelling the task ends it.

    Args:
        sleep: `asyncio.sleep`, as an argument because this module must not load asyncio.
    Raises:
        Exception: the last error of `call`, when the policy gives up; any other error of `call` at once.
    """
    backoff = Backoff(policy)
    while True:
        try:
            return await call()
        except on as error:
            pause_s = backoff.failed()
            if pause_s is None:
                raise
            if backoff.failures == 1:
                on_first_failure(error)
        await sleep(pause_s)


def pause(seconds: float, *, is_over: Callable[[], bool] = _never) -> None:
    """Sleep, but return early when `is_over`.

    Raises:
        Stopped: the run was asked to stop.
    """
    end_s = time.monotonic() + seconds
    while (left_s := end_s - time.monotonic()) > 0 and not is_over():
        raise_if_stopped()
        time.sleep(min(left_s, _POLL_S))
