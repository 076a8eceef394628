"""How long to wait before asking again."""

import random

LONGEST_S = 5.0


def pause_s(failures: int) -> float:
    """Doubles from a tenth of a second up to LONGEST_S; at random below that, so that runs do not ask in step."""
    return min(LONGEST_S, 0.1 * 2.0 ** min(failures, 16)) * random.uniform(0.5, 1.0)
