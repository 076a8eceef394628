"""Measures how reads, ticks, a dry run of housekeeping and a backup grow with the number of stored jobs.

    python -m benchmarks.control_plane.growth [--jobs 10000 100000] [--engines sqlite postgresql]

All in this process, over the real application; half of the jobs wait and half have ended. Writes
`benchmarks/results/growth.json` and prints a table. A read should grow by at most 1.5 times.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import httpx
from rich.console import Console
from sqlalchemy import insert, text

from benchmarks.control_plane.engines import Engine, databases
from benchmarks.control_plane.queue import FullCluster, queued_jobs
from service.clock import utc_now
from service.dispatcher.loop import Dispatcher
from service.housekeeping.backup import backup
from service.server.app import create_app, token_mint
from service.settings import Settings
from service.settings.groups import DatabaseSettings
from service.store import migrate
from service.store.session import Database
from service.store.tables import Job

READS = (
    "/v1/queue",
    "/v1/queue?limit=50",
    "/v1/projects",
    "/v1/jobs",
    "/v1/jobs?state=failed",
    "/v1/jobs?project=none",
    "/v1/jobs?kind=export",
    "/v1/jobs?q=no-job-has-this-name",
)
ENGINES: tuple[Engine, ...] = ("sqlite", "postgresql")
_NUM_REPETITIONS = 9
_AT_ONCE = 10_000
_LARGEST_RATIO = 1.5


class Figure(NamedTuple):
    """The median time of one operation with a number of stored jobs."""

    engine: Engine
    num_jobs: int
    what: str
    median_s: float


def measure(engine: Engine, num_jobs: int) -> list[Figure]:
    """Measure everything on a new database with `num_jobs` jobs."""
    with tempfile.TemporaryDirectory(prefix="fgd-bench-") as name, databases(engine, Path(name)) as found:
        migrate.upgrade(found.ours)
        settings = Settings(home=Path(name), database=DatabaseSettings(url=found.ours))
        taken = asyncio.run(_measure(settings, num_jobs))
    return [Figure(engine, num_jobs, what, median_s) for what, median_s in taken.items()]


async def _measure(settings: Settings, num_jobs: int) -> dict[str, float]:
    cluster = FullCluster()
    app = create_app(settings, cluster)
    services = app.state.services
    await _fill(services.database, num_jobs)
    mint = token_mint(settings)
    dispatcher = Dispatcher(services.database, cluster, settings, utc_now, storage=services.storage, mint=mint)
    taken = {}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=600) as http:
        for path in READS:
            taken[f"GET {path}"] = await _median_s(lambda path=path: _get(http, path))  # type: ignore[misc]
    taken["tick"] = await _median_s(dispatcher.tick)
    taken["gc --dry-run"] = await _median_s(services.housekeeping.preview, repetitions=1)
    to = settings.home / "backup.tar"
    taken["backup"] = await _median_s(lambda: backup(settings, to, with_artifacts=False, now=utc_now()), repetitions=1)
    await dispatcher.close()
    await services.database.close()
    return taken


async def _get(http: httpx.AsyncClient, path: str) -> None:
    (await http.get(path)).raise_for_status()


async def _median_s(work: Callable[[], Awaitable[object]], *, repetitions: int = _NUM_REPETITIONS) -> float:
    """Return the median of several calls; the first one, which fills caches, is not counted unless it is the only."""
    latencies_s = []
    for _ in range(repetitions if repetitions == 1 else repetitions + 1):
        began_s = time.perf_counter()
        await work()
        latencies_s.append(time.perf_counter() - began_s)
    return statistics.median(latencies_s[-repetitions:])


async def _fill(database: Database, num_jobs: int) -> None:
    for first in range(0, num_jobs, _AT_ONCE):
        rows = queued_jobs(min(_AT_ONCE, num_jobs - first))
        for row in rows[::2]:
            row |= {"state": "succeeded", "ended_at": row["created_at"] - timedelta(days=400)}
        async with database.writing() as session:
            await session.execute(insert(Job), rows)
    if not database.has_one_writer:
        # As the server's own daemon does a minute later.
        async with database.without_transaction() as connection:
            await connection.execute(text("ANALYZE"))


def table(figures: Sequence[Figure], numbers: Sequence[int]) -> str:
    """Return a Markdown table: one row for each operation, one column for each number of jobs, and their ratio."""
    heads = [f"{number:,} jobs" for number in numbers]
    lines = [f"| engine | what | {' | '.join(heads)} | times |", "|---|---|" + "---|" * (len(numbers) + 1)]
    found = {(each.engine, each.what, each.num_jobs): each.median_s for each in figures}
    for engine, what in dict.fromkeys((each.engine, each.what) for each in figures):
        times_s = [found[engine, what, number] for number in numbers]
        ratio = times_s[-1] / times_s[0]
        is_missed = ratio > _LARGEST_RATIO and (what == "tick" or what.startswith("GET"))
        cells = [f"{1000 * each:,.1f} ms" for each in times_s]
        lines.append(f"| {engine} | {what} | {' | '.join(cells)} | {ratio:.1f}{' **missed**' if is_missed else ''} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", nargs="+", type=int, default=[10_000, 100_000])
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "results" / "growth.json")
    options = parser.parse_args()
    figures = [each for engine in options.engines for number in options.jobs for each in measure(engine, number)]
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}"
    rows = [each._asdict() for each in figures]
    options.out.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
    Console(width=200).print(table(figures, options.jobs), markup=False)


if __name__ == "__main__":
    main()
