"""What a run that ran out of memory is started with instead."""

from typing import Any

from fgd_core.spec.paths import field


def halved(spec: dict[str, Any], times: int) -> dict[str, Any]:
    """Fields of a stored spec, by path, with its batch halved so many times; none where it has no batch.

    The learning rate goes along in proportion (linear scaling, arXiv:1706.02677).
    """
    if not times:
        return {}
    path = "training.batch_size" if "training" in spec else "batch_size"
    batch_size = field(spec, path)
    if batch_size is None:
        return {}
    smaller = max(1, batch_size >> times)
    changes: dict[str, Any] = {path: smaller}
    rate_path = "training.optimizer.learning_rate"
    if "training" in spec and (rate := field(spec, rate_path)) is not None:
        changes[rate_path] = rate * smaller / batch_size
    return changes
