"""Writes curves of a million points directly into the tables; other parts measure ingest."""

import asyncio
import math
import sqlite3
from pathlib import Path

from benchmarks.control_plane.engines import Databases
from benchmarks.control_plane.workloads import CHART_POINTS
from service.jobs.points import Column
from service.store import buckets, jobs, metrics
from service.store.session import Database

CURVE = "long"
_AT_ONCE = 50_000


def ours(databases: Databases, job_id: str) -> None:
    """Write a long curve of a job into fgd's database."""
    asyncio.run(_ours(databases.ours, job_id))


async def _ours(url: str, job_id: str) -> None:
    database = Database(url)
    for first in range(0, CHART_POINTS, _AT_ONCE):
        steps = range(first, first + _AT_ONCE)
        points = Column(steps, [math.sin(step / 5000) for step in steps])
        async with database.writing() as session:
            await jobs.get(session, job_id, lock=True)
            await metrics.record(session, job_id, {CURVE: points})
    while not await buckets.roll_up_all(database):
        pass
    await database.close()


def mlflow(databases: Databases, run_id: str) -> None:
    """Write the same curve of a run into MLflow's database."""
    insert = "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan)"
    columns = f"'{CURVE}', sin(step / 5000.0), 1700000000000 + step, '{run_id}', step"
    if databases.server is not None:
        rows = f"SELECT {columns}, false FROM generate_series(0, {CHART_POINTS - 1}) AS step"
        databases.server.execute(f"{insert} {rows}", database="mlflow")
        return
    path = Path(databases.mlflow.removeprefix("sqlite:///"))
    rows = (
        f"WITH RECURSIVE all_steps(step) AS (SELECT 0 UNION ALL SELECT step + 1 FROM all_steps LIMIT {CHART_POINTS}) "
        f"SELECT {columns}, 0 FROM all_steps"
    )
    connection = sqlite3.connect(path, timeout=60)
    with connection:
        connection.execute(f"{insert} {rows}")
    connection.close()
