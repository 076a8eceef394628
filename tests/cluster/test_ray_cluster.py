import asyncio
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

import pytest
from runs import end_of, eventually, log_with, submission

from fgd_core.errors import ClusterError
from service.dispatcher.cluster import RayCluster, find_ray_token
from service.dispatcher.local import LocalRay
from service.jobs.cluster import Capacity

pytestmark = pytest.mark.ray


def free_cpus(capacity: Capacity) -> float:
    return sum(node.cpus_free for node in capacity.nodes)


class Ended(NamedTuple):
    id: str
    traces: Path
    """To this file it has added a line."""


@pytest.fixture(scope="module")
def ended(head: LocalRay, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """A run for several tests, because each costs Ray seconds; it was submitted three times."""
    traces = tmp_path_factory.mktemp("run") / "traces"
    code = (
        "import os, sys; print('hello', os.environ['WHO'], flush=True); "
        f"sys.stdout.buffer.write(bytes([0xff, 0xfe]) + b' after\\n'); print('x', file=open('{traces}', 'a'))"
    )
    run = submission(code, WHO="fgd")

    async def end() -> None:
        async with RayCluster(await head.start(), head.token) as cluster:
            await cluster.submit(run)
            await cluster.submit(run)
            assert (await end_of(cluster, run.submission_id)).status == "SUCCEEDED"
            await cluster.submit(run)

    asyncio.run(end())
    return Ended(run.submission_id, traces)


class TestRuns:
    async def test_a_run_gets_its_environment_and_its_output_is_kept(self, cluster: RayCluster, ended: Ended) -> None:
        assert "hello fgd" in str(await cluster.logs(ended.id))

    def test_submitting_twice_starts_once(self, ended: Ended) -> None:
        assert ended.traces.read_text() == "x\n"

    async def test_a_failed_run_has_its_status_and_last_lines(self, cluster: RayCluster) -> None:
        run = submission("raise SystemExit('out of cheese')")
        await cluster.submit(run)
        job = await end_of(cluster, run.submission_id)
        assert job.status == "FAILED"
        assert "out of cheese" in job.message

    async def test_a_stopped_run_may_finish_its_output(self, cluster: RayCluster) -> None:
        code = (
            "import signal, time, sys; "
            "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(4), print('saved'), sys.exit(0))); "
            "print('ready'); time.sleep(60)"
        )
        run = submission(code)
        await cluster.submit(run)
        await log_with(cluster, run.submission_id, "ready\n")
        await cluster.stop(run.submission_id)
        assert (await end_of(cluster, run.submission_id)).status == "STOPPED"
        assert "saved" in str(await cluster.logs(run.submission_id))
        await cluster.stop(run.submission_id)  # no error for an ended run

    async def test_a_run_holds_its_resources_until_it_ends(self, cluster: RayCluster) -> None:
        await eventually(cluster.capacity, lambda capacity: free_cpus(capacity) == 2)
        run = submission("import time; print('ready'); time.sleep(60)", cpus=2)
        await cluster.submit(run)
        await log_with(cluster, run.submission_id, "ready\n")
        capacity = await eventually(cluster.capacity, lambda capacity: free_cpus(capacity) == 0)
        assert (capacity.cpus_total, capacity.gpus_total, capacity.shapes) == (2, 0, [(2, 0)])
        await cluster.stop(run.submission_id)
        await eventually(cluster.capacity, lambda capacity: free_cpus(capacity) == 2)

    async def test_output_that_is_not_text_is_returned_unchanged(self, cluster: RayCluster, ended: Ended) -> None:
        """Ray's own answer for such a log is status 500."""
        assert b"\xff\xfe after\n" in (await cluster.logs(ended.id)).stored

    async def test_the_list_of_runs_agrees_with_the_single_answers_until_one_is_deleted(
        self, cluster: RayCluster, ended: Ended
    ) -> None:
        single = await cluster.job(ended.id)
        assert single is not None and (await cluster.jobs())[ended.id] == single
        await cluster.delete(ended.id)
        assert await cluster.job(ended.id) is None

    async def test_an_unknown_run_is_none(self, cluster: RayCluster) -> None:
        assert await cluster.job("fgd-unknown") is None
        assert (await cluster.logs("fgd-unknown")).size_bytes == 0
        await cluster.stop("fgd-unknown")
        await cluster.delete("fgd-unknown")

    async def test_a_refused_submission_raises_and_starts_no_run(self, cluster: RayCluster) -> None:
        run = replace(submission("pass"), cpus=cast(int, "many"))
        with pytest.raises(ClusterError, match="could not submit"):
            await cluster.submit(run)
        assert await cluster.job(run.submission_id) is None


class TestReaching:
    async def test_a_wrong_token_is_named_as_the_cause(self, head: LocalRay) -> None:
        async with RayCluster(await head.start(), "wrong") as cluster:
            with pytest.raises(ClusterError, match="RAY_AUTH_TOKEN"):
                await cluster.version()

    async def test_a_closed_port_names_the_address(self) -> None:
        async with RayCluster("http://127.0.0.1:1") as cluster:
            with pytest.raises(ClusterError, match="cannot be reached") as caught:
                await cluster.capacity()
        assert caught.value.details["url"] == "http://127.0.0.1:1"

    async def test_the_version_is_the_one_that_is_installed(self, cluster: RayCluster) -> None:
        assert (await cluster.version()).startswith("2.")


class TestToken:
    def test_the_environment_takes_precedence_over_the_file(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "token").write_text("from file\n")
        monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
        assert find_ray_token() == "from file"
        monkeypatch.setenv("RAY_AUTH_TOKEN", "from environment")
        assert find_ray_token() == "from environment"

    def test_a_named_file_that_is_missing_is_an_error(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "missing"))
        with pytest.raises(ClusterError, match="RAY_AUTH_TOKEN_PATH"):
            find_ray_token()

    def test_without_a_token_none_is_returned(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
        monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        assert find_ray_token() is None
