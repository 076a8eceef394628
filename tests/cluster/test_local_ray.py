import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from runs import end_of, eventually, listening, log_with, named, submission

from fgd_core.errors import ClusterError
from service.dispatcher import head_processes
from service.dispatcher.cluster import RayCluster, Submission
from service.dispatcher.local import LocalRay
from service.dispatcher.local_watch import keep_running

pytestmark = pytest.mark.ray

START = """
import asyncio, os, sys
from pathlib import Path
from service.dispatcher.local import LocalRay
print(asyncio.run(LocalRay(Path(sys.argv[1])).start(num_cpus=1, num_gpus=0)), flush=True)
os.kill(os.getpid(), 9)
"""


class TestLocalRay:
    async def test_a_head_is_started_reused_restarted_when_it_dies_and_stopped(
        self, head: LocalRay, cluster: RayCluster, tmp_path: Path
    ) -> None:
        """One test, because each start takes several seconds."""
        # Started by a process that is then killed, while the head of the other tests runs.
        starter = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", START, str(tmp_path)), stdout=subprocess.PIPE
        )
        printed, _ = await starter.communicate()
        assert starter.returncode == -signal.SIGKILL
        url = printed.decode().strip()
        try:
            ray = LocalRay(tmp_path)

            # The next start finds the same head.
            assert ray.is_running
            assert await ray.start() == url
            note = json.loads((tmp_path / "ray.json").read_text())
            mark, temp_dir = note["mark"], Path(note["temp_dir"])

            # The two heads do not see each other.
            assert url != await head.start()
            assert ray.token != head.token
            asked = submission("import time; print('ready'); time.sleep(300)")
            async with RayCluster(url, ray.token) as own:
                await own.submit(asked)
                await log_with(own, asked.submission_id, "ready\n")
                assert (await own.capacity()).cpus_total == 1
            assert await cluster.job(asked.submission_id) is None
            assert (await cluster.capacity()).cpus_total == 2

            # All processes listen on the loopback interface only.
            living = head_processes.find(mark, temp_dir)
            assert listening(living) <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}

            # After a kill from outside, the rest is ended, and a new head starts and accepts runs.
            family = _family(note["pid"])
            async with RayCluster(url, ray.token) as own:
                watching = asyncio.create_task(keep_running(ray, own.move_to, num_cpus=1, report=lambda line: None))
                raylet = named(living)["raylet"]
                os.kill(note["pid"], signal.SIGKILL)
                # The raylet may have ended by itself when its parent died.
                with suppress(ProcessLookupError):
                    os.kill(raylet, signal.SIGKILL)
                new_note = await eventually(lambda: _started_again(tmp_path, mark), bool)
                assert _survivors(family) == []
                await eventually(lambda: _is_submitted(own, asked), bool)
                await log_with(own, asked.submission_id, "ready\n")
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)

            # After a stop nothing is left, and the other head is not affected.
            family = _family(new_note["pid"])
            names = " ".join(named(family))
            assert all(name in names for name in ("raylet", "gcs_server", "ray::DashboardA", "ray::JobSuperv")), names
            await ray.stop()
            assert _survivors(family) == []
            assert head_processes.find(new_note["mark"], temp_dir) == set()
            assert not any(map(os.path.exists, (temp_dir, tmp_path / "ray.json")))
            done = submission("pass")
            await cluster.submit(done)
            assert (await end_of(cluster, done.submission_id)).status == "SUCCEEDED"
        finally:
            await LocalRay(tmp_path).stop()

    async def test_stopping_without_a_head_does_nothing(self, tmp_path: Path) -> None:
        await LocalRay(tmp_path).stop()
        assert list(os.scandir(tmp_path)) == []

    def test_only_the_owner_can_read_the_token(self, tmp_path: Path) -> None:
        ray = LocalRay(tmp_path)
        assert ray.token == LocalRay(tmp_path).token
        assert (tmp_path / "ray_auth_token").stat().st_mode & 0o077 == 0


async def test_an_ended_process_has_no_ports_and_no_name() -> None:
    """A process of Ray may end between the search and the query of its sockets."""
    ended = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=subprocess.PIPE)
    process = psutil.Process(ended.pid)
    await ended.communicate(b"\n")
    assert (listening([process]), named([process])) == (set(), {})


def _family(pid: int) -> list[psutil.Process]:
    """Finds processes without the code under test, which could miss them."""
    head = psutil.Process(pid)
    return [head, *head.children(recursive=True)]


def _survivors(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [each for each in processes if head_processes.is_alive(each)]


async def _started_again(home: Path, first_mark: str) -> dict[str, Any]:
    """Return the description of a head other than the first; empty until it has started."""
    # Between two heads there is no state file.
    with suppress(FileNotFoundError):
        note: dict[str, Any] = json.loads((home / "ray.json").read_text())
        return note if note["processes"] and note["mark"] != first_mark else {}
    return {}


async def _is_submitted(cluster: RayCluster, asked: Submission) -> bool:
    with suppress(ClusterError):
        await cluster.submit(asked)
        return True
    return False
