"""A control plane small enough for these tests, with real HTTP and real state."""

import socket
import threading
import time

import uvicorn
from fastapi import FastAPI, HTTPException, Request

from fgd_core.spec.attempts import Assignment, BatchReply, EventBatch, ReportedEvent, Wish

TOKEN = "t0ken"


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port


class SmallControlPlane:
    """Keeps the events of one attempt, in order and each once. It can be stopped, and started again at its port."""

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.events: list[ReportedEvent] = []
        self.num_batches = 0
        self.num_heartbeats = 0
        self.wish: Wish = "continue"
        self.is_stale = False
        self.refused_kinds: set[str] = set()
        self.replies_to_lose = 0
        self._changed = threading.Condition()
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._server = uvicorn.Server(uvicorn.Config(self._app(), port=self.port, log_level="critical"))
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started:
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.01)

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(10)

    def wait_for_events(self, count: int, timeout_s: float = 15.0) -> None:
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self.events) >= count, timeout_s)
        assert arrived, f"{len(self.events)} of {count} events have arrived"

    def wait_for_heartbeats(self, count: int, timeout_s: float = 15.0) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.num_heartbeats >= count, timeout_s)

    @property
    def kinds(self) -> list[str]:
        return [each.event["kind"] for each in self.events]

    @property
    def sequences(self) -> list[int]:
        return [each.sequence for each in self.events]

    def _app(self) -> FastAPI:
        app = FastAPI()

        def check(request: Request, attempt_id: str) -> None:
            if attempt_id != self.assignment.attempt_id:
                raise HTTPException(404)
            if request.headers.get("Authorization") != f"Bearer {TOKEN}":
                raise HTTPException(401)
            if self.is_stale:
                raise HTTPException(409, "stale_attempt")

        @app.get("/v1/attempts/{attempt_id}")
        def assignment(request: Request, attempt_id: str) -> Assignment:
            check(request, attempt_id)
            return self.assignment

        @app.post("/v1/attempts/{attempt_id}/events")
        def events(request: Request, attempt_id: str, batch: EventBatch) -> BatchReply:
            check(request, attempt_id)
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
            return BatchReply(acknowledged=len(self.events), wish=self.wish)

        return app
