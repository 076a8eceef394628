"""Decides whether trials can be ranked by their speed."""

from collections.abc import Sequence

from fgd_core.spec.search import Objective
from fgd_core.spec.sweep_report import TrialView

SPEED = "images_per_s"


def speed_warning(trials: Sequence[TrialView], objectives: Sequence[Objective]) -> str | None:
    """Say why trials cannot be ranked by speed, and the cure; None if they can, or speed is no objective."""
    results = [(trial, trial.result) for trial in trials if trial.result is not None]
    if len(results) < 2 or not any(objective.metric == SPEED for objective in objectives):
        return None
    disturbed = [trial.trial for trial, result in results if result.speed is None or result.speed.disturbed_by]
    places = {(result.speed.machine, result.device) for _, result in results if result.speed is not None}
    why = []
    if disturbed:
        which = ", ".join(map(str, disturbed[:10])) + (" …" if len(disturbed) > 10 else "")
        why.append(f"{len(disturbed)} of {len(results)} trials ({which}) were measured while other work ran")
    if len(places) > 1:
        why.append(f"the trials ran on {len(places)} different machines or devices")
    if not why:
        return None
    return (
        f"Do not rank trials by images/s: {'; '.join(why)}. Evaluate the checkpoints (kind: evaluate) one after the "
        "other on one quiet machine, or search with concurrent_trials: 1."
    )
