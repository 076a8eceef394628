"""Writes a sweep as a study of Optuna, by Optuna's own functions: for optuna-dashboard and Optuna's plots.

No other part of the client needs Optuna, so only the extra `optuna` installs it.
"""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import JsonValue
from sqlalchemy.exc import SQLAlchemyError

from fgd_core.errors import StorageError
from fgd_core.spec.dimensions import Choice, Dimension, Integers, LogUniform, Uniform
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.sweep_report import TrialView

_STATES = {
    "completed": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "lost": TrialState.FAIL,
}
"""All other trials of a sweep still run, or may go on."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


def write(path: Path, job_id: str, spec: SweepSpec, trials: Sequence[TrialView], *, submitted_at: datetime) -> str:
    """Write a sweep as a study into a SQLite file, and return the study's name.

    Other studies in the file stay; an earlier export of this sweep is replaced.

    Args:
        trials: by number.
        submitted_at: the time of trials that have reported nothing.
    Raises:
        StorageError: the file cannot be written, or holds something else.
    """
    name = f"{spec.name} ({job_id})"
    with _storage(path) as storage:
        if any(summary.study_name == name for summary in optuna.get_all_study_summaries(storage, False)):
            optuna.delete_study(study_name=name, storage=storage)
        directions = [objective.direction for objective in spec.objectives]
        study = optuna.create_study(study_name=name, storage=storage, directions=directions)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names([objective.metric for objective in spec.objectives])
        study.set_user_attr("job_id", job_id)
        dimensions = spec.dimensions()
        for trial in trials:
            study.add_trial(_trial(trial, dimensions, submitted_at))
    return name


@contextmanager
def _storage(path: Path) -> Iterator[RDBStorage]:
    try:
        storage = RDBStorage(f"sqlite:///{path}")
        try:
            yield storage
        finally:
            storage.remove_session()
            storage.engine.dispose()
    except (SQLAlchemyError, StorageInternalError) as error:
        cause = str(error.__cause__ or error).splitlines()[0]
        raise StorageError(
            f"cannot write a study to {path}: {cause}; name a new file, or one of Optuna's", path=str(path)
        ) from error


def _trial(trial: TrialView, dimensions: Mapping[str, Dimension], submitted_at: datetime) -> FrozenTrial:
    searched = {
        path: _parameter(dimensions[path], value)
        for path, value in trial.values.items()
        if path in dimensions and _contains(dimensions[path], value)
    }
    state = _STATES.get(trial.state, TrialState.RUNNING)
    values = [value for value in trial.objectives if value is not None]
    if state is TrialState.COMPLETE and (not values or len(values) < len(trial.objectives)):
        state = TrialState.FAIL
    found = create_trial(
        state=state,
        values=values if state is TrialState.COMPLETE or (state is TrialState.PRUNED and len(values) == 1) else None,
        params=searched,
        distributions={path: _distribution(dimensions[path]) for path in searched},
        intermediate_values=_reports(trial),
        user_attrs=_facts(trial),
    )
    first, last = (trial.reports[0], trial.reports[-1]) if trial.reports else (None, None)
    found.datetime_start = _local(first.at - timedelta(seconds=first.train_s) if first else submitted_at)
    if state.is_finished():
        found.datetime_complete = _local(last.at if last else submitted_at)
    return found


def _reports(trial: TrialView) -> dict[int, float]:
    """Return the objective by epoch; Optuna has no reports for several objectives."""
    if len(trial.objectives) > 1:
        return {}
    return {
        report.epoch: report.objectives[0]
        for report in trial.reports
        if report.objectives and report.objectives[0] is not None
    }


def _facts(trial: TrialView) -> dict[str, JsonValue]:
    facts = trial.model_dump(
        mode="json",
        include={"trial", "origin", "state", "seed", "repeats", "values", "epoch", "train_s", "error", "checkpoint"},
        exclude_none=True,
    )
    return {name: json.dumps(value) if isinstance(value, dict) else value for name, value in facts.items()}


def _local(at: datetime) -> datetime:
    """Return a time as Optuna writes it: in this machine's zone, without naming the zone."""
    return at.astimezone().replace(tzinfo=None)


def _contains(dimension: Dimension, value: JsonValue) -> bool:
    if isinstance(dimension, Choice):
        return value in dimension.values
    return isinstance(value, int | float) and dimension.low <= value <= dimension.high


def _distribution(dimension: Dimension) -> BaseDistribution:
    match dimension:
        case Uniform() | LogUniform():
            return FloatDistribution(dimension.low, dimension.high, log=isinstance(dimension, LogUniform))
        case Integers():
            return IntDistribution(dimension.low, dimension.high, log=dimension.log)
        case Choice():
            return CategoricalDistribution([_parameter(dimension, value) for value in dimension.values])


def _parameter(dimension: Dimension, value: JsonValue) -> str | float | None:
    """Return a value as Optuna takes it: as JSON if it is a list or an object."""
    return json.dumps(value) if isinstance(value, list | dict) else value
