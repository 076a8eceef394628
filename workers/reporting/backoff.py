"""How long to wait before asking again."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from fgd_core.errors import NetworkError
from fgd_core.stopping import raise_if_stopped

LONGEST_S = 5.0
Answer = TypeVar("Answer")


def pause_s(failures: int) -> float:
    """Doubles from a tenth of a second up to LONGEST_S; at random below that, so that runs do not ask in step."""
    return min(LONGEST_S, 0.1 * 2.0 ** min(failures, 16)) * random.uniform(0.5, 1.0)


def until_answered(
    ask: Callable[[], Answer],
    *,
    timeout_s: float,
    say: Callable[[str], object],
    is_over: Callable[[], bool] = lambda: False,
) -> Answer:
    """Ask, and ask again while the control plane is away.

    Args:
        say: told once that this waits.
        is_over: whether nobody wants to know any more.
    Raises:
        NetworkError: the last one, after `timeout_s` or when it is over.
        Stopped: the run that waits has been asked to stop.
    """
    deadline_s = time.monotonic() + timeout_s
    failures = 0
    while True:
        try:
            return ask()
        except NetworkError as error:
            if time.monotonic() > deadline_s or is_over():
                raise
            raise_if_stopped()
            if failures == 0:
                say(f"waiting for the control plane: {error}")
            time.sleep(pause_s(failures))
            failures += 1
