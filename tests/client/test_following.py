"""Following logs and all jobs live."""

import signal
import subprocess
import sys
import threading

from rich.console import Console

from fgd_core.spec.event_state import JobStatus
from fgd_core.spec.events import RunFinished
from fgd_core.spec.results import ErrorReport
from fgd_core.spec.views import LogPiece, ProgressView
from service.client.client import FgdClient
from service.client.overview import table
from tests.client.conftest import Fgd
from tests.client.live_server import LiveServer, eventually
from tests.client.proxies import CuttingProxy
from tests.reports.recorded_jobs import STUDENT, train_spec


def submission_of(server: LiveServer, job_id: str) -> str:
    return next(s.submission_id for s in server.cluster.submissions if s.submission_id.startswith(f"fgd-{job_id}-"))


class TestLogs:
    def test_every_line_arrives_once_across_a_restart_of_the_server(
        self, client: FgdClient, server: LiveServer
    ) -> None:
        job_id = client.submit(train_spec("student", STUDENT)).job_id
        run = server.run_of(job_id)
        run.start()
        submission_id = submission_of(server, job_id)
        server.cluster.output[submission_id] = "one\n"
        pieces: list[LogPiece] = []

        def follow() -> None:
            pieces.extend(item for item in client.follow_log(job_id) if isinstance(item, LogPiece))

        following = threading.Thread(target=follow)
        following.start()
        eventually(lambda: client.job(job_id).state == "running")
        server.stop()
        server.start()
        server.cluster.output[submission_id] = "one\ntwo\nthree, the last"
        run.succeed()
        server.cluster.say(submission_id, "SUCCEEDED")
        following.join(timeout=240)
        assert "".join(piece.text for piece in pieces) == "one\ntwo\nthree, the last"

    def test_every_byte_arrives_once_when_connections_are_cut(self, client: FgdClient, server: LiveServer) -> None:
        job_id = client.submit(train_spec("student", STUDENT)).job_id
        run = server.run_of(job_id)
        run.start()
        text = "".join(f"line {n} — ü\n" for n in range(60_000))
        server.cluster.output[submission_of(server, job_id)] = text
        run.succeed()
        server.cluster.say(submission_of(server, job_id), "SUCCEEDED")
        proxy = CuttingProxy(server.port, cut_after_bytes=300_000, num_cuts=2)
        with FgdClient(proxy.url) as cut_off:
            pieces = [item for item in cut_off.follow_log(job_id) if isinstance(item, LogPiece)]
        proxy.close()
        assert proxy.cuts_left == 0
        assert "".join(piece.text for piece in pieces) == text

    def test_an_unprinted_traceback_follows_the_output(self, fgd: Fgd, server: LiveServer) -> None:
        with FgdClient(server.url) as client:
            job_id = client.submit(train_spec("student", STUDENT)).job_id
            run = server.run_of(job_id)
            run.start()
            server.cluster.output[submission_of(server, job_id)] = "printed\n"
            error = ErrorReport(code="data", message="no boxes", traceback="Traceback: line 7 of data.py")
            run.report(RunFinished(outcome="failed", error=error))
            server.cluster.say(submission_of(server, job_id), "FAILED")
        for arguments in ([job_id], [job_id, "-n", "1"], [job_id, "-f"]):
            ended = fgd("logs", *arguments, "--server", server.url)
            assert ended.exit_code == 0, ended.err
            assert ended.out.index("printed") < ended.out.index("line 7 of data.py") < ended.out.rindex("no boxes")
        assert fgd("logs", job_id, "-n", "2", "--server", server.url).exit_code == 2


class TestAllJobs:
    def test_every_event_arrives_once_across_a_restart_of_the_server(
        self, client: FgdClient, server: LiveServer
    ) -> None:
        cursor = client.events_cursor()
        seen: list[tuple[str, int]] = []

        def read() -> None:
            # A separate client: the thread continues to read when the test is over.
            for event in FgdClient(server.url).all_events(after=cursor):
                seen.append((event.job_id, event.sequence))

        threading.Thread(target=read, daemon=True).start()
        first = client.submit(train_spec("student", STUDENT)).job_id
        eventually(lambda: (first, 1) in seen)
        server.stop()
        server.start()
        second = client.submit(train_spec("student", STUDENT)).job_id
        for job_id in (first, second):
            server.run_of(job_id).start()
        everything = [(job_id, n) for job_id in (first, second) for n in range(1, client.job(job_id).last_sequence + 1)]
        eventually(lambda: set(everything) <= set(seen))
        assert len(seen) == len(set(seen))

    def test_watching_without_ids_shows_new_jobs_until_interrupted(self, client: FgdClient, server: LiveServer) -> None:
        client.submit(train_spec("an early one", STUDENT))
        command = [sys.executable, "-m", "service.client.cli", "watch", "--server", server.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
            assert watching.stdout is not None
            stdout = watching.stdout
            is_shown = threading.Event()

            def read() -> None:
                if any("late" in line for line in stdout):
                    is_shown.set()

            threading.Thread(target=read, daemon=True).start()

            def submit_until_shown() -> bool:
                # `watch` shows only the events after its start, which this process cannot observe.
                client.submit(train_spec("late", STUDENT))
                return is_shown.wait(0.2)

            try:
                eventually(submit_until_shown)
                watching.send_signal(signal.SIGINT)
                assert watching.wait(timeout=240) == 130
                assert watching.stderr is not None and "Traceback" not in watching.stderr.read()
            finally:
                watching.kill()

    def test_running_jobs_are_first_and_hidden_rows_are_counted(self) -> None:
        jobs = [JobStatus(str(n), f"job {n}", "train", "succeeded") for n in range(30)]
        jobs.append(
            JobStatus(
                "x",
                "at work",
                "train",
                "running",
                progress=ProgressView(epoch=3, epochs=9),
                project="vision",
                priority=5,
            )
        )
        jobs.append(JobStatus("y", "kept", "train", "paused", doing="holds no resources"))
        console = Console(width=100, file=None, record=True)
        with console.capture() as captured:
            console.print(table(jobs, width=100, height=15))
        lines = captured.get().splitlines()
        assert len(lines) <= 15
        assert [word in lines[1] for word in ("at work", "vision", "5", "running", "3/9")] == [True] * 5
        assert "holds no resources" in lines[2]
        assert "1 running · 1 paused · 30 succeeded · 22 not shown" in lines[-1]
