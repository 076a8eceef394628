"""Traces of the control plane: off, on, and on with an unreachable collector."""

import asyncio
import logging
import os
import socket
import subprocess
import sys
import time
import timeit
from collections.abc import AsyncIterator, Iterator

import pytest
import structlog
from control_plane import ControlPlane, ManualClock, train_spec
from memory_cluster import MemoryCluster

from fgd_core.spec.tracing import for_run, header, is_on, is_sampled
from service import tracing
from service.logs import add_trace_id
from service.settings import Settings
from service.tracing import OFF, Tracing
from tests import otlp_collector
from tests.otlp_collector import Collector

pytestmark = pytest.mark.one_database

SENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ON = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


class TestOff:
    def test_opentelemetry_is_not_loaded(self) -> None:
        code = (
            "import sys, pathlib, service.server.app, workers.__main__; from service.settings import Settings\n"
            "from service.dispatcher.cluster import RayCluster\n"
            "app = service.server.app.create_app(Settings(home=pathlib.Path(sys.argv[1])), RayCluster('http://127.0.0.1:1'))\n"
            "print(any(app.state.services.tracing.of_requests().values()))\n"
            # FastAPI loads the bare interfaces by itself.
            "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))])"
        )
        silent = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
        done = subprocess.run(
            [sys.executable, "-c", code, "/nowhere"], env=silent, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "False\n[]"

    def test_a_request_costs_almost_nothing(self) -> None:
        def as_a_post_does() -> None:
            OFF.current()
            with OFF.span("admit and store"):
                pass
            OFF.current().note({"fgd.job_id": "a", "fgd.kind": "train"})

        seconds = min(timeit.repeat(as_a_post_does, timer=time.process_time, number=1000, repeat=5)) / 1000
        print(f"\ntracing that is off costs a POST {seconds * 1e6:.2f} microseconds")
        assert seconds < 20e-6

    @pytest.mark.parametrize(
        "changes",
        [{"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, {"OTEL_SDK_DISABLED": "TRUE"}, {"OTEL_TRACES_EXPORTER": "none"}],
    )
    def test_the_standard_variables_turn_it_off(self, changes: dict[str, str]) -> None:
        assert is_on(ON)
        assert not is_on(ON | changes)

    async def test_a_job_and_its_run_have_no_trace(self, plane: ControlPlane) -> None:
        await plane.http.post("/v1/jobs", json=train_spec(), headers={"traceparent": SENT})
        await plane.tick()
        [submission] = plane.cluster.submissions
        assert not [name for name in submission.environment if "TRACE" in name or "OTEL" in name]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with otlp_collector.running() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{collector.url}/v1/traces")
        yield collector


@pytest.fixture
async def traced(
    collector: Collector, settings: Settings, cluster: MemoryCluster, clock: ManualClock
) -> AsyncIterator[ControlPlane]:
    plane = ControlPlane(settings, cluster, clock)
    yield plane
    await plane.close()


class TestOn:
    async def test_a_job_belongs_to_the_trace_of_its_request(self, traced: ControlPlane, collector: Collector) -> None:
        await traced.http.post("/v1/jobs", json=train_spec(), headers={"traceparent": SENT})
        await traced.tick()
        await traced.services.tracing.close()
        spans = {span.name: span for span in collector.spans}
        post, submission = spans["POST /v1/jobs"], spans["submit to Ray"]
        assert (post.trace_id, post.parent_id) == (SENT[3:35], SENT[36:52])
        assert submission.parent_id == spans["lease"].parent_id == post.span_id
        variables = traced.cluster.submissions[0].environment
        assert variables["TRACEPARENT"] == f"00-{post.trace_id}-{submission.span_id}-01"

    async def test_a_request_without_a_trace_starts_one(self, traced: ControlPlane, collector: Collector) -> None:
        for sent in ("", "00-nonsense"):
            await traced.http.get("/v1/jobs/unknown", headers={"traceparent": sent})
        await traced.services.tracing.close()
        first, second = collector.spans
        assert (first.name, first.parent_id, first.attributes["http.response.status_code"]) == (
            ("GET /v1/jobs/{job_id}", "", 404)
        )
        assert first.trace_id != second.trace_id

    async def test_an_unsampled_trace_is_passed_on_but_not_sent(
        self, traced: ControlPlane, collector: Collector
    ) -> None:
        await traced.http.post("/v1/jobs", json=train_spec(), headers={"traceparent": f"{SENT[:-2]}00"})
        await traced.tick()
        await traced.services.tracing.close()
        assert collector.spans == []
        variables = traced.cluster.submissions[0].environment["TRACEPARENT"]
        assert variables.startswith(SENT[:36])
        assert not is_sampled(variables)

    async def test_probes_and_reports_of_runs_make_no_spans(self, traced: ControlPlane, collector: Collector) -> None:
        await traced.started_job()
        await traced.http.get("/livez")
        await traced.services.tracing.close()
        assert {span.name for span in collector.spans} == {
            *("POST /v1/jobs", "admit and store", "wait in the queue", "lease", "submit to Ray")
        }

    async def test_log_lines_have_the_id_of_their_trace(self, traced: ControlPlane) -> None:
        with structlog.testing.capture_logs([add_trace_id]) as lines:
            await traced.http.post("/v1/jobs", json=train_spec(), headers={"traceparent": SENT})
            await traced.tick()
        of_trace = [line["event"] for line in lines if line.get("trace_id") == SENT[3:35]]
        assert of_trace == ["request", "run_submitted"]

    async def test_the_configured_service_name_is_used(
        self, collector: Collector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OTEL_SERVICE_NAME", "fgd-of-the-lab")
        sending = tracing.from_environment()
        with sending.span("one"):
            pass
        await sending.close()
        assert [span.service for span in collector.spans] == ["fgd-of-the-lab"]


class TestCollectorAway:
    @pytest.fixture(params=["no collector", "no answer"])
    def away(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tracing]:
        with otlp_collector.running(answers=False) as deaf, socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            url = deaf.url if request.param == "no answer" else f"http://127.0.0.1:{closed.getsockname()[1]}"
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
            monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
            yield tracing.from_environment()

    def test_it_delays_nothing_and_is_logged_at_level_debug(
        self, away: Tracing, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        with structlog.testing.capture_logs() as lines, caplog.at_level(logging.DEBUG, "opentelemetry"):
            began_s = time.monotonic()
            for _ in range(100):
                with away.span("a request"):
                    pass
            asyncio.run(away.close())
            # To wait for it once for each span takes 100 s.
            assert time.monotonic() - began_s < 50
            while not lines and time.monotonic() - began_s < 60:
                time.sleep(0.05)
        assert {line["log_level"] for line in lines} == {"debug"}
        assert capfd.readouterr() == ("", "")


class TestEnvironmentOfARun:
    def test_a_run_does_not_get_the_keys_of_the_collector(self) -> None:
        mine = ON | {
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=k3y",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://user:k3y@collector/v1/traces",
            "OTEL_SERVICE_NAME": "fgd",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        }
        assert for_run(SENT, mine) == {"TRACEPARENT": SENT, **ON, "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}
        assert for_run(None, mine) == {}

    def test_a_client_passes_on_the_trace_of_its_caller(self) -> None:
        assert header({"TRACEPARENT": SENT}) == {"traceparent": SENT}
        assert header({"TRACEPARENT": "x\r\ny: z"}) == header({}) == {}
