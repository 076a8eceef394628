"""Decides which tests `make test` leaves to `make test-all`: repetitions of what a cheaper test shows as well."""

from collections import defaultdict
from collections.abc import Sequence

import pytest

ENGINES_AND_STORAGES = frozenset({"postgresql", "s3"})
"""Those beside the default ones, as values of parameters."""
COLLECTED = pytest.StashKey[dict[str, pytest.Mark | None]]()
"""Id -> its mark `slow`, of all tests that were collected, also if they do not run."""


def slow(kept: str) -> pytest.MarkDecorator:
    """Leave a test, or one of its variants, to `make test-all`.

    Args:
        kept: beginning of the ids of the tests that show the same kind of thing in `make test`.
    """
    return pytest.mark.slow(kept)


def leave_repetitions(items: Sequence[pytest.Item]) -> None:
    """Mark as slow what a class repeats on PostgreSQL or S3: its first test on each stays.

    Tests with the mark `every_database` stay: what they show depends on the database. So do tests that run on one only.
    """
    variants: dict[str, list[frozenset[str]]] = defaultdict(list)
    for item in items:
        variants[_function(item)].append(_beside_default(item))
    shown: dict[str, dict[str, str]] = defaultdict(dict)
    for item in items:
        values = _beside_default(item) - frozenset.intersection(*variants[_function(item)])
        before = shown[_function(item).rpartition("::")[0]]
        if values and values <= before.keys() and item.get_closest_marker("every_database") is None:
            item.add_marker(slow(before[min(values)]))
        before |= dict.fromkeys(values - before.keys(), item.nodeid)


def _function(item: pytest.Item) -> str:
    return item.nodeid.partition("[")[0]


def _beside_default(item: pytest.Item) -> frozenset[str]:
    params = getattr(getattr(item, "callspec", None), "params", {})
    return ENGINES_AND_STORAGES & {str(value) for value in params.values()}
