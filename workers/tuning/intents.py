"""Intents: the steps that a study has decided to take and has not taken yet."""

from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from pydantic import JsonValue

from fgd_core.spec.trials import EarlierTrial, TrialOrigin


@dataclass(frozen=True)
class ResumeTrial:
    """Resume a trial whose segment was interrupted: its worker or the driver died."""

    trial: int


@dataclass(frozen=True)
class StartTrial:
    """Start a trial with given values: a user's request or a baseline."""

    origin: TrialOrigin
    values: dict[str, JsonValue]


@dataclass(frozen=True)
class PromoteTrial:
    """Continue a paused trial in a new segment, from a checkpoint as it was when the scheduler decided."""

    trial: int
    source: tuple[int, int]
    """(trial, segment) whose checkpoint it continues from."""
    from_epoch: int
    values: dict[str, JsonValue] | None
    """New values; None keeps the trial's own."""


@dataclass(frozen=True)
class SuggestTrial:
    """Start a trial with values that the searcher suggests."""


@dataclass(frozen=True)
class RepeatTrial:
    """Run a trial's values again with another seed."""

    trial: int
    seed: int


@dataclass(frozen=True)
class StopTrial:
    """End a paused trial, because the scheduler does not continue it or the budget is used up."""

    trial: int


@dataclass(frozen=True)
class ForkTrial:
    """Copy a trial of the sweep that this one forks."""

    earlier: EarlierTrial


Intent: TypeAlias = ResumeTrial | StartTrial | PromoteTrial | SuggestTrial | RepeatTrial | StopTrial | ForkTrial
Kind = TypeVar("Kind", ResumeTrial, StartTrial, PromoteTrial, StopTrial, ForkTrial)


class IntentQueue:
    """Holds intents in the order in which the study decided on them."""

    def __init__(self) -> None:
        self._intents: list[Intent] = []

    def add(self, *intents: Intent) -> None:
        self._intents.extend(intents)

    def all(self, kind: type[Kind]) -> list[Kind]:
        return [each for each in self._intents if isinstance(each, kind)]

    def first(self, kind: type[Kind]) -> Kind | None:
        return next((each for each in self._intents if isinstance(each, kind)), None)

    def pop(self, kind: type[Kind]) -> Kind | None:
        """Remove and return the first intent of a kind; None if there is none."""
        found = self.first(kind)
        if found is not None:
            self.discard(found)
        return found

    def discard(self, intent: Intent) -> None:
        """Remove an intent if it is there."""
        if intent in self._intents:
            self._intents.remove(intent)

    def discard_of(self, kind: type[ResumeTrial] | type[PromoteTrial] | type[StopTrial], trial: int) -> None:
        """Remove all intents of a kind that concern a trial."""
        self._intents = [each for each in self._intents if not (isinstance(each, kind) and each.trial == trial)]
