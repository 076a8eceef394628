"""How a number changes with a setting."""

from fgd_core.spec.base import Fact


class Level(Fact):
    """The runs with one value of the setting."""

    value: float
    num_runs: int
    mean: float
    low: float | None
    """Lower end of the 95 % interval of the mean. `low` and `high` are None with one run."""
    high: float | None


class Trend(Fact):
    """A line over the logarithm of a setting."""

    of: str
    """What is measured."""
    over: str
    """The setting."""
    levels: list[Level]
    """By rising value."""
    per_doubling: float
    """The change if the setting is doubled."""
    low: float
    """Lower end of the 95 % interval of `per_doubling`."""
    high: float
    p: float
    """Two-sided p-value of a line without a slope. A curve that rises and falls may have none: see the levels."""
