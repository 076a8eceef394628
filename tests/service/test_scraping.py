"""`/metrics`: its values, who may read them, and that a scrape is cheap."""

import json
import math
import re
import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from control_plane import ControlPlane, ManualClock, progress, train_spec
from memory_cluster import MemoryCluster
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain_text
from served import served_by
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.spec.events import EndCause
from service.dispatcher.cluster import Submission
from service.errors import DatabaseAwayError
from service.metrics import sampling
from service.settings import Settings
from service.store import recording
from service.store.recording import store_undelivered

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
SCRAPE_TOKEN = "only prometheus has this scrape token"


async def scraped(plane: ControlPlane) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Returns every sample by name and labels, without using the cached samples."""
    plane.services.measuring._sampled_s = None
    answer = await plane.http.get("/metrics")
    assert answer.status_code == 200, answer.text
    families = plain_text(answer.text)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value for each in families for sample in each.samples
    }


async def value(plane: ControlPlane, name: str, **labels: str) -> float:
    return (await scraped(plane))[name, frozenset(labels.items())]


@asynccontextmanager
async def _away() -> AsyncIterator[AsyncSession]:
    raise DatabaseAwayError("the database is away")
    yield


async def _taken_over_and_cut_off(session: AsyncSession, *args: Any, **named: Any) -> EndCause | None:
    def cut_off(_: object) -> None:
        raise DatabaseAwayError("the database is away")

    event.listen(session.sync_session, "before_commit", cut_off)
    return await store_undelivered(session, *args, **named)


def metrics_logged(*steps: int) -> dict[str, object]:
    return {"kind": "metrics_logged", "steps": list(steps), "values": {"loss": [1.0 for _ in steps]}}


class TestJobs:
    async def test_jobs_are_counted_by_state_and_kind(self, plane: ControlPlane) -> None:
        for _ in range(3):
            await plane.submit(train_spec())
        assert await value(plane, "fgd_jobs", state="queued", kind="train") == 3
        assert await value(plane, "fgd_jobs", state="running", kind="train") == 0

    async def test_no_label_names_a_job_project_or_user(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job(train_spec(project="a-project", name="who am I"))
        await run.succeeds()
        text = (await plane.http.get("/metrics")).text
        for word in (job_id, "a-project", "who am I", run.attempt_id):
            assert word not in text

    async def test_the_wait_in_the_queue_ends_with_the_lease(self, plane: ControlPlane, clock: ManualClock) -> None:
        await plane.submit(train_spec())
        clock.forward(40)
        assert await value(plane, "fgd_queue_oldest_seconds") == pytest.approx(40, abs=1)
        await plane.tick()
        assert await value(plane, "fgd_queue_wait_seconds_count") == 1
        assert await value(plane, "fgd_queue_wait_seconds_sum") == pytest.approx(40, abs=1)
        assert await value(plane, "fgd_queue_oldest_seconds") == 0

    async def test_the_wait_of_a_resumed_job_starts_when_it_is_resumed(
        self, plane: ControlPlane, clock: ManualClock
    ) -> None:
        job_id, run = await plane.started_job(train_spec(retry={"failures": 1}))
        await run.fails("network", retryable=True)
        clock.forward(5)
        await plane.tick()
        again = plane.run()
        await again.starts()
        clock.forward(3600)
        await plane.http.post(f"/v1/jobs/{job_id}/pause")
        await again.reports({"kind": "run_finished", "outcome": "stopped"})
        await plane.http.post(f"/v1/jobs/{job_id}/resume")
        clock.forward(40)
        assert await plane.state(job_id) == "queued"
        assert await value(plane, "fgd_queue_oldest_seconds") == pytest.approx(40, abs=1)

    async def test_silent_runs_are_counted_with_the_longest_silence(
        self, plane: ControlPlane, clock: ManualClock
    ) -> None:
        await plane.started_job()
        assert await value(plane, "fgd_runs_silent") == 0
        clock.forward(plane.settings.heartbeat_timeout_s + 1)
        assert await value(plane, "fgd_runs_silent") == 1
        assert await value(plane, "fgd_runs_oldest_heartbeat_seconds") == pytest.approx(31, abs=1)

    async def test_attempts_are_counted_by_cause(self, plane: ControlPlane, clock: ManualClock) -> None:
        _, run = await plane.started_job()
        await run.succeeds()
        _, run = await plane.started_job()
        await run.fails("storage")
        _, run = await plane.started_job()
        plane.cluster.forget(run.submission_id)
        clock.forward(60)
        await plane.tick()
        assert await value(plane, "fgd_attempts_ended_total", cause="succeeded") == 1
        assert await value(plane, "fgd_attempts_ended_total", cause="failed") == 1
        assert await value(plane, "fgd_attempts_ended_total", cause="lost") == 1

    async def test_dispatch_is_timed_until_submitted_and_until_the_first_event(
        self, plane: ControlPlane, clock: ManualClock
    ) -> None:
        await plane.submit(train_spec())
        await plane.tick()
        clock.forward(7)
        await plane.run().starts()
        assert await value(plane, "fgd_dispatch_seconds_count", until="submitted") == 1
        assert await value(plane, "fgd_dispatch_seconds_sum", until="first_word") == pytest.approx(7, abs=0.1)

    async def test_short_dispatch_times_have_their_own_buckets(self, plane: ControlPlane) -> None:
        await plane.submit(train_spec())
        await plane.tick()
        assert await value(plane, "fgd_dispatch_seconds_bucket", until="submitted", le="0.025") == 1

    async def test_a_replica_whose_clock_is_ahead_gives_no_negative_wait(
        self, plane: ControlPlane, clock: ManualClock
    ) -> None:
        await plane.submit(train_spec())
        clock.forward(-1)
        await plane.tick()
        # Prometheus takes a sum that falls for a restarted counter.
        assert await value(plane, "fgd_queue_wait_seconds_sum") == 0

    async def test_an_end_that_was_rolled_back_is_not_counted(
        self, plane: ControlPlane, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job_id, run = await plane.started_job()
        plane.cluster.forget(run.submission_id)
        outbox = plane.settings.storage.dir / "jobs" / job_id / "outbox" / "attempt-1-run.jsonl"
        outbox.parent.mkdir(parents=True)
        last_word = run.batch({"kind": "run_finished", "outcome": "failed"})["events"]
        outbox.write_text("".join(json.dumps(each) + "\n" for each in last_word))
        clock.forward(60)
        with monkeypatch.context() as broken:
            broken.setattr(recording, "store_undelivered", _taken_over_and_cut_off)
            await plane.dispatcher.run_once()
        await plane.tick()
        assert await value(plane, "fgd_attempts_ended_total", cause="failed") == 1

    async def test_dispatch_times_exclude_the_submissions_of_other_runs(
        self, plane: ControlPlane, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def slowly(submission: Submission) -> None:
            clock.forward(5)
            await MemoryCluster.submit(plane.cluster, submission)

        for _ in range(2):
            await plane.submit(train_spec())
        monkeypatch.setattr(plane.cluster, "submit", slowly)
        await plane.tick()
        await plane.run().starts()
        assert await value(plane, "fgd_dispatch_seconds_sum", until="first_word") == pytest.approx(5, abs=0.1)


class TestIngest:
    async def test_events_and_points_are_counted_on_both_code_paths(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        await run.reports(progress(1), progress(2), metrics_logged(1, 2, 3))
        # Where a report of nothing but points is one statement, this one is.
        await run.reports(metrics_logged(4, 5))
        await run.post({"events": []})
        # The start, and two of progress.
        assert await value(plane, "fgd_ingest_events_total") == 3
        points = await value(plane, "fgd_ingest_points_total")
        curves = (await plane.http.get(f"/v1/jobs/{job_id}/metrics")).json()["items"]
        assert points == sum(len(curve["points"]) for curve in curves) >= 5
        is_postgresql = not plane.services.database.has_one_writer
        assert await value(plane, "fgd_ingest_batches_total", way="short") == (1 if is_postgresql else 0)
        assert await value(plane, "fgd_ingest_batches_total", way="usual") == (2 if is_postgresql else 3)
        assert await value(plane, "fgd_ingest_batches_total", way="heartbeat") == 1

    async def test_a_repeated_batch_is_counted_once(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job()
        batch = run.batch(progress(1))
        for _ in range(3):
            assert (await run.post(batch)).status_code == 200
        assert await value(plane, "fgd_ingest_events_total") == 2

    async def test_refusals_are_counted_by_code(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job()
        run.batch(progress(1))
        assert (await run.post(run.batch(progress(2)))).status_code == 422
        await run.post(run.batch())
        run.headers = {"Authorization": "Bearer of another one"}
        assert (await run.post({"events": []})).status_code == 401
        assert await value(plane, "fgd_ingest_refused_total", code="spec") == 1
        assert await value(plane, "fgd_ingest_refused_total", code="unauthorized") == 1

    async def test_the_lag_includes_the_time_in_the_outbox(self, plane: ControlPlane, clock: ManualClock) -> None:
        _, run = await plane.started_job()
        before = await value(plane, "fgd_ingest_lag_seconds_sum")
        batch = run.batch(progress(1))
        clock.forward(90)
        await run.post(batch)
        assert await value(plane, "fgd_ingest_lag_seconds_sum") - before == pytest.approx(90, abs=1)

    async def test_a_clock_that_is_ahead_gives_no_negative_lag(self, plane: ControlPlane, clock: ManualClock) -> None:
        _, run = await plane.started_job()
        batch = run.batch(progress(1))
        batch["events"][0]["at"] = (clock() + timedelta(hours=1)).isoformat()
        await run.post(batch)
        assert 0 <= await value(plane, "fgd_ingest_lag_seconds_sum") < 1


class TestReadersAndTheDatabase:
    async def test_readers_are_counted_while_they_read(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        async with served_by(plane) as served:
            assert await value(plane, "fgd_sse_readers", stream="job") == 0
            async with served.client.stream("GET", f"/v1/jobs/{job_id}/events") as reader:
                chunks = reader.aiter_bytes()
                await anext(chunks)
                await anext(chunks)
                assert await value(plane, "fgd_sse_readers", stream="job") == 1
                assert await value(plane, "fgd_sse_readers", stream="all") == 0
                await run.reports(progress(1))
                while b"progress" not in await anext(chunks):
                    pass
                assert await value(plane, "fgd_stream_lag_seconds_count") >= 1
                assert await value(plane, "fgd_stream_lag_seconds_sum") < 5

    async def test_reading_and_writing_are_timed(self, plane: ControlPlane) -> None:
        await plane.submit(train_spec())
        first = await scraped(plane)
        await plane.submit(train_spec())
        then = await scraped(plane)
        for kind in ("reading", "writing"):
            key = ("fgd_database_transaction_seconds_count", frozenset({("kind", kind)}))
            assert then[key] > first[key]
        waits = "turn" if plane.services.database.has_one_writer else "connection"
        assert then["fgd_database_wait_seconds_count", frozenset({("what", waits)})] > 0

    async def test_without_a_database_old_values_are_not_reported(
        self, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await plane.submit(train_spec())
        assert await value(plane, "fgd_database_up") == 1
        monkeypatch.setattr(plane.services.database, "reading", _away)
        found = await scraped(plane)
        assert found["fgd_database_up", frozenset()] == 0
        assert not [name for name, _ in found if name == "fgd_jobs"]
        assert found["fgd_runs_silent", frozenset()] != found["fgd_runs_silent", frozenset()]


class TestDispatcher:
    async def test_the_dispatching_replica_reports_it(self, plane: ControlPlane) -> None:
        assert await value(plane, "fgd_dispatcher_active") == 0
        await plane.tick()
        assert await value(plane, "fgd_dispatcher_active") == 1
        assert await value(plane, "fgd_dispatcher_tick_seconds_count") == 1

    async def test_an_unreachable_cluster_is_counted_and_reported(
        self, plane: ControlPlane, cluster: MemoryCluster
    ) -> None:
        await plane.submit(train_spec())
        assert await value(plane, "fgd_ray_up") == 1
        cluster.is_reachable = False
        await plane.tick()
        assert await value(plane, "fgd_ray_errors_total", what="away") == 1
        plane.clock.forward(60)
        assert await value(plane, "fgd_ray_up") == 0


class TestRequests:
    async def test_requests_are_counted_by_template_and_status_class(self, plane: ControlPlane) -> None:
        job_id = await plane.submit(train_spec())
        await plane.job(job_id)
        await plane.http.get("/v1/jobs/there-is-none")
        await plane.http.get("/no/such/path")
        route = {"route": "/v1/jobs/{job_id}", "method": "GET"}
        assert await value(plane, "fgd_http_requests_total", **route, status="2xx") == 1
        assert await value(plane, "fgd_http_requests_total", **route, status="4xx") == 1
        assert await value(plane, "fgd_http_requests_total", route="none", method="GET", status="4xx") == 1
        assert await value(plane, "fgd_http_request_seconds_count", **route) == 2

    async def test_unknown_methods_and_paths_create_no_series(self, plane: ControlPlane) -> None:
        for n in range(5):
            await plane.http.request(f"MADE{n}", f"/made/up/{n}")
        found = await scraped(plane)
        strange = [
            dict(labels) for name, labels in found if name == "fgd_http_requests_total" and ("route", "none") in labels
        ]
        assert strange == [{"route": "none", "method": "other", "status": "4xx"}]


class TestFolders:
    async def test_free_space_of_home_and_storage_is_reported(self, plane: ControlPlane) -> None:
        for folder in ("home", "storage"):
            free = await value(plane, "fgd_folder_free_bytes", folder=folder)
            assert 0 < free <= await value(plane, "fgd_folder_size_bytes", folder=folder)

    async def test_a_folder_that_does_not_answer_blocks_only_one_thread(
        self, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        num_asked, answers = 0, threading.Event()

        def hang(folder: Path) -> None:
            nonlocal num_asked
            num_asked += 1
            answers.wait(20)
            raise OSError("stale file handle")

        monkeypatch.setattr(shutil, "disk_usage", hang)
        monkeypatch.setattr(sampling, "_FOLDER_PATIENCE_S", 0.05)
        for _ in range(3):
            free = await value(plane, "fgd_folder_free_bytes", folder="storage")
            assert math.isnan(free)
        assert num_asked == 2
        answers.set()


class TestFormat:
    async def test_both_text_formats_are_served(self, plane: ControlPlane) -> None:
        plain = await plane.http.get("/metrics", headers={"Accept": "text/plain"})
        assert plain.headers["Content-Type"].startswith("text/plain; version=")
        modern = await plane.http.get("/metrics", headers={"Accept": OPENMETRICS})
        assert modern.headers["Content-Type"].startswith("application/openmetrics-text")
        names = {family.name for family in openmetrics(modern.text)}
        assert {"fgd_jobs", "fgd_ingest_events", "fgd_build"} <= names | {"fgd_build"}
        assert "fgd_jobs" in {family.name for family in plain_text(plain.text)}

    async def test_metrics_of_the_whole_system_say_so(self, plane: ControlPlane) -> None:
        text = (await plane.http.get("/metrics")).text
        helps = dict(re.findall(r"^# HELP (\S+) (.*)$", text, flags=re.MULTILINE))
        whole = {"fgd_jobs", "fgd_queue_oldest_seconds", "fgd_runs_silent", "fgd_runs_oldest_heartbeat_seconds"}
        assert {name for name, words in helps.items() if "use max()" in words} == whole | {"fgd_ray_nodes"}

    async def test_two_applications_have_separate_metrics(
        self, plane: ControlPlane, settings: Settings, cluster: MemoryCluster, clock: ManualClock
    ) -> None:
        other = ControlPlane(settings, cluster, clock)
        await plane.submit(train_spec())
        found = await scraped(other)
        assert not [
            labels for name, labels in found if name == "fgd_http_requests_total" and ("method", "POST") in labels
        ]
        await other.close()


class TestAccess:
    @pytest.fixture
    async def guarded(
        self, tmp_path: Path, settings: Settings, cluster: MemoryCluster, clock: ManualClock
    ) -> ControlPlane:
        (tmp_path / "scrape").write_text(SCRAPE_TOKEN + "\n")
        changed = settings.model_copy(update={"auth": "tokens", "metrics_token_file": tmp_path / "scrape"})
        return ControlPlane(changed, cluster, clock)

    async def test_without_a_token_or_with_a_wrong_one_it_is_401(self, guarded: ControlPlane) -> None:
        assert (await guarded.http.get("/metrics")).status_code == 401
        wrong = {"Authorization": f"Bearer {SCRAPE_TOKEN}x"}
        assert (await guarded.http.get("/metrics", headers=wrong)).status_code == 401

    async def test_the_scrape_token_gives_access_to_the_metrics_only(self, guarded: ControlPlane) -> None:
        bearer = {"Authorization": f"Bearer {SCRAPE_TOKEN}"}
        assert (await guarded.http.get("/metrics", headers=bearer)).status_code == 200
        for path in ("/v1/jobs", "/v1/events", "/metrics/", "/v1/queue"):
            assert (await guarded.http.get(path, headers=bearer)).status_code == 401

    async def test_a_changed_scrape_token_is_valid_at_once(self, guarded: ControlPlane, tmp_path: Path) -> None:
        (tmp_path / "scrape").write_text("another one, just as long as the one before it")
        old = {"Authorization": f"Bearer {SCRAPE_TOKEN}"}
        new = {"Authorization": "Bearer another one, just as long as the one before it"}
        assert (await guarded.http.get("/metrics", headers=old)).status_code == 401
        assert (await guarded.http.get("/metrics", headers=new)).status_code == 200

    @pytest.mark.parametrize("content", ["", "\n"])
    async def test_an_empty_token_file_allows_nothing(
        self, guarded: ControlPlane, tmp_path: Path, content: str
    ) -> None:
        (tmp_path / "scrape").write_text(content)
        for token in ("", " ", "x"):
            bearer = {"Authorization": f"Bearer {token}"}
            assert (await guarded.http.get("/metrics", headers=bearer)).status_code == 401
