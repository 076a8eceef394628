"""The commands that control jobs, against the real server."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fgd_core.spec.events import RunFinished
from fgd_core.spec.results import ErrorReport
from service.client.client import FgdClient
from tests.client.conftest import Fgd
from tests.client.live_server import LiveServer, Run, eventually
from tests.reports.recorded_jobs import STUDENT, train_spec


@pytest.fixture
def waiting(client: FgdClient, server: LiveServer) -> str:
    """A job that waits because the cluster cannot be reached."""
    server.cluster.is_reachable = False
    return client.submit(train_spec("student", STUDENT)).job_id


@pytest.fixture
def running(client: FgdClient, server: LiveServer) -> Iterator[tuple[str, Run]]:
    job_id = client.submit(train_spec("student", STUDENT)).job_id
    run = server.run_of(job_id)
    server.cluster.say(f"fgd-{job_id}-1", "RUNNING")
    run.start()
    yield job_id, run


def stopped() -> RunFinished:
    return RunFinished(outcome="stopped")


@contextmanager
def stopping_when_asked(server: LiveServer, job_id: str, run: Run) -> Iterator[None]:
    """Let the run save and stop when the server asks it to."""

    def stop() -> None:
        with FgdClient(server.url) as client:
            eventually(lambda: client.job(job_id).state in ("pausing", "cancelling"))
        run.report(stopped())

    thread = threading.Thread(target=stop, daemon=True)
    thread.start()
    yield
    thread.join(timeout=240)


def failed() -> RunFinished:
    return RunFinished(outcome="failed", error=ErrorReport(code="data", message="no such folder"))


class TestPauseAndResume:
    def test_a_waiting_job_is_paused_and_resumed(self, fgd: Fgd, server: LiveServer, waiting: str) -> None:
        paused = fgd("pause", waiting[:6], "--server", server.url, "--json")
        assert [job["state"] for job in paused.json] == ["paused"]
        resumed = fgd("resume", waiting[:6], "--server", server.url)
        assert (resumed.exit_code, f"{waiting} is queued" in resumed.out) == (0, True)

    def test_wait_returns_when_the_run_has_stopped(
        self, fgd: Fgd, server: LiveServer, running: tuple[str, Run]
    ) -> None:
        job_id, run = running
        with stopping_when_asked(server, job_id, run):
            answers = fgd("pause", job_id, "--wait", "--server", server.url, "--json").json
        assert [job["state"] for job in answers] == ["paused"]

    def test_a_wrong_id_pauses_no_job(self, fgd: Fgd, server: LiveServer, client: FgdClient, waiting: str) -> None:
        ended = fgd("pause", waiting, "nonsense", "--server", server.url)
        assert ended.exit_code == 1
        assert "nonsense" in ended.err
        assert client.job(waiting).state == "queued"


class TestRetry:
    def test_a_failed_job_is_queued_again(
        self, fgd: Fgd, server: LiveServer, client: FgdClient, running: tuple[str, Run]
    ) -> None:
        job_id, run = running
        run.report(failed())
        eventually(lambda: client.job(job_id).state == "failed")
        assert fgd("retry", job_id, "--server", server.url, "--json").json[0]["state"] in ("queued", "starting")

    def test_a_waiting_job_cannot_be_retried(self, fgd: Fgd, server: LiveServer, waiting: str) -> None:
        ended = fgd("retry", waiting, "--server", server.url, "--json")
        assert (ended.exit_code, ended.json["error"]["code"]) == (1, "conflict")


class TestPriority:
    def test_it_can_be_negative(self, fgd: Fgd, server: LiveServer, waiting: str) -> None:
        assert fgd("priority", waiting, 10, "--server", server.url, "--json").json[0]["priority"] == 10
        assert fgd("priority", "--server", server.url, "--json", waiting, "--", -5).json[0]["priority"] == -5

    def test_a_stale_version_is_refused(self, client: FgdClient, waiting: str) -> None:
        version = client.job(waiting).version
        client.change(waiting, priority=1, version=version)
        with pytest.raises(Exception, match="has changed") as refused:
            client.change(waiting, priority=2, version=version)
        assert getattr(refused.value, "code", "") == "changed_meanwhile"


class TestQueue:
    def test_it_shows_why_each_job_waits(self, fgd: Fgd, server: LiveServer, waiting: str) -> None:
        ended = fgd("queue", "--server", server.url)
        assert waiting in ended.out
        assert "cannot be reached" in ended.out

    def test_an_empty_queue_shows_the_free_resources(self, fgd: Fgd, server: LiveServer) -> None:
        ended = fgd("queue", "--server", server.url)
        assert "no jobs are waiting" in ended.out
        assert "2 of 2 CPUs" in ended.out


class TestJobs:
    def test_filters_go_to_the_server(self, fgd: Fgd, server: LiveServer, client: FgdClient, waiting: str) -> None:
        other = client.submit(train_spec("teacher", STUDENT).model_copy(update={"project": "vision"})).job_id

        def ids(*options: str) -> list[str]:
            listed = fgd("jobs", *options, "--server", server.url, "--json").json
            return [job["job_id"] for job in listed]

        assert ids() == [other, waiting]
        assert ids("teach") == [other]
        assert ids("--project", "default") == [waiting]
        assert ids("--state", "queued", "--state", "running") == [other, waiting]
        assert ids("--state", "running") == []
        assert ids("--until", "2001-01-01") == []
        assert ids("--since", "2001-01-01") == [other, waiting]
        assert "vision" in fgd("jobs", "--server", server.url).out


class TestShow:
    def test_attempts_show_how_they_ended(
        self, fgd: Fgd, server: LiveServer, client: FgdClient, running: tuple[str, Run]
    ) -> None:
        job_id, run = running
        run.report(failed())
        eventually(lambda: client.job(job_id).state == "failed")
        text = fgd("show", job_id, "--server", server.url).out
        assert "failed" in text
        assert "data: no such folder" in text
        assert "by anonymous" in text


def test_show_lists_the_requests_of_users(fgd: Fgd, server: LiveServer, client: FgdClient, waiting: str) -> None:
    client.change(waiting, priority=7)
    client.pause(waiting)
    shown = fgd("show", waiting, "--server", server.url).out
    assert "requested: priority 7 by anonymous" in shown
    assert "requested: pause by anonymous" in shown


def test_cancel_waits_until_the_run_has_ended(fgd: Fgd, server: LiveServer, running: tuple[str, Run]) -> None:
    job_id, run = running
    with stopping_when_asked(server, job_id, run):
        ended = fgd("cancel", job_id, "--wait", "--server", server.url)
    assert (ended.exit_code, f"{job_id} is cancelled" in ended.out) == (0, True)
