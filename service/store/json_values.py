"""JSON that every database keeps and every client reads back."""

import math
from typing import Any

MAX_DEPTH = 40


def storable(value: Any, depth: int = 0) -> Any:
    """`value` without what JSON columns or UTF-8 refuse: NaN and infinities, lone surrogates, NUL, deep nesting.

    Facts from a run are kept whatever they hold; one odd string must not cost the batch.
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
