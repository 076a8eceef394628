"""The interface of a cluster that the dispatcher needs, and its implementation over Ray's Jobs REST API."""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self, TypeAlias
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError

from fgd_core.errors import ClusterError
from service.certificates import trusted_by_client_of
from service.dispatcher.excerpts import Excerpt, Gathering
from service.dispatcher.json_log import JsonLog
from service.jobs.cluster import Capacity, ClusterJob, ClusterStatus, Node
from service.loopback import is_loopback

TIMEOUT_S = 30.0
"""For one request. A head that has just started, or that starts many runs at once, answers slowly."""

MAX_BROWSING = 50
"""Concurrent requests of people to the dashboard."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """Describes a run for the cluster to start."""

    submission_id: str
    """Deterministic: submitting it twice starts the run once."""
    entrypoint: str
    environment: Mapping[str, str]
    cpus: int
    gpus: int
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Shown on the Ray dashboard, which takes a run's name from the key `job_name`."""


class ClusterAwayError(ClusterError):
    """Ray is unreachable, which says nothing about the runs."""


class ClusterSlowError(ClusterError):
    """Ray did not answer one request in time, which says nothing about other requests."""


class Cluster(Protocol):
    """Runs jobs. Every method raises ClusterAwayError if Ray is unreachable, and ClusterError if Ray refuses."""

    async def submit(self, submission: Submission) -> None:
        """Start a run, unless a run with this id was started before."""

    async def job(self, submission_id: str) -> ClusterJob | None:
        """Return the run's state; None if the cluster does not know the run."""

    async def jobs(self) -> Mapping[str, ClusterJob]:
        """Return the state of every run that the cluster knows, by submission id: one request instead of thousands."""

    async def stop(self, submission_id: str) -> None:
        """Stop the run: SIGTERM, then SIGKILL. No error if the run is unknown or has ended."""

    async def logs(self, submission_id: str) -> Excerpt:
        """Return the driver's output so far, as bytes; empty if there is none."""

    async def delete(self, submission_id: str) -> None:
        """Delete an ended run from Ray's lists."""

    async def capacity(self) -> Capacity:
        """Return the live nodes with their resources."""

    async def version(self) -> str:
        """Return the release of Ray, as in `2.60.0`."""

    async def browse(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> httpx.Response:
        """Forward a request to Ray's dashboard; returns the response with its body unread. The caller must close it.

        Args:
            target: path and query from the dashboard's root, encoded.
            headers: without credentials.
        """


class RayCluster(Cluster):
    """Implements `Cluster` over Ray's Jobs REST API. Many tasks may use it concurrently; the owner must close it.

    Args:
        dashboard_url: address of the head's dashboard, as `http://127.0.0.1:8265`.
        token: for clusters with token authentication; None otherwise.
    """

    def __init__(self, dashboard_url: str, token: str | None = None) -> None:
        self._url = dashboard_url.rstrip("/")
        certificates = trusted_by_client_of(self._url)
        self._http = httpx.AsyncClient(
            base_url=self._url,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=httpx.Timeout(TIMEOUT_S, connect=5.0),
            verify=certificates,
            # A proxy in the environment cannot reach the loopback of this machine.
            trust_env=not is_loopback(httpx.URL(self._url).host),
        )
        # A separate client, so that people who use the dashboard never block the dispatcher. The limit is below the
        # hundred connections that Ray accepts.
        self._browsing = httpx.AsyncClient(
            headers=self._http.headers,
            timeout=httpx.Timeout(TIMEOUT_S, connect=5.0, read=None, pool=5.0),
            limits=httpx.Limits(max_connections=MAX_BROWSING),
            verify=certificates,
            trust_env=not is_loopback(httpx.URL(self._url).host),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()
        await self._browsing.aclose()

    def move_to(self, dashboard_url: str) -> None:
        """Use another address from now on: that of a head that was restarted."""
        self._url = dashboard_url.rstrip("/")
        self._http.base_url = httpx.URL(self._url)

    async def submit(self, submission: Submission) -> None:
        body = {
            "submission_id": submission.submission_id,
            "entrypoint": submission.entrypoint,
            "runtime_env": {"env_vars": dict(submission.environment)},
            "entrypoint_num_cpus": submission.cpus,
            "entrypoint_num_gpus": submission.gpus,
            "metadata": dict(submission.metadata),
        }
        answer = await self._send("POST", "/api/jobs/", json=body)
        # Ray answers a second submission of one id with 500 and a traceback, as it does for every other error; if the
        # run exists, the error was a second submission.
        if answer.is_error and await self.job(submission.submission_id) is None:
            raise _refused("submit a run", answer, submission_id=submission.submission_id)

    async def job(self, submission_id: str) -> ClusterJob | None:
        answer = await self._send("GET", f"/api/jobs/{quote(submission_id, safe='')}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        if answer.is_error:
            raise _refused("report the state of a run", answer, submission_id=submission_id)
        return _job(submission_id, _json_object(answer))

    async def jobs(self) -> Mapping[str, ClusterJob]:
        answer = await self._send("GET", "/api/jobs/", timeout_s=_LIST_TIMEOUT_S)
        if answer.is_error:
            raise _refused("list its runs", answer)
        try:
            # In a thread: with thousands of runs, the list has megabytes.
            rows = await asyncio.to_thread(_JOBS.validate_json, answer.content)
        except ValidationError as error:
            raise _not_ray(answer) from error
        # Drivers that were not submitted as jobs have no submission id.
        return {id_: _job(id_, row) for row in rows if isinstance(id_ := row.get("submission_id"), str)}

    async def stop(self, submission_id: str) -> None:
        answer = await self._send("POST", f"/api/jobs/{quote(submission_id, safe='')}/stop")
        if answer.is_error and answer.status_code != httpx.codes.NOT_FOUND:
            raise _refused("stop a run", answer, submission_id=submission_id)

    async def logs(self, submission_id: str) -> Excerpt:
        """As in `Cluster`. The file is read first: Ray's answer about a log is an error if one byte is not UTF-8."""
        run = await self._send("GET", f"/api/jobs/{quote(submission_id, safe='')}")
        if run.status_code == httpx.codes.NOT_FOUND:
            return Excerpt()
        node_id = _json_object(run).get("driver_node_id") if run.is_success else None
        if node_id is not None:
            file = {"node_id": node_id, "filename": _LOG_FILE.format(submission_id), "lines": "-1", "timeout": "60"}
            gathering = Gathering()
            refusal = await self._stream("/api/v0/logs/file", file, gathering.add)
            if refusal is None:
                return gathering.excerpt()
        log = JsonLog()
        try:
            refusal = await self._stream(f"/api/jobs/{quote(submission_id, safe='')}/logs", {}, log.add)
            if refusal is None:
                return log.excerpt()
        except ValueError as error:
            raise ClusterError("Ray's answer is not a log", submission_id=submission_id, cause=str(error)) from error
        if refusal.status_code == httpx.codes.NOT_FOUND or await self._is_dead(node_id):
            return Excerpt()
        raise _refused("send a run's log", refusal, submission_id=submission_id)

    async def delete(self, submission_id: str) -> None:
        answer = await self._send("DELETE", f"/api/jobs/{quote(submission_id, safe='')}")
        if answer.is_error and answer.status_code != httpx.codes.NOT_FOUND:
            raise _refused("delete a run", answer, submission_id=submission_id)

    async def capacity(self) -> Capacity:
        """As in `Cluster`. Totals are current; resources in use are as old as the autoscaler's last update (5 s)."""
        nodes = await self._send("GET", "/api/v0/nodes", params=_ALL_NODES, timeout_s=_LIST_TIMEOUT_S)
        usage = await self._send("GET", "/api/cluster_status", timeout_s=_LIST_TIMEOUT_S)
        for answer in (nodes, usage):
            if answer.is_error:
                raise _refused("report its resources", answer)
        return _capacity(_json_object(nodes), _json_object(usage))

    async def version(self) -> str:
        answer = await self._send("GET", "/api/version")
        if answer.is_error:
            raise _refused("report its version", answer)
        return str(_json_object(answer).get("ray_version"))

    async def browse(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> httpx.Response:
        url = httpx.URL(self._url)
        url = url.copy_with(raw_path=url.raw_path.rstrip(b"/") + target.encode("ascii"))
        request = self._browsing.build_request(method, url, headers=headers, content=body or None)
        try:
            answer = await self._browsing.send(request, stream=True)
        except httpx.PoolTimeout as error:
            raise ClusterAwayError(
                "too many people use Ray's dashboard at once; close pages that you do not need, and try again",
                at_once=MAX_BROWSING,
            ) from error
        except httpx.HTTPError as error:
            raise self._away(error) from error
        if answer.status_code in _NO_ENTRY:
            await answer.aclose()
            raise self._refused_token(answer)
        return answer

    async def _is_dead(self, node_id: str | None) -> bool:
        """Whether the node on which the run was placed is gone, and its log with it."""
        nodes = await self._send("GET", "/api/v0/nodes", params=_ALL_NODES) if node_id is not None else None
        if nodes is None or nodes.is_error:
            return False
        return node_id not in {row["node_id"] for row in _alive(_json_object(nodes))}

    async def _stream(
        self, path: str, params: Mapping[str, str], take: Callable[[bytes], None]
    ) -> httpx.Response | None:
        """Pass a response to `take`, block by block. Returns the response if it is an error, else None."""
        try:
            async with asyncio.timeout(_STREAM_TIMEOUT_S), self._http.stream("GET", path, params=params) as answer:
                if answer.is_error:
                    await answer.aread()
                else:
                    async for block in answer.aiter_bytes(_BLOCK_BYTES):
                        take(block)
        except (TimeoutError, httpx.ReadTimeout, httpx.RemoteProtocolError) as error:
            raise ClusterSlowError(
                "Ray did not send the whole response in time", path=path, cause=str(error) or type(error).__name__
            ) from error
        except httpx.HTTPError as error:
            raise self._away(error) from error
        if answer.status_code in _NO_ENTRY:
            raise self._refused_token(answer)
        return answer if answer.is_error else None

    async def _send(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, object] | None = None,
        params: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> httpx.Response:
        timeout = httpx.Timeout(timeout_s, connect=min(5.0, timeout_s))
        try:
            answer = await self._http.request(method, path, json=json, params=params, timeout=timeout)
        except httpx.ReadTimeout as error:
            raise ClusterSlowError("Ray did not answer in time", url=self._url, path=path) from error
        except httpx.HTTPError as error:
            raise self._away(error) from error
        if answer.status_code in _NO_ENTRY:
            raise self._refused_token(answer)
        return answer

    def _away(self, error: httpx.HTTPError) -> ClusterAwayError:
        return ClusterAwayError(
            "Ray cannot be reached; check that its head runs and that this is the address of its dashboard",
            url=self._url,
            cause=str(error) or type(error).__name__,
        )

    def _refused_token(self, answer: httpx.Response) -> ClusterError:
        return ClusterError(
            "Ray refused the token; give the cluster's own in RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH",
            url=self._url,
            status=answer.status_code,
        )


def find_ray_token() -> str | None:
    """Find the token that Ray's own tools would use: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token; or None.

    Raises:
        ClusterError: RAY_AUTH_TOKEN_PATH names no readable file.
    """
    if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return token
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    try:
        path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    except RuntimeError:
        # Neither HOME nor the system's list of users names a home folder.
        return None
    try:
        return path.read_text().strip() or None
    except OSError as error:
        if named is None:
            return None
        raise ClusterError(
            "RAY_AUTH_TOKEN_PATH names no readable file; correct or unset it", path=named, cause=str(error)
        ) from error


_NO_ENTRY = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)
_ALL_NODES = {"limit": "10000"}
_LIST_TIMEOUT_S = 10.0
"""For requests that a tick waits for."""
_STREAM_TIMEOUT_S = 60.0
_BLOCK_BYTES = 256 * 1024
_LOG_FILE = "job-driver-{}.log"
_Json: TypeAlias = dict[str, Any]
_JOBS: TypeAdapter[list[_Json]] = TypeAdapter(list[_Json])
_STATUS: TypeAdapter[ClusterStatus] = TypeAdapter(ClusterStatus)


def _job(submission_id: str, fields: _Json) -> ClusterJob:
    try:
        status = _STATUS.validate_python(fields.get("status"))
    except ValidationError as error:
        raise ClusterError(
            "Ray reports an unknown state of a run; use the Ray release that requirements.txt pins",
            submission_id=submission_id,
            status=str(fields.get("status")),
        ) from error
    return ClusterJob(submission_id=submission_id, status=status, message=fields.get("message") or "")


def _json_object(answer: httpx.Response) -> _Json:
    try:
        value = answer.json()
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise _not_ray(answer)
    return value


def _not_ray(answer: httpx.Response) -> ClusterError:
    return ClusterError(
        "the server at this address is not Ray's dashboard; check the address",
        url=str(answer.url),
        answer=answer.text[:200],
    )


def _refused(action: str, answer: httpx.Response, **details: str) -> ClusterError:
    # Ray sends whole tracebacks; the last line is the error.
    lines = answer.text.strip().splitlines()
    return ClusterError(
        f"Ray could not {action}; the logs of its dashboard say why",
        status=answer.status_code,
        cause=lines[-1][:500] if lines else "",
        **details,
    )


def _capacity(nodes: _Json, usage: _Json) -> Capacity:
    report = ((usage.get("data") or {}).get("clusterStatus") or {}).get("loadMetricsReport") or {}
    used_by_node = report.get("usageByNode") or {}
    return Capacity(tuple(_node(row, used_by_node.get(row["node_id"]) or {}) for row in _alive(nodes)))


def _alive(nodes: _Json) -> list[_Json]:
    rows = ((nodes.get("data") or {}).get("result") or {}).get("result") or []
    return [row for row in rows if row.get("state") == "ALIVE" and row.get("node_id")]


def _node(row: _Json, used_here: _Json) -> Node:
    total = {kind: float((row.get("resources_total") or {}).get(kind, 0.0)) for kind in ("CPU", "GPU")}
    # The autoscaler does not know a node that has just started; nothing runs there yet.
    used = {kind: float((used_here.get(kind) or (0.0, 0.0))[0]) for kind in total}
    return Node(
        node_id=str(row["node_id"]),
        cpus_total=total["CPU"],
        cpus_free=max(0.0, total["CPU"] - used["CPU"]),
        gpus_total=total["GPU"],
        gpus_free=max(0.0, total["GPU"] - used["GPU"]),
    )
