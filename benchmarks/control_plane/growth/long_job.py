"""Measures the report on one job with a million points: the first time, again, and its page."""

import asyncio
import math
import tempfile
from pathlib import Path

import httpx
from sqlalchemy import insert

from benchmarks.control_plane.growth.figures import Single, once
from benchmarks.control_plane.queue import FullCluster, queued_jobs
from service.clock import utc_now
from service.jobs.points import Column
from service.server.app import create_app
from service.settings import Settings
from service.settings.groups import DatabaseSettings
from service.store import buckets, jobs, metrics, migrate
from service.store.session import Database
from service.store.tables import Job, table_of

_CURVES = ("loss", "loss/class", "loss/box", "loss/distill", "learning_rate", *(f"loss/level {n}" for n in range(5)))
_AT_ONCE = 10_000


def measure(num_points: int) -> list[Single]:
    """Measure with SQLite a job that trains and has so many points in ten curves."""
    with tempfile.TemporaryDirectory(prefix="fgd-bench-") as name:
        url = f"sqlite+aiosqlite:///{name}/fgd.db"
        migrate.upgrade(url)
        return asyncio.run(_measure(Settings(home=Path(name), database=DatabaseSettings(url=url)), num_points))


async def _measure(settings: Settings, num_points: int) -> list[Single]:
    app = create_app(settings, FullCluster())
    job_id = await _store(app.state.services.database, num_points)
    transport = httpx.ASGITransport(app)
    page = b""
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=600) as http:

        async def get() -> None:
            nonlocal page
            page = (await http.get(f"/v1/jobs/{job_id}/report?format=html")).raise_for_status().content

        first, again = await once(get), await once(get)
    await app.state.services.database.close()
    what = f"the report of a job with {num_points:,} points"
    return [
        Single(f"{what}, first", first.wall_s, 3.0, "s"),
        Single(f"{what}, first, CPU time", first.cpu_s, 3.0, "s"),
        Single(f"{what}, again", again.wall_s, 0.3, "s"),
        Single(f"{what}, again, CPU time", again.cpu_s, 0.3, "s"),
        Single(f"{what}, size of its page", len(page) / 1e6, 3.0, "MB"),
    ]


async def _store(database: Database, num_points: int) -> str:
    """Store a job and its curves, of which the complete parts are aggregated as by the server; returns its id."""
    (job,) = queued_jobs(1)
    async with database.writing() as session:
        await session.execute(insert(table_of(Job)), [job | {"state": "running", "started_at": utc_now()}])
    for first in range(0, num_points // len(_CURVES), _AT_ONCE):
        steps = range(first, min(first + _AT_ONCE, num_points // len(_CURVES)))
        values = [2 + math.sin(step / 5000) for step in steps]
        async with database.writing() as session:
            await jobs.get(session, job["id"], lock=True)
            await metrics.record(session, job["id"], dict.fromkeys(_CURVES, Column(steps, values)))
    while not await buckets.roll_up_all(database):
        pass
    return str(job["id"])
