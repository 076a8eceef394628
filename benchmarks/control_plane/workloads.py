"""The workloads for both systems: ingest, submission, and a long chart."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.control_plane.http import Connection
from benchmarks.control_plane.systems import CURVES, Request, System

CHART_POINTS = 1_000_000


@dataclass(frozen=True)
class Timed:
    """Holds the duration of a workload and the latency of each request."""

    seconds: float
    """From the first request to the last answer."""
    latencies_s: list[float]

    @property
    def per_s(self) -> float:
        """Requests per second."""
        return len(self.latencies_s) / self.seconds

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile of the latencies in ms; `percent` is in [0, 100]."""
        ordered = sorted(self.latencies_s)
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


class Ingest:
    """Sends points of several writers, one run each; step numbers continue from one repetition to the next."""

    def __init__(self, system: System, *, budget_s: float) -> None:
        self._system = system
        self._budget_s = budget_s
        self._next_step = 0

    def batches(self, num_writers: int) -> Timed:
        """Send batches of 1,000 points: 100 steps of 10 curves."""
        return self._run(num_writers, 100, CURVES, num_requests=1200 // num_writers)

    def one_by_one(self, num_writers: int) -> Timed:
        """Send single points."""
        return self._run(num_writers, 1, CURVES[:1], num_requests=4000 // num_writers)

    def _run(self, num_writers: int, num_steps: int, curves: list[str], *, num_requests: int) -> Timed:
        requests = [
            [
                partial(self._system.log, run, self._next_step + index * num_steps, num_steps, curves)
                for index in range(num_requests)
            ]
            for run in range(num_writers)
        ]
        self._next_step += num_requests * num_steps
        return at_once(self._system.port, requests, budget_s=self._budget_s)


def submission(system: System, *, num_jobs: int, num_clients: int) -> Timed:
    """Submit jobs from several clients."""
    each = num_jobs // num_clients
    return at_once(system.port, [[system.create] * each for _ in range(num_clients)])


def chart(system: System, *, num_reads: int, run: int, curve: str) -> Timed:
    """Read a curve several times."""
    return at_once(system.port, [[partial(system.chart, run, curve)] * num_reads])


def at_once(port: int, requests: Sequence[Sequence[Callable[[], Request]]], *, budget_s: float | None = None) -> Timed:
    """Send each list of requests from a separate client, in order, until all are sent or `budget_s` is over.

    The clients are threads, because they wait most of the time. Creating a request is not part of its latency.
    """
    latencies_s: list[list[float]] = [[] for _ in requests]
    errors: list[BaseException] = []
    ready = threading.Barrier(len(requests) + 1)

    def client(index: int) -> None:
        try:
            with Connection(port) as connection:
                ready.wait()
                for make in requests[index]:
                    request = make()
                    began_s = time.perf_counter()
                    connection.ok(request)
                    now_s = time.perf_counter()
                    latencies_s[index].append(now_s - began_s)
                    if budget_s is not None and now_s - started_s > budget_s:
                        return
        except BaseException as error:
            errors.append(error)
            ready.abort()

    threads = [threading.Thread(target=client, args=(index,)) for index in range(len(requests))]
    started_s = time.perf_counter()
    for thread in threads:
        thread.start()
    ready.wait()
    started_s = time.perf_counter()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return Timed(time.perf_counter() - started_s, [latency for each in latencies_s for latency in each])
