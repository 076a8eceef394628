"""A small control plane for tests, with HTTP and state."""

import asyncio
import base64
import hashlib
import threading
import time
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import StreamingResponse

from fgd_core.spec.attempts import (
    Assignment,
    BatchReply,
    Claim,
    Claimed,
    ControlSignal,
    EventBatch,
    FileList,
    ReportedEvent,
    UploadedFile,
)
from tests.held_port import HeldPort

TOKEN = "t0ken"
CLAIM = "fgdc_" + "c" * 43


class SmallControlPlane:
    """Stores the events of one attempt, in order and without duplicates, and files in memory.

    It can be stopped and started again at the same port.
    """

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self._held = HeldPort()
        self.port = self._held.number
        self.url = f"http://127.0.0.1:{self.port}"
        self.events: list[ReportedEvent] = []
        self.num_batches = 0
        self.num_heartbeats = 0
        self.signal: ControlSignal = "continue"
        self.is_stale = False
        self.refused_kinds: set[str] = set()
        self.replies_to_lose = 0
        self.files: dict[str, bytes] = {}
        """By path, relative to the job's folder."""
        self.artifacts: dict[tuple[str, str], bytes] = {}
        """Checkpoints of other jobs, by (job id, name)."""
        self.puts: list[str] = []
        """Paths, in the order in which they were stored."""
        self.fetches: list[str] = []
        self.statuses: list[int] = []
        """Status codes of the answers to the next uploads, which are not stored."""
        self.corrupt: set[str] = set()
        """Names of files that are sent with one changed byte."""
        self.cuts = 0
        """How many of the next downloads break off in the middle."""
        self.may_put = threading.Event()
        """Uploads wait until it is set."""
        self.may_put.set()
        self.may_send = threading.Event()
        """Downloads halt in the middle until it is set."""
        self.may_send.set()
        self.num_assignments = 0
        """How often a run fetched the assignment."""
        self.claims: list[str] = []
        """The secret of each claim request."""
        self._changed = threading.Condition()
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._server = uvicorn.Server(uvicorn.Config(self._app(), port=self.port, log_level="critical"))
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 240
        while not self._server.started:
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.01)

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(60)

    def wait_for_events(self, count: int, timeout_s: float = 60.0) -> None:
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self.events) >= count, timeout_s)
        assert arrived, f"{len(self.events)} of {count} events have arrived"

    def wait_for_kind(self, kind: str, timeout_s: float = 15.0) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: kind in self.kinds, timeout_s), self.kinds

    def wait_for_heartbeats(self, count: int, timeout_s: float = 60.0) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.num_heartbeats >= count, timeout_s)

    def wait_for_put(self, name: str, timeout_s: float = 60.0) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: any(path.endswith(name) for path in self.puts), timeout_s), self.puts

    def _stored(self, path: str) -> UploadedFile:
        return UploadedFile(path=path, uri=f"store://{self.assignment.job_id}/{path}", size_bytes=len(self.files[path]))

    def _sent(self, path: str, content: bytes | None) -> Response:
        if content is None:
            raise HTTPException(404)
        self.fetches.append(path)
        digest = _digest(content)
        if path.rpartition("/")[2] in self.corrupt:
            content = bytes([content[0] ^ 1]) + content[1:]
        headers = {"Repr-Digest": digest, "Content-Length": str(len(content))}
        if self.cuts:
            self.cuts -= 1
            return Response(content[: len(content) // 2], headers=headers)
        half = len(content) // 2
        parts = (content[:half], content[half:])
        return StreamingResponse(self._in_two(*parts), headers=headers)

    def _in_two(self, first: bytes, second: bytes) -> Iterator[bytes]:
        yield first
        self.may_send.wait()
        yield second

    @property
    def kinds(self) -> list[str]:
        return [each.event["kind"] for each in self.events]

    @property
    def sequences(self) -> list[int]:
        return [each.sequence for each in self.events]

    def _check(self, request: Request, attempt_id: str, expected: str = TOKEN) -> None:
        if attempt_id != self.assignment.attempt_id:
            raise HTTPException(404)
        if request.headers.get("Authorization") != f"Bearer {expected}":
            raise HTTPException(401)
        if self.is_stale:
            raise HTTPException(409, "stale_attempt")

    def _app(self) -> FastAPI:
        app = FastAPI()
        self._add_files(app)
        self._add_rest(app)
        return app

    def _add_rest(self, app: FastAPI) -> None:
        @app.post("/v1/attempts/{attempt_id}/claim", response_model=None)
        def claim(request: Request, attempt_id: str, body: Claim) -> Claimed:
            self._check(request, attempt_id, CLAIM)
            self.claims.append(body.secret)
            if body.secret != self.claims[0]:
                raise HTTPException(409, "claimed")
            if self.replies_to_lose:
                self.replies_to_lose -= 1
                raise HTTPException(503, "claimed, but the answer is lost")
            return Claimed.model_construct(token=TOKEN, assignment=self.assignment)

        @app.get("/v1/attempts/{attempt_id}")
        def assignment(request: Request, attempt_id: str) -> Assignment:
            self._check(request, attempt_id)
            self.num_assignments += 1
            return self.assignment

        @app.post("/v1/attempts/{attempt_id}/events")
        def events(request: Request, attempt_id: str, batch: EventBatch) -> BatchReply:
            self._check(request, attempt_id)
            if any(each.event["kind"] in self.refused_kinds for each in batch.events):
                raise HTTPException(422)
            with self._changed:
                for each in batch.events:
                    assert each.sequence <= len(self.events) + 1, "a gap"
                    if each.sequence == len(self.events) + 1:
                        self.events.append(each)
                self.num_batches += 1
                self.num_heartbeats += not batch.events
                self._changed.notify_all()
            if batch.events and self.replies_to_lose:
                self.replies_to_lose -= 1
                raise HTTPException(503, "stored, but the answer is lost")
            return BatchReply(acknowledged=len(self.events), signal=self.signal)

    def _add_files(self, app: FastAPI) -> None:
        @app.get("/v1/attempts/{attempt_id}/files")
        def listing(request: Request, attempt_id: str) -> FileList:
            self._check(request, attempt_id)
            return FileList(files=[self._stored(path) for path in self.files])

        @app.get("/v1/attempts/{attempt_id}/files/{path:path}")
        def read(request: Request, attempt_id: str, path: str) -> Response:
            self._check(request, attempt_id)
            return self._sent(path, self.files.get(path))

        @app.get("/v1/attempts/{attempt_id}/checkpoints/{job_id}/{name}")
        def checkpoint(request: Request, attempt_id: str, job_id: str, name: str) -> Response:
            self._check(request, attempt_id)
            return self._sent(f"{job_id}/{name}", self.artifacts.get((job_id, name)))

        @app.put("/v1/attempts/{attempt_id}/files/{path:path}")
        async def write(request: Request, attempt_id: str, path: str) -> UploadedFile:
            self._check(request, attempt_id)
            if not path.startswith(f"attempts/{self.assignment.number}/"):
                raise HTTPException(403)
            content = await request.body()
            await asyncio.to_thread(self.may_put.wait)
            if self.statuses:
                raise HTTPException(self.statuses.pop(0))
            if request.headers["Repr-Digest"] != _digest(content):
                raise HTTPException(422, "corrupt")
            with self._changed:
                self.files[path] = content
                self.puts.append(path)
                self._changed.notify_all()
            return self._stored(path).model_copy(update={"sha256": hashlib.sha256(content).hexdigest()})

        @app.delete("/v1/attempts/{attempt_id}/files/{path:path}", status_code=204)
        def delete(request: Request, attempt_id: str, path: str) -> None:
            self._check(request, attempt_id)
            self.files.pop(path, None)


def _digest(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"
