"""The dimensions of a search space: the values that a field of a job may take."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, JsonValue

from fgd_core.spec.base import Command

_LARGEST = 2**53
"""Every whole number up to this one can be written as a float without rounding."""

FieldPath: TypeAlias = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*$", max_length=200)]
"""A field of the base job, for example `method.alpha` or `training.optimizer.learning_rate`."""


class Condition(Command):
    """A condition: the dimension is searched only if another field has one of these values."""

    field: FieldPath
    """Path of the other field."""
    is_in: tuple[JsonValue, ...] = Field(min_length=1)
    """The values of the other field for which the dimension is searched."""


class _Dimension(Command):
    when: Condition | None = None
    """Search the dimension only if this condition holds; otherwise the field keeps the base's value."""


class Uniform(_Dimension):
    """A number between two limits, uniformly distributed."""

    type: Literal["uniform"] = "uniform"
    low: float
    """The lower limit."""
    high: float
    """The upper limit."""


class LogUniform(_Dimension):
    """A number whose logarithm is uniformly distributed: for weights and rates of unknown order of magnitude."""

    type: Literal["log_uniform"] = "log_uniform"
    low: float
    """The lower limit, above zero."""
    high: float
    """The upper limit."""


class Integers(_Dimension):
    """A whole number between two limits, uniformly distributed."""

    type: Literal["integers"] = "integers"
    low: int = Field(ge=-_LARGEST, le=_LARGEST)
    """The smallest possible value."""
    high: int = Field(ge=-_LARGEST, le=_LARGEST)
    """The largest possible value."""
    log: bool = False
    """True: the logarithm is uniformly distributed."""


class Choice(_Dimension):
    """One of several values without an order."""

    type: Literal["choice"] = "choice"
    values: tuple[JsonValue, ...]
    """The possible values."""


Dimension: TypeAlias = Annotated[Uniform | LogUniform | Integers | Choice, Field(discriminator="type")]
