"""Whether a run that fell silent is dead. "Cannot reach it" is not "it failed"."""

from service.jobs.cluster import ClusterJob

FINAL_BATCH_GRACE_S = 2.0
"""A run sends its last batch just before its process ends; the cluster's word may overtake it."""


def is_lost(
    word: ClusterJob | None, *, silent_s: float, over_for_s: float, heartbeat_s: float, heartbeat_timeout_s: float
) -> bool:
    """Positive evidence only: silence, and a fresh word of the cluster that the run is not there.

    Args:
        word: what the cluster has just said; None: it has never heard of the run.
        silent_s: since the run's last batch, or since its attempt began where there was none.
        over_for_s: since the cluster first said that the run is over; 0 if it has not.
    """
    if word is None:
        return silent_s > heartbeat_timeout_s
    # Ray's FAILED can be false: a heartbeat outweighs it.
    return word.is_over and over_for_s >= FINAL_BATCH_GRACE_S and silent_s > 2 * heartbeat_s
