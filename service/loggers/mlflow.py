"""Copies runs to an MLflow tracking server, over its REST API. An experiment holds the runs of a project.

The API: https://mlflow.org/docs/latest/api_reference/rest-api.html. MLflow keeps equal points once, so an update that
comes again changes nothing.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TypeAlias, TypeVar

import httpx
from pydantic import JsonValue

from fgd_core.spec.base import Fact
from fgd_core.spec.events import JobState
from service.loggers.base import LoggedRun, LoggerAwayError, LoggerError, NewPoints, Update, flat

_Json: TypeAlias = dict[str, JsonValue]

_TIMEOUT_S = 30.0
_MAX_METRICS, _MAX_PARAMS = 1000, 100
"""The limits of one request."""
_MAX_PARAM_LENGTH = 6000
_JOB, _TRIAL = "fgd.job_id", "fgd.trial"
_STATUS: Mapping[JobState, str] = {
    "succeeded": "FINISHED",
    "failed": "FAILED",
    "cancelled": "KILLED",
    "blocked": "SCHEDULED",
    "queued": "SCHEDULED",
    "starting": "SCHEDULED",
}
"""All other states are RUNNING."""


class _Info(Fact):
    run_id: str


class _Run(Fact):
    info: _Info


class _Runs(Fact):
    runs: list[_Run] = []


class _CreatedRun(Fact):
    run: _Run


class _Experiment(Fact):
    experiment_id: str


class _FoundExperiment(Fact):
    experiment: _Experiment


Answer = TypeVar("Answer", bound=Fact)


class MlflowLogger:
    """Copies to the server at `url`, which may hold a name and a password; else the environment's
    MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."""

    def __init__(self, url: str, environment: Mapping[str, str] = os.environ) -> None:
        token, user = environment.get("MLFLOW_TRACKING_TOKEN"), environment.get("MLFLOW_TRACKING_USERNAME")
        self._http = httpx.Client(
            base_url=f"{url.rstrip('/')}/api/2.0/mlflow/",
            timeout=_TIMEOUT_S,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            auth=(user, environment.get("MLFLOW_TRACKING_PASSWORD", "")) if user else None,
        )
        self._experiments: dict[str, str] = {}
        self._runs: dict[tuple[str, str], str] = {}
        self._statuses: dict[str, str] = {}

    def write(self, update: Update) -> None:
        """Create the run if MLflow lacks it, and add its new points; see `Logger.write`."""
        run_id = self._run_id(update.run)
        refused = self._add(run_id, update.curves, _milliseconds(update.at))
        self._set_status(run_id, update.run)
        if refused:
            raise LoggerError(f"all other curves are copied: {refused[0]}", curves=list(map(str, refused)))

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _add(self, run_id: str, curves: Sequence[NewPoints], at_ms: int) -> list[LoggerError]:
        """Add points; return the refusals. A curve whose name MLflow refuses must not keep others out."""
        try:
            for metrics in _in_parts([*_metrics(curves, at_ms)], _MAX_METRICS):
                self._post("runs/log-batch", {"run_id": run_id, "metrics": metrics})
        except LoggerAwayError:
            raise
        except LoggerError as refusal:
            if len(curves) == 1:
                return [refusal]
            return [error for curve in curves for error in self._add(run_id, [curve], at_ms)]
        return []

    def _run_id(self, run: LoggedRun) -> str:
        key = (run.job_id, run.trial)
        if key not in self._runs:
            self._runs[key] = self._find(run) or self._create(run)
        return self._runs[key]

    def _find(self, run: LoggedRun) -> str | None:
        """Return the id of a run that an earlier start of this server created."""
        wanted = f"tags.`{_JOB}` = '{run.job_id}' AND tags.`{_TRIAL}` = '{run.trial}'"
        body: _Json = {"experiment_ids": [self._experiment(run.project)], "filter": wanted, "max_results": 1}
        found = self._ask("runs/search", body, _Runs).runs
        return found[0].info.run_id if found else None

    def _create(self, run: LoggedRun) -> str:
        tags = {
            _JOB: run.job_id,
            _TRIAL: run.trial,
            "fgd.kind": run.kind,
            "fgd.submitted_by": run.submitted_by,
            "fgd.report": run.url,
        }
        if run.trial:
            tags["mlflow.parentRunId"] = self._run_id(run._replace(trial=""))
        body: _Json = {
            "experiment_id": self._experiment(run.project),
            "run_name": run.full_name,
            "start_time": _milliseconds(run.created_at),
            "tags": _pairs(tags.items()),
        }
        run_id = self._ask("runs/create", body, _CreatedRun).run.info.run_id
        for params in _in_parts(_pairs(flat(run.spec)), _MAX_PARAMS):
            self._post("runs/log-batch", {"run_id": run_id, "params": params})
        return run_id

    def _experiment(self, project: str) -> str:
        """Return the id of the experiment of a project, which is created if it does not exist."""
        if project not in self._experiments:
            name = f"fgd/{project}"
            found = self._request("GET", "experiments/get-by-name", params={"experiment_name": name})
            if found.status_code == httpx.codes.NOT_FOUND:
                experiment = self._ask("experiments/create", {"name": name}, _Experiment)
            else:
                experiment = _FoundExperiment.model_validate_json(_checked(found).content).experiment
            self._experiments[project] = experiment.experiment_id
        return self._experiments[project]

    def _set_status(self, run_id: str, run: LoggedRun) -> None:
        status = _STATUS.get(run.state, "RUNNING")
        if self._statuses.get(run_id) == status:
            return
        body: _Json = {"run_id": run_id, "status": status}
        if run.ended_at is not None:
            body["end_time"] = _milliseconds(run.ended_at)
        self._post("runs/update", body)
        self._statuses[run_id] = status

    def _post(self, path: str, body: _Json) -> httpx.Response:
        return _checked(self._request("POST", path, body))

    def _ask(self, path: str, body: _Json, form: type[Answer]) -> Answer:
        return form.model_validate_json(self._post(path, body).content)

    def _request(
        self, method: str, path: str, body: _Json | None = None, *, params: Mapping[str, str] | None = None
    ) -> httpx.Response:
        try:
            return self._http.request(method, path, json=body, params=params)
        except httpx.HTTPError as cause:
            raise LoggerAwayError(
                f"MLflow at {self._http.base_url.host} does not answer: {type(cause).__name__}; the copy continues "
                "when it does"
            ) from cause


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        # Of all runs: what is refused now must not count as copied.
        raise LoggerAwayError(
            f"MLflow refuses this server with {answer.status_code}; correct MLFLOW_TRACKING_TOKEN or the name and "
            "password, and restart the server"
        )
    if answer.status_code >= 500 or answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
        raise LoggerAwayError(f"MLflow answered {answer.status_code}; the copy continues when it recovers")
    if not answer.is_success:
        raise LoggerError(f"MLflow refused {answer.url.path} with {answer.status_code}: {answer.text[:300]}")
    return answer


def _metrics(curves: Sequence[NewPoints], at_ms: int) -> Iterator[JsonValue]:
    for curve in curves:
        for step, value in zip(curve.steps, curve.values, strict=True):
            yield {"key": curve.curve, "value": value, "timestamp": at_ms, "step": step}


def _pairs(items: Iterable[tuple[str, str]]) -> list[JsonValue]:
    return [{"key": key, "value": value[:_MAX_PARAM_LENGTH]} for key, value in items]


def _in_parts(rows: Sequence[JsonValue], size: int) -> Iterator[list[JsonValue]]:
    return ([*rows[start : start + size]] for start in range(0, len(rows), size))


def _milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)
