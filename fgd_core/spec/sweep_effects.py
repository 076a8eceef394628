"""Which choices of a sweep mattered: the tests of its dimensions, and what they rest on."""

from typing import Literal

from fgd_core.spec.base import Fact


class ValueEffect(Fact):
    """A value of a choice, or a third of the range of a number, compared with the best one."""

    value: str
    """In words: `fgd`, or `0.01 to 0.07`."""
    num_trials: int
    mean: float
    """Mean of the objective over these trials; their other values were drawn at random."""
    behind: float | None
    """`mean` of the best value minus this one, in the objective's unit; None for the best value."""
    low: float | None
    """Lower end of the 95 % interval of `behind`. All intervals of a report hold together."""
    high: float | None


class DimensionEffect(Fact):
    """Whether one dimension mattered."""

    path: str
    """The searched field."""
    verdict: Literal["mattered", "not_shown", "untested"]
    """`mattered`: the adjusted p-value is at most 0.05. `untested`: fewer than two values, or no spread."""
    p_adjusted: float | None
    """P-value of the permutation test, adjusted after Holm for all tested dimensions; None if untested."""
    num_trials: int
    """Trials that count and have a value of this dimension."""
    values: list[ValueEffect]
    """Best first. Empty unless it mattered, because the best of values that are alike is best by luck."""
    effect: float | None
    """The effect that `trials_needed` is about, in the objective's unit: 0.01 for scores, else the largest difference
    seen between two values."""
    trials_needed: int | None
    """Random trials with which the test finds `effect` four times in five. None if it mattered already, if the spread
    is unknown, or if more than 10,000 would be needed."""
    hours: float | None
    """Hours that the trials still needed would take one after the other, at this sweep's mean cost of a trial."""
    gpu_hours: float | None
    finding: str
    """In words: what was found, with its p-value and interval."""
    to_know: str
    """In words: what it costs to know more; empty if nothing is open."""


class Effects(Fact):
    """Which dimensions mattered, tested on the trials whose values were drawn without knowledge of any result."""

    dimensions: list[DimensionEffect]
    """By p-value; untested dimensions are last. Empty if none was tested."""
    num_trials: int
    """Trials that count."""
    num_adaptive: int
    """Trials that do not count, because the searcher chose their values from earlier results, or a user did."""
    num_without_value: int
    """Trials that would count, but failed or were stopped before `epoch`."""
    epoch: int | None
    """Trials are compared by their best value until this epoch, which all of them reach; None: until their end."""
    why_untested: str
    """Why no dimension was tested; empty if one was."""
    basis: str
    """Which trials were tested and how, in words."""
    holds_for: str
    """The data, the models and the schedule that the findings are about, in words."""
