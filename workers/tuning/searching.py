"""The interface of searchers: they suggest the values of the next trial."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

from pydantic import JsonValue

Values: TypeAlias = Mapping[str, JsonValue]
"""The values of a trial, by field path."""


class Searcher(Protocol):
    """Suggests values. It is a function of its calls in their order, so that a rebuilt study is the same.

    A searcher that learns nothing overrides only `ask`.
    """

    def ask(self, number: int) -> dict[str, JsonValue] | None:
        """Suggest values for the trial of this number; None if there are no more."""

    def asked(self, number: int, values: Values) -> None:
        """As `ask`, for a trial whose values are given: by a user, or by a stored event."""
        return

    def report(self, number: int, epoch: int, value: float) -> None:
        """Report the first objective of a trial at an epoch."""
        return

    def tell(self, number: int, objectives: Sequence[float] | None, *, is_complete: bool) -> None:
        """Report the objectives at a trial's end; None if it failed. A trial that is not complete was stopped early."""
        return

    def learn(self, values: Values, objectives: Sequence[float]) -> None:
        """Learn from a complete trial of another sweep, whose values are in this space."""
        return
