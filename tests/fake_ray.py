"""A fake Ray in its own process: answers over HTTP like Ray's dashboard, with any number of nodes and jobs.

It repeats a fault of Ray 2.60: a log with a byte that is not valid UTF-8 is answered with error 500.
"""

import asyncio
import json
import multiprocessing
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

BLOCK_BYTES = 1 << 16


class FakeRay:
    """Holds jobs, logs and nodes, and answers like Ray's dashboard.

    Args:
        answer_s: seconds that each answer takes.
        has_log_files: whether it serves log files, in addition to the logs of jobs.
    """

    def __init__(
        self, *, num_nodes: int = 1, cpus: int = 64, answer_s: float = 0.0, has_log_files: bool = True
    ) -> None:
        self._num_nodes, self._cpus = num_nodes, cpus
        self._answer_s = answer_s
        self._has_log_files = has_log_files
        self._jobs: dict[str, dict[str, Any]] = {}
        self._logs: dict[str, bytes] = {}
        self._hanging: dict[str, asyncio.Event] = {}
        self._asked: list[str] = []
        self.app = Starlette(
            routes=[
                Route("/api/jobs/", self._submit, methods=["POST"]),
                Route("/api/jobs/", self._list),
                Route("/api/jobs/{id}", self._job),
                Route("/api/jobs/{id}", self._delete, methods=["DELETE"]),
                Route("/api/jobs/{id}/stop", self._stop, methods=["POST"]),
                Route("/api/jobs/{id}/logs", self._log),
                Route("/api/v0/logs/file", self._log_file),
                Route("/api/v0/nodes", self._nodes),
                Route("/api/cluster_status", self._status),
                Route("/say", self._say, methods=["POST"]),
                Route("/asked", self._what_was_asked),
            ]
        )

    async def _note(self, request: Request, what: str) -> dict[str, Any] | None:
        self._asked.append(what)
        await asyncio.sleep(self._answer_s)
        name = request.path_params.get("id")
        if name in self._hanging:
            await self._hanging[name].wait()
        return self._jobs.get(name) if name is not None else None

    async def _submit(self, request: Request) -> Response:
        body = await request.json()
        await self._note(request, "submit")
        self._jobs.setdefault(body["submission_id"], _row(body["submission_id"], body.get("metadata")))
        return JSONResponse({"submission_id": body["submission_id"]})

    async def _list(self, request: Request) -> Response:
        await self._note(request, "list")
        return JSONResponse(list(self._jobs.values()))

    async def _job(self, request: Request) -> Response:
        job = await self._note(request, "job")
        return JSONResponse(job) if job is not None else PlainTextResponse("does not exist", 404)

    async def _delete(self, request: Request) -> Response:
        await self._note(request, "delete")
        return JSONResponse(self._jobs.pop(request.path_params["id"], None) is not None)

    async def _stop(self, request: Request) -> Response:
        job = await self._note(request, "stop")
        if job is not None:
            job["status"] = "STOPPED"
        return JSONResponse({"stopped": job is not None})

    async def _log(self, request: Request) -> Response:
        job = await self._note(request, "log")
        if job is None:
            return PlainTextResponse("does not exist", 404)
        try:
            text = self._logs.get(job["submission_id"], b"").decode()
        except UnicodeDecodeError as error:
            return PlainTextResponse(f"Traceback\nUnicodeDecodeError: {error}", 500)
        return Response(json.dumps({"logs": text}), media_type="application/json")

    async def _log_file(self, request: Request) -> Response:
        await self._note(request, "log file")
        name = request.query_params["filename"].removeprefix("job-driver-").removesuffix(".log")
        if not self._has_log_files or name not in self._logs:
            return PlainTextResponse("A file is not found", 500)
        log = self._logs[name]

        async def blocks() -> AsyncIterator[bytes]:
            for start in range(0, len(log), BLOCK_BYTES):
                yield log[start : start + BLOCK_BYTES]

        return StreamingResponse(blocks(), media_type="text/plain")

    async def _nodes(self, request: Request) -> Response:
        await self._note(request, "nodes")
        rows = [
            {"node_id": f"node-{n}", "state": "ALIVE", "resources_total": {"CPU": float(self._cpus)}}
            for n in range(self._num_nodes)
        ]
        return JSONResponse({"data": {"result": {"result": rows}}})

    async def _status(self, request: Request) -> Response:
        await self._note(request, "status")
        return JSONResponse({"data": {"clusterStatus": {"loadMetricsReport": {"usageByNode": {}}}}})

    async def _say(self, request: Request) -> Response:
        """Set the state of jobs: `{id: {"status", "log", "hangs"}}`; a log is repeated "times" times."""
        for name, said in (await request.json()).items():
            job = self._jobs.setdefault(name, _row(name, None))
            job["status"] = said.get("status", job["status"])
            if "log" in said:
                self._logs[name] = said["log"].encode("latin-1") * said.get("times", 1)
            if said.get("hangs"):
                self._hanging[name] = asyncio.Event()
            elif name in self._hanging:
                self._hanging.pop(name).set()
        return Response()

    async def _what_was_asked(self, request: Request) -> Response:
        asked, self._asked = self._asked, []
        return JSONResponse(asked)


class Running:
    """Controls a running fake Ray."""

    def __init__(self, url: str) -> None:
        self.url = url

    def say(self, name: str, **said: Any) -> None:
        """Set the state of a job; `log` holds bytes as Latin-1 text."""
        self.say_all({name: said})

    def say_all(self, said: dict[str, dict[str, Any]]) -> None:
        httpx.post(f"{self.url}/say", json=said, timeout=60).raise_for_status()

    def asked(self) -> Counter[str]:
        """Return the number of requests of each kind since the last call."""
        return Counter(self.asked_in_order())

    def asked_in_order(self) -> list[str]:
        asked: list[str] = httpx.get(f"{self.url}/asked", timeout=60).json()
        return asked


@contextmanager
def running(**options: Any) -> Iterator[Running]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1024)
        process = multiprocessing.get_context("spawn").Process(target=_serve, args=(listening, options), daemon=True)
        process.start()
        try:
            yield Running(f"http://127.0.0.1:{listening.getsockname()[1]}")
        finally:
            process.terminate()
            process.join()


def _serve(listening: socket.socket, options: dict[str, Any]) -> None:
    config = uvicorn.Config(FakeRay(**options).app, log_level="error", access_log=False)
    sys.exit(asyncio.run(uvicorn.Server(config).serve(sockets=[listening])))


def _row(name: str, metadata: dict[str, str] | None) -> dict[str, Any]:
    return {
        "type": "SUBMISSION",
        "submission_id": name,
        "status": "PENDING",
        "message": "",
        "metadata": metadata or {},
        "runtime_env": {"env_vars": {}},
        "entrypoint": "python -m workers",
        "driver_node_id": "node-0",
    }
