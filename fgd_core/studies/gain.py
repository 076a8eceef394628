"""Folds a `gain` study: what distilling, inheriting and both bring, and what these seeds can show.

Arms are compared by Welch's test, not in pairs of equal seeds: recorded runs of two arms with the same seed are no more
alike than others, and pairs would cost half of the degrees of freedom. The contrasts are judged together after
Benjamini and Hochberg. `tests/studies/test_gain.py` measures both kinds of error.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

from fgd_core.spec.comparison import CONFIDENCE, FALSE_DISCOVERY_RATE, MIN_BOXES, Change
from fgd_core.spec.study_findings.gain import ArmResult, Contrast, Gain, Power
from fgd_core.statistics import verdicts
from fgd_core.statistics.power import power, seeds_needed, smallest_shown
from fgd_core.statistics.rows import class_rows, known, score_rows
from fgd_core.statistics.seeds import Differences, Measured, by_seeds
from fgd_core.statistics.welch import Sample, mean_interval, sample
from fgd_core.studies.gain_wording import sentences
from fgd_core.studies.runs import StudyRun, boxes_of_classes, boxes_of_scores, class_names, points

PLAIN = "plain"
CONTRASTS = (
    ("distilled", PLAIN),
    ("inherited", PLAIN),
    ("both", PLAIN),
    ("both", "inherited"),
    ("both", "distilled"),
)
"""The questions of a gain study, the first of them first."""


def gain(arms: Mapping[str, Sequence[StudyRun]], *, smallest_gain: float = 0.01) -> Gain:
    """Compare the arms of a study.

    Args:
        arms: by name, the arm's runs with different seeds on the same data; an arm without runs is left out.
        smallest_gain: the smallest gain of AP that matters, for the power; above 0.
    """
    present = {name: runs for name, runs in arms.items() if runs}
    pairs = [(first, second) for first, second in CONTRASTS if first in present and second in present]
    found = [_differences(present[first], present[second]) for first, second in pairs]
    boxes = [sum(boxes_of_classes(present[first])) for first, _ in pairs]
    changes = verdicts.among_many([each.scores[0] for each in found], num_boxes=boxes)
    result = Gain(
        arms=[_arm(name, runs) for name, runs in present.items()],
        contrasts=[
            _contrast(pair, present, differences, change, smallest_gain)
            for pair, differences, change in zip(pairs, found, changes, strict=True)
        ],
        confidence=CONFIDENCE,
        false_discovery_rate=FALSE_DISCOVERY_RATE,
        min_boxes=MIN_BOXES,
        sentences=[],
    )
    return result.model_copy(update={"sentences": sentences(result)})


def _arm(name: str, runs: Sequence[StudyRun]) -> ArmResult:
    aps = [run.scores.ap for run in runs]
    scored = [ap for ap in aps if ap is not None]
    interval = mean_interval(scored)
    return ArmResult(
        arm=name,
        seeds=[run.seed for run in runs],
        aps=aps,
        mean=fmean(scored) if scored else None,
        low=interval.low if interval is not None else None,
        high=interval.high if interval is not None else None,
    )


def _differences(first: Sequence[StudyRun], second: Sequence[StudyRun]) -> Differences:
    ours, theirs = points(first), points(second)
    if min(len(first), len(second)) > 1:
        return by_seeds(ours, theirs)
    by = known(ours.scores[:, 0].mean() - theirs.scores[:, 0].mean())
    return Differences(scores=[None if by is None else Measured(by)], classes=[], beyond_overall=[])


def _contrast(
    pair: tuple[str, str],
    arms: Mapping[str, Sequence[StudyRun]],
    found: Differences,
    change: Change | None,
    smallest_gain: float,
) -> Contrast:
    first, second = (arms[name] for name in pair)
    contrast = Contrast(first=pair[0], second=pair[1], change=change, scores=[], classes=[], power=None)
    groups = [sample([run.scores.ap for run in runs if run.scores.ap is not None]) for runs in (first, second)]
    tested = [group for group in groups if group is not None]
    if len(tested) < 2:
        return contrast
    ours, theirs = points(first), points(second)
    names, num_boxes = class_names(first), boxes_of_classes(first)
    return contrast.model_copy(
        update={
            "scores": score_rows(found, ours, theirs, num_boxes=boxes_of_scores(first))[1:],
            "classes": class_rows(found, ours, theirs, names=names, num_boxes=num_boxes),
            "power": _power(tested, smallest_gain),
        }
    )


def _power(groups: Sequence[Sample], smallest_gain: float) -> Power:
    return Power(
        smallest_gain=smallest_gain,
        power=power(smallest_gain, groups),
        shown_gain=smallest_shown(groups),
        seeds_needed=seeds_needed(smallest_gain, groups),
    )
