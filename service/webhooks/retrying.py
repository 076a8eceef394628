"""When a receiver that did not take a delivery is tried again."""

PAUSES_S = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0, 21600.0, 28800.0)
"""After the first try, the second and so on; eleven tries in 22 hours."""


def pause_after(tries: int) -> float | None:
    """Seconds until the next try, after so many that failed; None: given up."""
    return PAUSES_S[tries - 1] if tries <= len(PAUSES_S) else None
