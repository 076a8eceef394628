"""The finding of a `left_over` study: whom distilling hurts, and what of the teacher's bias it copies."""

from typing import Literal, TypeAlias

from fgd_core.spec.base import Fact
from fgd_core.spec.comparison import Change, ClassRow
from fgd_core.spec.study_findings.trend import Trend

ArmName: TypeAlias = Literal["plain", "distilled", "teacher"]


class ClassLeftOver(ClassRow):
    """The AP of one class; first: distilled, second: plain."""

    teacher: float | None
    """AP of the teacher, in [0, 1]; the mean if it has several runs."""
    from_teacher: Change | None
    """Difference of (AP of the class minus AP over all classes), distilled minus teacher: which of the teacher's strong
    and weak classes the student does not share."""


class Disagreement(Fact):
    """How often two runs differ about a true box: one finds it at its operating point, and the other does not."""

    first: ArmName
    second: ArmName
    share: float
    """Share of the true boxes, in [0, 1]: the mean over all pairs of runs. Two runs of one arm show how much of this
    is chance."""
    num_pairs: int


class Rate(Fact):
    """A rate of one group or a distance between groups, for the three arms, as means over runs."""

    plain: float
    distilled: float
    teacher: float
    change: Change
    """Distilled minus plain."""


class GroupRow(Fact):
    """A slice of the ground truth, at each class's operating point: the score with the best F1 at IoU 0.5."""

    name: str
    num_boxes: int
    recall: Rate
    """The true positive rate at IoU 0.5, in [0, 1]. All groups of a study are judged together."""
    positives: Rate
    """Detections for each true box."""
    alarms: Rate
    """The share of the group's detections that match nothing, in [0, 1]."""


class GroupSet(Fact):
    """Groups that ought to be treated alike."""

    name: str
    groups: list[GroupRow]
    too_small: dict[str, int] = {}
    """Groups that are not compared, because they have fewer true boxes than `LeftOver.min_boxes`: the number of each.
    Empty in reports of older versions."""
    parity: Rate | None
    """The demographic parity difference: largest minus smallest rate of detections for each true box. None for fewer
    than two groups with enough boxes."""
    odds: Rate | None
    """The equalised odds difference: the larger of the gaps of recall and of alarms; 0 is fair."""


class Individual(Fact):
    """How steadily a detector finds the same object in an image and in a mildly altered copy: means over boxes and
    copies. 0 is fair to individuals. Both are judged together; see `fgd_core.spec.results.AlteredScores`."""

    flips: Rate
    """Share of the true boxes that are found in only one of the two."""
    score_change: Rate
    """Difference of the scores with which a true box is found."""


class LeftOver(Fact):
    """What distilling changes for each class and group. Source: arXiv:2410.08407."""

    num_seeds: dict[ArmName, int]
    false_discovery_rate: float
    min_boxes: int
    classes: list[ClassLeftOver]
    lost: list[str]
    """Classes whose AP is significantly lower with distillation."""
    num_changed: int
    """Classes that changed significantly differently from the AP, distilled against plain (#SC)."""
    num_unlike_teacher: int
    """Classes that differ from the AP significantly differently from the teacher's (#TC)."""
    disagreements: list[Disagreement]
    """Empty if the runs kept no matched detections."""
    group_sets: list[GroupSet]
    individual: Individual | None
    """None if a run was not evaluated on altered images."""
    trends: list[Trend]
    """Over the values of each setting: AP, the worst class, the distances between groups, the disagreement with the
    teacher, the flips on altered images."""
    sentences: list[str]
    """The findings in words, the answer first."""
