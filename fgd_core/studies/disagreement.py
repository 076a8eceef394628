"""How often runs differ about the same true boxes."""

from collections.abc import Mapping, Sequence
from itertools import combinations, product

import numpy as np

from fgd_core.spec.study_findings.left_over import ArmName, Disagreement
from fgd_core.statistics.operating import scores_of_boxes
from fgd_core.studies.runs import StudyRun, boxes_of_classes

_PAIRS: tuple[tuple[ArmName, ArmName], ...] = (
    ("plain", "plain"),
    ("distilled", "distilled"),
    ("plain", "distilled"),
    ("plain", "teacher"),
    ("distilled", "teacher"),
)


def disagreements(arms: Mapping[ArmName, Sequence[StudyRun]]) -> list[Disagreement]:
    """Compare all pairs of runs within and between arms; pairs without matched boxes are left out."""
    found = []
    for first, second in _PAIRS:
        pairs = combinations(arms[first], 2) if first == second else product(arms[first], arms[second])
        shares = [share for one, other in pairs if (share := share_between(one, other)) is not None]
        if shares:
            share = float(np.mean(shares))
            found.append(Disagreement(first=first, second=second, share=share, num_pairs=len(shares)))
    return found


def share_between(first: StudyRun, second: StudyRun) -> float | None:
    """Return the share of the true boxes that exactly one of two runs finds, in [0, 1].

    None if a run kept no matched boxes, or if there are no true boxes.
    """
    if first.evidence is None or second.evidence is None:
        return None
    ours, theirs = scores_of_boxes(first.evidence), scores_of_boxes(second.evidence)
    num_boxes = sum(boxes_of_classes([first]))
    if ours is None or theirs is None or not num_boxes:
        return None
    size = max(len(ours), len(theirs))
    one, other = (np.pad(scores, (0, size - len(scores))) > 0 for scores in (ours, theirs))
    return float((one != other).sum() / num_boxes)
