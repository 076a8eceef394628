"""Measures a tick of the dispatcher with a large Ray, and the number of ticks until a cancel reaches Ray.

    python -m benchmarks.dispatching [--nodes 1000] [--runs 2000] [--answer-ms 5] [--out benchmarks/results]

Ray is the fake one of the tests: a separate process that answers over HTTP after the given time. The database is
SQLite. All runs are pending, so the dispatcher must ask Ray about each. The benchmark measures one request for all
runs, which is the normal case, and one request per run, 16 at a time.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from sqlalchemy import insert, update

from benchmarks.control_plane.queue import queued_jobs
from service.clock import utc_now
from service.dispatcher import starting, watching
from service.dispatcher.cluster import RayCluster
from service.dispatcher.loop import Dispatcher
from service.settings import Settings
from service.storage.choosing import storage_of
from service.store import migrate
from service.store.session import Database
from service.store.tables import Job
from service.store.tokens import TokenMint
from tests import fake_ray

_NUM_TICKS = 5


async def measure(folder: Path, *, num_nodes: int, num_runs: int, answer_s: float) -> dict[str, object]:
    """Return all figures; times are (wall clock, CPU) in seconds per tick."""
    settings = Settings(home=folder)
    await asyncio.to_thread(migrate.upgrade, settings.database.url)
    database = Database(settings.database.url)
    rows = queued_jobs(num_runs)
    async with database.writing() as session:
        await session.execute(insert(Job), rows)
    with fake_ray.running(num_nodes=num_nodes, cpus=8, answer_s=answer_s) as ray:
        async with RayCluster(ray.url) as cluster:
            mint, storage = TokenMint.at(folder / "secret"), storage_of(settings)
            dispatcher = Dispatcher(database, cluster, settings, utc_now, storage=storage, mint=mint)
            starting_s: list[tuple[float, float]] = []
            while len(starting_s) * starting.MAX_STARTS < num_runs:
                starting_s.append(await _tick(dispatcher))
            ray.asked()
            listing_s = [await _tick(dispatcher) for _ in range(_NUM_TICKS)]
            num_requests = ray.asked().total() / _NUM_TICKS
            async with database.writing() as session:
                cancelled = {"state": "cancelling", "stop_requested_at": utc_now()}
                await session.execute(update(Job).where(Job.id == rows[-1]["id"]).values(cancelled))
            num_ticks = 0
            while not ray.asked()["stop"]:
                num_ticks += 1
                await dispatcher.tick()
            watching.ASK_ONE_BY_ONE = num_runs
            ray.asked()
            asking_s = [await _tick(dispatcher) for _ in range(2)]
            asking_requests = ray.asked().total() / 2
            await dispatcher.close()
    await database.close()
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "nodes": num_nodes,
        "runs": num_runs,
        "answer_ms": answer_s * 1000,
        "load": os.getloadavg()[0],
        "started_per_tick": starting.MAX_STARTS,
        "tick_while_starting_s": starting_s,
        "tick_asking_for_all_s": listing_s,
        "requests_for_all": num_requests,
        "tick_asking_for_each_s": asking_s,
        "requests_for_each": asking_requests,
        "ticks_until_a_cancel_reaches_ray": num_ticks,
    }


async def _tick(dispatcher: Dispatcher) -> tuple[float, float]:
    """Run a tick; return its wall clock and CPU seconds. The CPU time does not depend on the load of the machine."""
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    await dispatcher.tick()
    return time.perf_counter() - began_s, time.process_time() - began_cpu_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--answer-ms", type=float, default=5.0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(
            measure(Path(folder), num_nodes=options.nodes, num_runs=options.runs, answer_s=options.answer_ms / 1000)
        )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "dispatching.json").write_text(json.dumps(found, indent=1) + "\n")
    text = _markdown(found)
    (options.out / "dispatching.md").write_text(text)
    table = Table("tick", "median s", "longest s", "median s of CPU", "requests")
    for row in _rows(found):
        table.add_row(*row)
    Console().print(table)


def _rows(found: dict[str, object]) -> list[tuple[str, ...]]:
    rows = []
    for name, of, requests in (
        (f"each starts {found['started_per_tick']} runs", "tick_while_starting_s", None),
        (
            "one request for all runs (normal)",
            "tick_asking_for_all_s",
            "requests_for_all",
        ),
        (
            "one request per run, 16 at a time",
            "tick_asking_for_each_s",
            "requests_for_each",
        ),
    ):
        seconds = found[of]
        assert isinstance(seconds, list)
        number = f"{found[requests]:.0f}" if requests is not None else ""
        wall_s, cpu_s = zip(*seconds, strict=True)
        rows.append(
            (
                name,
                *(f"{each:.2f}" for each in (statistics.median(wall_s), max(wall_s), statistics.median(cpu_s))),
                number,
            )
        )
    return rows


def _markdown(found: dict[str, object]) -> str:
    lines = [
        "# The dispatcher with a large Ray",
        "",
        f"`python -m benchmarks.dispatching`, {str(found['at'])[:10]}, {found['machine']}. The fake Ray of the tests",
        f"over HTTP: {found['nodes']} nodes, {found['runs']} pending runs, {found['answer_ms']:g} ms a call; SQLite.",
        f"The load of the machine was {found['load']:.1f}, so the CPU seconds are more reliable than the others.",
        "",
        "| tick | median, s | longest, s | median CPU, s | requests |",
        "|---|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in _rows(found)),
        "",
        f"A cancel reached Ray in tick {found['ticks_until_a_cancel_reaches_ray']} after its request.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
