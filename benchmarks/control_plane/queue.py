"""Measures a tick of the dispatcher with a long queue, in this process, on a full cluster."""

import asyncio
import gc
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import insert

from benchmarks.control_plane.systems import SPEC
from benchmarks.control_plane.workloads import Timed
from fgd_core.spec.jobs import JOB_SPEC, SPEC_VERSION
from fgd_core.spec.views import ProgressView
from service.clock import utc_now
from service.dispatcher.cluster import Submission
from service.dispatcher.excerpts import Excerpt
from service.dispatcher.loop import Dispatcher
from service.jobs.cluster import Capacity, ClusterJob, Node
from service.settings import Settings
from service.settings.groups import DatabaseSettings
from service.storage.choosing import storage_of
from service.store import migrate
from service.store.session import Database
from service.store.tables import Job
from service.store.tokens import TokenMint

NUM_JOBS = 10_000
_NUM_TICKS = 30


class FullCluster:
    """A `Cluster` with two cores, none of them free."""

    async def submit(self, submission: Submission) -> None:
        raise AssertionError("nothing fits")

    async def job(self, submission_id: str) -> ClusterJob | None:
        return None

    async def jobs(self) -> Mapping[str, ClusterJob]:
        return {}

    async def stop(self, submission_id: str) -> None: ...

    async def logs(self, submission_id: str) -> Excerpt:
        return Excerpt()

    async def delete(self, submission_id: str) -> None: ...

    async def capacity(self) -> Capacity:
        return Capacity((Node(node_id="here", cpus_total=2, cpus_free=0),))

    async def version(self) -> str:
        return "none"

    async def browse(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> httpx.Response:
        raise AssertionError("nobody opens the dashboard")


def ticks(url: str, folder: Path) -> Timed:
    """Measure the ticks after the first one, which stores for each job why it waits."""
    migrate.upgrade(url)
    return asyncio.run(_ticks(url, folder))


def queued_jobs(count: int) -> list[dict[str, Any]]:
    """Return rows of waiting jobs in ten projects."""
    spec = JOB_SPEC.validate_python(SPEC)
    row = {
        "kind": spec.kind,
        "spec": spec.model_dump(mode="json"),
        "spec_version": SPEC_VERSION,
        "cpus": 1,
        "gpus": 0,
        "spec_sha256": "",
        "state": "queued",
        "message": "",
        "progress": ProgressView().model_dump(mode="json"),
    }
    return [
        {**row, "id": secrets.token_hex(6), "name": f"job {n}", "project": f"project-{n % 10}", "created_at": utc_now()}
        for n in range(count)
    ]


async def _ticks(url: str, folder: Path) -> Timed:
    database = Database(url)
    rows = queued_jobs(NUM_JOBS)
    async with database.writing() as session:
        await session.execute(insert(Job), rows)
    settings = Settings(home=folder, database=DatabaseSettings(url=url))
    mint, storage = TokenMint.at(folder / "tick-secret"), storage_of(settings)
    dispatcher = Dispatcher(database, FullCluster(), settings, utc_now, storage=storage, mint=mint)
    del rows
    # The server does the same after its start.
    gc.collect()
    gc.freeze()
    latencies_s = []
    for _ in range(_NUM_TICKS + 1):
        began_s = time.perf_counter()
        await dispatcher.tick()
        latencies_s.append(time.perf_counter() - began_s)
    await database.close()
    return Timed(sum(latencies_s[1:]), latencies_s[1:])
