"""Runs that were never trained, whose true skill is therefore known."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fgd_core.spec.comparison import MIN_BOXES
from fgd_core.spec.results import ClassScore, Scores
from fgd_core.statistics.seeds import Points, by_seeds
from fgd_core.statistics.verdicts import among_many
from fgd_core.studies.runs import StudyRun

NO_SCORES = dict.fromkeys(
    ("ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large")
)


def run(seed: int, aps: Sequence[float], *, num_boxes: int = 100) -> StudyRun:
    """A run with these APs of classes `class 0`, `class 1`, …"""
    per_class = {
        f"class {place}": ClassScore(ap=float(ap), ap50=float(ap), num_boxes=num_boxes) for place, ap in enumerate(aps)
    }
    return StudyRun(seed=seed, scores=Scores(ap=float(np.mean(aps)), per_class=per_class, **NO_SCORES))


def runs(aps: np.ndarray) -> list[StudyRun]:
    """Runs with seeds from 0 with APs (n, K)."""
    return [run(seed, row) for seed, row in enumerate(aps)]


class Planted(NamedTuple):
    """How often planted losses are found, and others, in simulated studies."""

    power: float
    """Share of the hurt classes that are found."""
    false_discoveries: float
    """Mean over the studies of the share of wrong classes among those that are named."""
    any_false: float
    """Share of the studies that name a wrong class."""


def planted(*, draws: int, seeds: int, num_classes: int, num_hurt: int, effect: float, shared: float = 0.5) -> Planted:
    """Simulate studies in which the first classes lose `effect` standard deviations of a run.

    Args:
        shared: the part of a class's variance that all classes of a run share, in [0, 1].
    """
    dice = np.random.default_rng(0)
    losses = effect * (np.arange(num_classes) < num_hurt)
    power, wrong_shares, wrong_studies = [], [], 0
    for _ in range(draws):
        common, own = (dice.normal(size=(2, seeds, width)) for width in (1, num_classes))
        plain, distilled = np.sqrt(shared) * common + np.sqrt(1 - shared) * own
        sides = [Points(scores=each.mean(axis=1, keepdims=True), classes=each) for each in (distilled - losses, plain)]
        judged = among_many(by_seeds(*sides).classes, num_boxes=[MIN_BOXES] * num_classes)
        named = np.array([each is not None and each.finding in ("gained", "lost") for each in judged])
        lost = np.array([each is not None and each.finding == "lost" for each in judged])
        power.append(lost[:num_hurt].mean() if num_hurt else 1.0)
        # A hurt class that is said to have gained is wrong, too.
        wrong = named.sum() - lost[:num_hurt].sum()
        wrong_shares.append(wrong / max(named.sum(), 1))
        wrong_studies += wrong > 0
    return Planted(float(np.mean(power)), float(np.mean(wrong_shares)), wrong_studies / draws)
