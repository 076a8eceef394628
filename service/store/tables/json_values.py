"""Makes JSON values storable in both databases and readable by every client."""

import math
from typing import Any, TypeAlias

JsonObject: TypeAlias = dict[str, Any]
"""A JSON object, as the JSON columns store it."""

MAX_DEPTH = 40


def storable(value: Any, depth: int = 0) -> Any:
    """Return `value` without what JSON columns or UTF-8 reject: NaN, infinities, lone surrogates, NUL, deep nesting.

    A batch from a run must not fail because of one such value.
    """
    match value:
        case float():
            return value if math.isfinite(value) else None
        case str():
            return value.replace("\x00", "").encode("utf-8", "replace").decode()
        case dict() | list() if depth >= MAX_DEPTH:
            return "…"
        case dict():
            return {storable(str(key)): storable(item, depth + 1) for key, item in value.items()}
        case list() | tuple():
            return [storable(item, depth + 1) for item in value]
        case _:
            return value
