"""The real application over a real database, whose dispatcher a test calls, and a run that reports to it."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from documented import Documented
from memory_cluster import MemoryCluster
from sqlalchemy import update

from fgd_core.spec.events import StoredEvent
from service.dispatcher.loop import Dispatcher
from service.server.app import create_app, token_mint
from service.settings import Settings
from service.storage.base import Storage
from service.store import leases
from service.store.tables import Lease
from tests.shared_routes import with_shared_routes

SHAPES = {"type": "shapes", "num_train": 40, "num_val": 10}
NO_SCORES = dict.fromkeys(
    ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100", "ar_small", "ar_medium"),
)


def train_spec(**changes: Any) -> dict[str, Any]:
    return (
        {"kind": "train", "name": "a training", "detector": {"type": "retinanet"}, "data": SHAPES}
        | {"training": {"batch_size": 8}}
        | changes
    )


def evaluate_spec(checkpoint: str, **changes: Any) -> dict[str, Any]:
    return {"kind": "evaluate", "name": "an evaluation", "checkpoint": checkpoint, "data": SHAPES} | changes


def scores(ap: float) -> dict[str, Any]:
    return NO_SCORES | {"ap": ap, "ap50": ap + 0.1, "ar_large": None}


class ManualClock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        # Never the same time twice, as on a real machine.
        self.now += timedelta(microseconds=1)
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class ControlPlane:
    """Runs a control plane without its background tasks; make another with the same settings to restart it."""

    def __init__(self, settings: Settings, cluster: MemoryCluster, clock: ManualClock) -> None:
        self.settings = settings
        self.cluster = cluster
        self.clock = clock
        self.app = with_shared_routes(create_app(settings, cluster, clock=clock))
        self.services = self.app.state.services
        self.storage: Storage = self.services.storage
        self.dispatcher = Dispatcher(
            self.services.database,
            cluster,
            settings,
            clock,
            storage=self.storage,
            mint=token_mint(settings),
            capacity=self.services.capacity,
            metrics=self.services.metrics,
            tracing=self.services.tracing,
            # A tick waits for all of its steps, also on a busy machine.
            patience_s=120.0,
        )
        transport = httpx.ASGITransport(self.app)
        self.http = httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1", event_hooks={"response": [Documented(self.app)]}
        )

    async def close(self) -> None:
        await self.http.aclose()
        await self.services.database.close()

    async def submit(self, spec: dict[str, Any]) -> str:
        answer = await self.http.post("/v1/jobs", json=spec)
        assert answer.status_code == 202, answer.text
        job_id: str = answer.json()["job_id"]
        return job_id

    async def lease_expires(self, name: str = leases.DISPATCHER) -> None:
        """Let the lease expire, by the clock that is used: with PostgreSQL that of the database."""
        async with self.services.database.writing() as session:
            await session.execute(
                update(Lease).where(Lease.name == name).values(expires_at=datetime(2000, 1, 1, tzinfo=UTC))
            )

    async def tick(self) -> None:
        await self.dispatcher.tick()

    async def job(self, job_id: str) -> dict[str, Any]:
        answer = await self.http.get(f"/v1/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()
        return job

    async def state(self, job_id: str) -> str:
        state: str = (await self.job(job_id))["state"]
        return state

    async def events(self, job_id: str) -> list[StoredEvent]:
        answer = await self.http.get(f"/v1/jobs/{job_id}/events?limit=1000", headers={"Accept": "application/json"})
        return [StoredEvent.model_validate(item) for item in answer.json()["items"]]

    async def moves(self, job_id: str) -> list[tuple[str, str]]:
        """(state, reason) of each move."""
        changes = [event.data for event in await self.events(job_id) if event.kind == "state_changed"]
        return [(change["to_state"], change["reason"]) for change in changes]

    def run(self, index: int = -1) -> "Run":
        """Return the run that was submitted last."""
        return Run(self, self.cluster.submissions[index].submission_id)

    async def started_job(self, spec: dict[str, Any] | None = None) -> tuple[str, "Run"]:
        """A job whose run has reported its start."""
        job_id = await self.submit(spec or train_spec())
        await self.tick()
        run = self.run()
        self.cluster.say(run.submission_id, "RUNNING")
        await run.starts()
        return job_id, run


class Run:
    """Sends what a run sends over HTTP, one event at a time."""

    def __init__(self, plane: ControlPlane, submission_id: str) -> None:
        self._plane = plane
        environment = next(s for s in plane.cluster.submissions if s.submission_id == submission_id).environment
        self.submission_id = submission_id
        self.attempt_id = environment["FGD_ATTEMPT_ID"]
        self.headers = {"Authorization": f"Bearer {token_mint(plane.settings).token(self.attempt_id)}"}
        self._sequence = 0

    async def post(self, batch: dict[str, Any]) -> httpx.Response:
        path = f"/v1/attempts/{self.attempt_id}/events"
        # Not encoded by httpx, which refuses NaN and lone surrogates, which a run may send.
        headers = self.headers | {"Content-Type": "application/json"}
        return await self._plane.http.post(path, content=json.dumps(batch), headers=headers)

    def batch(self, *events: dict[str, Any]) -> dict[str, Any]:
        """The next events of the stream, numbered."""
        reported = []
        for event in events:
            self._sequence += 1
            reported.append({"sequence": self._sequence, "at": self._plane.clock().isoformat(), "event": event})
        return {"events": reported}

    async def reports(self, *events: dict[str, Any]) -> dict[str, Any]:
        answer = await self.post(self.batch(*events))
        assert answer.status_code == 200, answer.text
        reply: dict[str, Any] = answer.json()
        return reply

    async def starts(self) -> dict[str, Any]:
        return await self.reports({"kind": "run_started", "host": "here", "pid": 1, "python": "3.11"})

    @property
    def job_id(self) -> str:
        return self.attempt_id.rpartition("-")[0]

    def writes(self, path: str, content: bytes) -> str:
        """A file of its job, as if it had been sent here or written into the shared folder; its URI."""
        where = f"jobs/{self.job_id}/{path}"
        self._plane.storage.write(where, content)
        return self._plane.storage.uri_of(where)

    async def saves_checkpoint(self, path: str = "/nowhere/best.pt") -> None:
        event = {"uri": path, "sha256": "0" * 64, "size_bytes": 1, "epoch": 1, "step": 5, "ap": 0.5}
        await self.reports({"kind": "checkpoint_saved", "name": "best"} | event)

    async def succeeds(self) -> None:
        result = {"scores": scores(0.5), "num_parameters": 1, "images_per_s": 1.0, "num_images": 10, "device": "cpu"}
        await self.reports({"kind": "run_finished", "outcome": "succeeded", "result": result})
        self._plane.cluster.say(self.submission_id, "SUCCEEDED")

    async def fails(self, code: str, *, retryable: bool = False) -> None:
        error = {"code": code, "message": f"there was {code}", "retryable": retryable}
        await self.reports({"kind": "run_finished", "outcome": "failed", "error": error})
        self._plane.cluster.say(self.submission_id, "FAILED")


def logged(steps: Iterable[int], **values: Sequence[float | None]) -> dict[str, Any]:
    """Return an event with the values of each step, by curve name."""
    return {"kind": "metrics_logged", "steps": list(steps), "values": {name: list(v) for name, v in values.items()}}


def progress(step: int, loss: float = 1.0) -> dict[str, Any]:
    return {
        "kind": "progress",
        "epoch": 1,
        "epochs": 2,
        "step": step,
        "steps": 10,
        "images_per_s": 8.0,
        "eta_s": 3.0,
        "learning_rate": 0.1,
        "values": {"loss": loss},
    }
