"""What the database knows about the time that earlier runs took."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from fgd_core.spec.paths import SpecData, with_fields
from service.jobs.costs.earlier import Took, run_type


class StoredRun(NamedTuple):
    """A run that succeeded: a training, a chain or an evaluation."""

    spec: SpecData
    epochs: float | None
    """That it trained; None for all."""
    ran_s: float
    ended_s: float
    machine: str
    start_s: float
    """As in `Took`."""


class StoredTrial(NamedTuple):
    """A segment of a trial of a sweep."""

    sweep: SpecData
    """The spec of the sweep."""
    values: SpecData
    epochs: float
    ran_s: float
    ended_s: float
    machine: str


def took(runs: Iterable[StoredRun], trials: Iterable[StoredTrial]) -> list[Took]:
    """Return what decided how long each of them took. Specs of other versions are left out."""
    return [*_of_runs(runs), *_of_trials(trials)]


def _of_runs(runs: Iterable[StoredRun]) -> Iterator[Took]:
    for spec, epochs, ran_s, ended_s, machine, start_s in runs:
        with suppress(KeyError):
            yield Took(run_type(spec, epochs=epochs), ran_s, ended_s, machine, start_s)


def _of_trials(trials: Iterable[StoredTrial]) -> Iterator[Took]:
    for sweep, values, epochs, ran_s, ended_s, machine in trials:
        with suppress(KeyError):
            base = {**sweep["base"], "resources": sweep["resources"]}
            yield Took(run_type(with_fields(base, values), form="trial", epochs=epochs), ran_s, ended_s, machine)
