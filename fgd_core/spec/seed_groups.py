"""Says which jobs are runs of one configuration with different seeds."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

# None of them changes what a run learns. The project stays: a group lies in one project, as do the rights to read it.
_LEFT_OUT = frozenset({"name", "seed", "priority", "preemptible", "retry"})


def seed_group(spec: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits that are equal for jobs whose specs differ only in the seed, the name and how they
    are scheduled.

    Args:
        spec: in JSON.
    """
    content = {name: value for name, value in spec.items() if name not in _LEFT_OUT}
    text = json.dumps(_without_fingerprints(content), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _without_fingerprints(value: Any) -> Any:
    """Return a part of a spec without the fingerprints of its data, which a later check of the same data may add."""
    match value:
        case dict():
            return {name: _without_fingerprints(item) for name, item in value.items() if name != "fingerprints"}
        case list():
            return [_without_fingerprints(item) for item in value]
    return value
