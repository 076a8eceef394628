"""The finding of a `gain` study: what distilling, inheriting and both bring."""

from fgd_core.spec.base import Fact
from fgd_core.spec.comparison import Change, ClassRow, ScoreRow


class ArmResult(Fact):
    """The runs of one arm of a study; an arm is one way to train the student."""

    arm: str
    """`plain`, `distilled`, `inherited` or `both`."""
    seeds: list[int]
    aps: list[float | None]
    """AP of each run, in [0, 1], in the order of `seeds`."""
    mean: float | None
    low: float | None
    """Lower end of the 95 % interval of the mean over seeds. `low` and `high` are None with one seed."""
    high: float | None


class Power(Fact):
    """Which gains these runs can show, and what more seeds would show."""

    smallest_gain: float
    """The smallest gain of AP that matters to the user."""
    power: float
    """Probability that these runs show a true gain of `smallest_gain`, in [0, 1], if runs vary as they did here."""
    shown_gain: float
    """The smallest true gain that these runs show four times in five, if runs vary as they did here."""
    seeds_needed: int | None
    """Seeds of each arm that show `smallest_gain` four times in five. Few runs say little about how much runs vary, so
    this is computed from an upper limit of the variance, which suffices in four studies of five. None: more than 50."""


class Contrast(Fact):
    """One arm compared with another one, by Welch's test over seeds."""

    first: str
    second: str
    change: Change | None
    """Difference of AP, first minus second. `p_adjusted` and `finding` account for all contrasts of the study. None if
    there is no AP."""
    scores: list[ScoreRow]
    """The other COCO scores, each judged alone; empty if an arm has fewer than two seeds."""
    classes: list[ClassRow]
    """The AP of each class, all classes judged together; empty if an arm has fewer than two seeds."""
    power: Power | None
    """None if an arm has fewer than two seeds."""


class Gain(Fact):
    """What each way of training brings over the others."""

    arms: list[ArmResult]
    contrasts: list[Contrast]
    confidence: float
    false_discovery_rate: float
    min_boxes: int
    sentences: list[str]
    """The findings in words, the answer first."""
