"""Every retry has an end, and stops when its run is asked to stop."""

import time

import pytest

from fgd_core.errors import NetworkError, SpecError
from fgd_core.retrying import Backoff, RetryPolicy, pause, retry, retry_async
from fgd_core.stopping import Stopped, checking_for_stop

QUICK = RetryPolicy(first_pause_s=0.001, longest_pause_s=0.002, max_tries=4)


class Flaky:
    """Fails some times, then returns its number of calls."""

    def __init__(self, failures: int) -> None:
        self.calls, self._failures = 0, failures

    def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self._failures:
            raise NetworkError(f"call {self.calls} failed")
        return self.calls

    async def call(self) -> int:
        return self()


class TestPolicy:
    def test_a_policy_without_an_end_is_refused(self) -> None:
        with pytest.raises(ValueError, match="max_tries or timeout_s"):
            RetryPolicy()

    def test_pauses_double_up_to_the_longest_and_vary_by_a_half(self) -> None:
        policy = RetryPolicy(first_pause_s=1.0, longest_pause_s=6.0, max_tries=2000)
        for failures, longest_s in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 6.0), (1999, 6.0)):
            drawn = [policy.pause_s(failures) or 0.0 for _ in range(50)]
            assert longest_s / 2 <= min(drawn) < max(drawn) <= longest_s

    def test_it_gives_up_after_its_tries_or_its_time(self) -> None:
        policy = RetryPolicy(max_tries=3, timeout_s=10.0)
        assert policy.pause_s(2, elapsed_s=10.0) is not None
        assert policy.pause_s(3, elapsed_s=0.0) is None
        assert policy.pause_s(1, elapsed_s=10.1) is None

    def test_a_success_starts_the_count_and_the_time_again(self) -> None:
        now_s = [0.0]
        backoff = Backoff(RetryPolicy(timeout_s=10.0), clock=lambda: now_s[0])
        now_s[0] = 9.0
        assert backoff.failed() is not None
        backoff.succeeded()
        now_s[0] = 18.0
        assert backoff.failed() is not None
        assert backoff.failures == 1
        now_s[0] = 20.0
        assert backoff.failed() is None


class TestRetry:
    def test_it_calls_until_success_and_reports_the_first_failure_once(self) -> None:
        reported: list[Exception] = []
        assert retry(Flaky(2), on=NetworkError, policy=QUICK, on_first_failure=reported.append) == 3
        assert [str(error) for error in reported] == ["call 1 failed"]

    def test_it_raises_the_last_error_when_it_gives_up(self) -> None:
        with pytest.raises(NetworkError, match="call 4 failed"):
            retry(Flaky(9), on=NetworkError, policy=QUICK)

    def test_other_errors_are_raised_at_once(self) -> None:
        flaky = Flaky(9)
        with pytest.raises(NetworkError, match="call 1 failed"):
            retry(flaky, on=SpecError, policy=QUICK)
        assert flaky.calls == 1

    def test_it_ends_when_nobody_needs_the_result(self) -> None:
        flaky = Flaky(9)
        with pytest.raises(NetworkError):
            retry(flaky, on=NetworkError, policy=RetryPolicy(timeout_s=600.0), is_over=lambda: flaky.calls == 2)
        assert flaky.calls == 2

    def test_a_stopped_run_leaves_a_long_pause(self) -> None:
        began_s = time.monotonic()
        with checking_for_stop(lambda: time.monotonic() - began_s > 0.1), pytest.raises(Stopped):
            pause(600.0)
        assert time.monotonic() - began_s < 60

    async def test_coroutines_are_retried_with_the_sleep_that_is_passed(self) -> None:
        slept_s: list[float] = []

        async def sleep(seconds: float) -> None:
            slept_s.append(seconds)

        assert await retry_async(Flaky(2).call, on=NetworkError, policy=QUICK, sleep=sleep) == 3
        assert len(slept_s) == 2
        with pytest.raises(NetworkError, match="call 4 failed"):
            await retry_async(Flaky(9).call, on=NetworkError, policy=QUICK, sleep=sleep)
