"""What a run that ran out of memory is started with instead."""

from typing import Any


def halved(spec: dict[str, Any], times: int) -> dict[str, Any]:
    """Fields of a stored spec, by path, with its batch halved so many times.

    The learning rate goes along in proportion (linear scaling, arXiv:1706.02677).
    """
    if not times:
        return {}
    path = "training.batch_size" if "training" in spec else "batch_size"
    batch_size = _get(spec, path)
    smaller = max(1, batch_size >> times)
    changes: dict[str, Any] = {path: smaller}
    rate_path = "training.optimizer.learning_rate"
    if "training" in spec and (rate := _get(spec, rate_path)) is not None:
        changes[rate_path] = rate * smaller / batch_size
    return changes


def apply(spec: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy of a stored spec with fields set by path."""
    for path, value in changes.items():
        head, _, rest = path.partition(".")
        spec = {**spec, head: apply(spec[head], {rest: value}) if rest else value}
    return spec


def _get(spec: dict[str, Any], path: str) -> Any:
    value: Any = spec
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value
