from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from runs import end_of, eventually, log_with, submission

from fgd_core.errors import ClusterError
from service.dispatcher.cluster import RayCluster, find_ray_token
from service.dispatcher.local import LocalRay
from service.jobs.cluster import Capacity

pytestmark = pytest.mark.ray


def free_cpus(capacity: Capacity) -> float:
    return sum(node.cpus_free for node in capacity.nodes)


class TestRuns:
    async def test_a_run_gets_its_environment_and_its_output_is_kept(self, cluster: RayCluster) -> None:
        run = submission("import os; print('hello', os.environ['WHO'])", WHO="fgd")
        await cluster.submit(run)
        assert (await end_of(cluster, run.submission_id)).status == "SUCCEEDED"
        assert "hello fgd" in str(await cluster.logs(run.submission_id))

    async def test_submitting_twice_starts_once(self, cluster: RayCluster, tmp_path: Path) -> None:
        traces = tmp_path / "traces"
        run = submission(f"print('x', file=open('{traces}', 'a'))")
        await cluster.submit(run)
        await cluster.submit(run)
        await end_of(cluster, run.submission_id)
        await cluster.submit(run)
        assert traces.read_text() == "x\n"

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

    async def test_output_that_is_not_text_is_returned_unchanged(self, cluster: RayCluster) -> None:
        """Ray's own answer for such a log is status 500."""
        code = "import sys; sys.stdout.buffer.write(bytes([0xff, 0xfe]) + b' after\\n')"
        run = submission(code)
        await cluster.submit(run)
        assert (await end_of(cluster, run.submission_id)).status == "SUCCEEDED"
        assert b"\xff\xfe after\n" in (await cluster.logs(run.submission_id)).stored

    async def test_the_list_of_runs_agrees_with_the_single_answers(self, cluster: RayCluster) -> None:
        run = submission("pass")
        await cluster.submit(run)
        ended = await end_of(cluster, run.submission_id)
        assert (await cluster.jobs())[run.submission_id] == ended

    async def test_a_deleted_run_is_unknown(self, cluster: RayCluster) -> None:
        run = submission("pass")
        await cluster.submit(run)
        await end_of(cluster, run.submission_id)
        await cluster.delete(run.submission_id)
        assert await cluster.job(run.submission_id) is None

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
