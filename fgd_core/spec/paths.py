"""Fields of a spec by path: `training.optimizer.learning_rate`."""

from collections.abc import Mapping
from typing import Any


def with_fields(spec: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a spec in JSON with fields set by path.

    Raises:
        KeyError: a path leads through a field that is not there.
    """
    for path, value in values.items():
        head, _, rest = path.partition(".")
        spec = {**spec, head: with_fields(spec[head], {rest: value}) if rest else value}
    return spec


def field(spec: dict[str, Any], path: str) -> Any:
    """The value at a path; None where there is none."""
    value: Any = spec
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value
