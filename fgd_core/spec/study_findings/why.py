"""The finding of a `why` study: on what the gain of a distillation depends."""

from typing import Literal, TypeAlias

from fgd_core.spec.base import Fact
from fgd_core.spec.comparison import Change
from fgd_core.spec.study_findings.trend import Trend

Quality: TypeAlias = Literal["AP", "calibration error", "Brier score"]


class SettingGain(Fact):
    """What distilling brings with one setting of the base changed."""

    varied: str
    """`nothing`; `teacher`; `fraction` of the training images; or the name of another setting, such as
    `temperature`."""
    value: str
    """Of the setting; empty for the base as it is."""
    plain: float | None
    """Mean AP of the plain student, in [0, 1]."""
    distilled: float | None
    change: Change | None
    """Distilled minus plain, by Welch's test; all gains of the study are judged together. None if there is no AP."""


class TaughtGain(Fact):
    """A teacher, and what it brings."""

    checkpoint: str
    ap: float | None
    calibration_error: float | None
    """The expected calibration error, in [0, 1]: by how much its scores miss the share of right detections, at IoU 0.5.
    `calibration_error` and `brier` are None if the detections of the teacher were not kept."""
    brier: float | None
    """Mean squared error of the scores as probabilities, in [0, 1]."""
    gain: float | None
    """Mean AP of the student that it taught minus that of the plain one."""


class Rank(Fact):
    """Whether teachers that are better in one respect bring more."""

    of: Quality
    tau: float
    """Kendall's rank correlation with the gain, in [-1, 1]."""
    low: float | None
    """Lower end of the 95 % interval. `low` and `high` are None for fewer than five teachers."""
    high: float | None
    num_teachers: int


class Spread(Fact):
    """How much runs vary over seeds with distillation, relative to plain ones."""

    plain: float
    """Standard deviation of AP, over all settings in which plain and distilled were trained."""
    distilled: float
    ratio: float
    """Distilled over plain."""
    low: float
    """Lower end of the 95 % interval of the ratio."""
    high: float
    p: float
    """Two-sided p-value of a ratio of 1, by the F-test."""


class Why(Fact):
    """On what the gain depends. Source of the questions: arXiv:2005.10419."""

    gains: list[SettingGain]
    """The base first."""
    teachers: list[TaughtGain]
    ranks: list[Rank]
    """Empty for fewer than three teachers."""
    trends: list[Trend]
    """Of the gain over the share of the training images, and of the distilled student's AP over other settings. The
    plain runs are the same for all values of these, so theirs are trends of the gain, too."""
    spread: Spread | None
    """None if an arm has one run only, or runs that do not vary."""
    false_discovery_rate: float
    sentences: list[str]
    """The findings in words, the answer first."""
