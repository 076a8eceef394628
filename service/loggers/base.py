"""Defines what a logger receives, and what it must do."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

import yaml
from pydantic import JsonValue

from fgd_core.errors import FgdError
from fgd_core.spec.events import JobState


class LoggerError(FgdError):
    """A logger cannot be opened, or its destination refuses what it gets."""

    code = "logger"


class LoggerAwayError(LoggerError):
    """A logger's destination does not answer; the copy continues later."""

    code = "logger_away"
    retryable = True


class LoggedRun(NamedTuple):
    """Describes a run of a job, or of one trial of a sweep, as it is now."""

    job_id: str
    trial: str
    """Number of the trial; empty if the job is no sweep, and for the sweep itself."""
    name: str
    kind: str
    project: str
    submitted_by: str
    state: JobState
    spec: Mapping[str, JsonValue]
    created_at: datetime
    ended_at: datetime | None
    url: str
    """Address of the job's report."""

    @property
    def full_name(self) -> str:
        """The job's name, and the trial if there is one."""
        return f"{self.name}, trial {self.trial}" if self.trial else self.name

    @property
    def spec_as_yaml(self) -> str:
        """The spec as a user would submit it."""
        return yaml.safe_dump(dict(self.spec), sort_keys=False, allow_unicode=True)


class NewPoints(NamedTuple):
    """Holds points of one curve that the logger has not received yet; both columns have the same length."""

    curve: str
    steps: Sequence[int]
    values: Sequence[float]


class Update(NamedTuple):
    """Holds what is new about a run."""

    run: LoggedRun
    at: datetime
    """Time of the first event of this pass. If points come again, they come with the same time."""
    curves: Sequence[NewPoints]


class Logger(Protocol):
    """Copies updates to one destination. Its methods block, and run in a thread of their own."""

    def write(self, update: Update) -> None:
        """Copy an update; it is safe when this returns. An update may come again if this server dies meanwhile.

        Raises:
            LoggerAwayError: the destination does not answer.
            LoggerError: the destination refuses the update.
            OSError: a file cannot be written.
        """

    def close(self) -> None:
        """Close files and connections."""


def flat(spec: Mapping[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield (path, text) of every value of a spec: `("training.epochs", "12")`; lists stay together."""
    for name, value in spec.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict):
            yield from flat(value, f"{path}.")
        elif value is not None:
            yield path, str(value)
