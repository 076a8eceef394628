"""Measures two hundred readers of one busy job: their delay, and how much they slow the reporting run."""

import asyncio
import json
import multiprocessing
import time
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event

from benchmarks.control_plane.http import Connection
from benchmarks.control_plane.systems import Ours, Request
from benchmarks.control_plane.workloads import Timed

NUM_PROCESSES = 2
EVERY_S = 0.2
# Separate curves: a real run does not report a million old steps again with every batch.
_CURVES = [f"busy/{number}" for number in range(10)]
_CONNECT_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Read:
    """Holds the result of one measurement."""

    num_readers: int
    num_events: int
    """Number of events for each reader."""
    late_s: list[float]
    """Seconds from before the request until a reader has the event; of all readers together."""
    paced: Timed
    burst: Timed


def measure(system: Ours, run: int, *, num_readers: int, num_batches: int) -> Read:
    """Report a batch every 0.2 s, then the same number without pauses, while all readers follow the job."""
    if num_readers == 0:
        paced, burst = _report(system, run, num_batches)
        return Read(0, 2 * num_batches, [], paced, burst)
    context = multiprocessing.get_context("spawn")
    connected: Queue[int] = context.Queue()
    results: Queue[list[float]] = context.Queue()
    is_over = context.Event()
    each = num_readers // NUM_PROCESSES
    path = f"/v1/jobs/{system.job_ids[run]}/events"
    with Connection(system.port) as connection:
        after = connection.ok(Request(method="GET", path=path.removesuffix("/events")))["last_sequence"]
    readers = [
        context.Process(target=_read, args=(system.port, f"{path}?after={after}", each, connected, results, is_over))
        for _ in range(NUM_PROCESSES)
    ]
    for process in readers:
        process.start()
    for _ in range(each * NUM_PROCESSES):
        connected.get(timeout=_CONNECT_TIMEOUT_S)
    paced, burst = _report(system, run, num_batches)
    time.sleep(2.0)
    is_over.set()
    late_s = [each for _ in readers for each in results.get(timeout=_CONNECT_TIMEOUT_S)]
    for process in readers:
        process.join()
    expected = 2 * num_batches * each * NUM_PROCESSES
    if len(late_s) != expected:
        raise SystemExit(f"{len(late_s)} events reached the readers, not {expected}")
    return Read(each * NUM_PROCESSES, 2 * num_batches, late_s, paced, burst)


def _report(system: Ours, run: int, num_batches: int) -> tuple[Timed, Timed]:
    with Connection(system.port) as connection:
        return _batches(system, connection, run, num_batches, EVERY_S), _batches(system, connection, run, num_batches)


def _batches(system: Ours, connection: Connection, run: int, num_batches: int, every_s: float = 0.0) -> Timed:
    """Report as a run does: its progress, and the values of each step since the last report."""
    latencies_s = []
    began_s = time.perf_counter()
    for number in range(num_batches):
        wait_s = began_s + number * every_s - time.perf_counter()
        if wait_s > 0:
            time.sleep(wait_s)
        steps = list(range(number * 20, number * 20 + 20))
        progress = {
            "kind": "progress",
            "epoch": 1,
            "epochs": 2,
            "step": steps[-1],
            "steps": 10_000,
            "images_per_s": 9.0,
            "eta_s": 60.0,
            "learning_rate": 0.1,
            "values": dict.fromkeys(_CURVES, 1.0),
            "sent_s": time.monotonic(),
        }
        logged = {"kind": "metrics_logged", "steps": steps, "values": {curve: [1.0] * 20 for curve in _CURVES}}
        request = system.report(run, [progress, logged])
        sent_s = time.perf_counter()
        connection.ok(request)
        latencies_s.append(time.perf_counter() - sent_s)
    return Timed(time.perf_counter() - began_s, latencies_s)


def _read(  # noqa: PLR0917 - a process takes its arguments by position
    port: int, path: str, num_readers: int, connected: "Queue[int]", results: "Queue[list[float]]", is_over: Event
) -> None:
    results.put(asyncio.run(_read_all(port, path, num_readers, connected, is_over)))


async def _read_all(port: int, path: str, num_readers: int, connected: "Queue[int]", is_over: Event) -> list[float]:
    late_s: list[float] = []
    tasks = [asyncio.create_task(_follow(port, path, connected, late_s)) for _ in range(num_readers)]
    await asyncio.to_thread(is_over.wait)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return late_s


async def _follow(port: int, path: str, connected: "Queue[int]", late_s: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n".encode())
    is_open = False
    async for line in reader:
        if line.startswith(b"retry:") and not is_open:
            is_open = True
            connected.put(1)
        if line.startswith(b"data:"):
            # All readers have the same clock, because they run on one machine.
            data = json.loads(line[5:])["data"]
            if "sent_s" in data:
                late_s.append(time.monotonic() - data["sent_s"])
