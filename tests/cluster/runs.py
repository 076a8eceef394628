"""Small runs to submit, and functions that wait for their results."""

import asyncio
import itertools
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import TypeVar

import psutil

from service.dispatcher.cluster import RayCluster, Submission
from service.jobs.cluster import ClusterJob

T = TypeVar("T")

_numbers = itertools.count(1)


def submission(code: str, *, cpus: int = 1, **environment: str) -> Submission:
    return Submission(
        submission_id=f"fgd-test-{next(_numbers)}",
        entrypoint=f'{sys.executable} -c "{code}"',
        environment=environment,
        cpus=cpus,
        gpus=0,
        metadata={"name": "a test"},
    )


async def eventually(ask: Callable[[], Awaitable[T]], is_so: Callable[[T], bool], timeout_s: float = 240.0) -> T:
    deadline = time.monotonic() + timeout_s
    while not is_so(answer := await ask()):
        assert time.monotonic() < deadline, f"the last answer was {answer!r}"
        # Not more often: each answer takes Ray some hundredths of a second, and this process as much.
        await asyncio.sleep(0.5)
    return answer


async def end_of(cluster: RayCluster, submission_id: str, timeout_s: float = 240.0) -> ClusterJob:
    job = await eventually(lambda: cluster.job(submission_id), lambda job: job is None or job.is_over, timeout_s)
    assert job is not None
    return job


async def log_with(cluster: RayCluster, submission_id: str, text: str) -> str:
    async def log() -> str:
        return str(await cluster.logs(submission_id))

    return await eventually(log, lambda log: text in log)


def listening(processes: Iterable[psutil.Process]) -> set[str]:
    """Return the addresses on which processes listen; none for a process that has ended meanwhile."""
    found = set()
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            sockets = process.net_connections("tcp")
            found |= {socket.laddr.ip for socket in sockets if socket.status == psutil.CONN_LISTEN}
    return found


def named(processes: Iterable[psutil.Process]) -> dict[str, int]:
    """Return process ids by name, without processes that have ended meanwhile."""
    found = {}
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            found[process.name()] = process.pid
    return found
