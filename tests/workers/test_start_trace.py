"""The trace of a run's start: which spans it contains, and how they are sent."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from small_control_plane import TOKEN, SmallControlPlane

from fgd_core.spec.attempts import Assignment
from fgd_core.spec.events import DeviceReady, EvaluationProgress, Progress, RunEvent, RunStarted
from fgd_core.spec.kinds.evaluate import EvaluateSpec
from fgd_core.spec.trials import TrialEvent, TrialStarted
from tests import otlp_collector
from tests.otlp_collector import Collector, Span
from workers.tracing import StartTrace

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"
WAIT_S = 400
"""How long a run may take on a busy machine."""
STARTED = RunStarted(host="here", pid=1, python="3.11")
READY = DeviceReady(device="cpu", threads=1, precision="float32", versions={})
STEP = Progress(epoch=1, epochs=1, step=1, steps=2, images_per_s=1, eta_s=1, learning_rate=0.1, values={})
EVALUATED = EvaluationProgress(what="the teacher", done=1, total=2)
CHOSEN = TrialStarted(trial=0, origin="plain", values={}, seed=0, epochs=1)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with otlp_collector.running() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("TRACEPARENT", TRACEPARENT)
        yield collector


def trace_of(assignment: Assignment, *events: RunEvent) -> StartTrace:
    trace = StartTrace(os.environ, process_age_s=1.0)
    trace.reached("process start")
    trace.describe(assignment)
    for event in events:
        trace.observe(event)
    return trace


def names(spans: list[Span]) -> list[str]:
    return [span.name for span in sorted(spans, key=lambda span: (span.began_s, -span.ended_s))]


class TestPhases:
    def test_a_training_is_traced_until_its_first_step(self, collector: Collector, assignment: Assignment) -> None:
        trace = trace_of(assignment, STARTED, READY, EVALUATED, STEP, STEP)
        trace.close(20)
        assert names(collector.spans) == ["start of the run", "process start", "device", "model and data", "first step"]
        whole = next(span for span in collector.spans if span.name == "start of the run")
        assert (whole.trace_id, whole.parent_id, whole.service) == (TRACE_ID, PARENT_ID, "fgd-run")
        assert {span.parent_id for span in collector.spans} == {PARENT_ID, whole.span_id}
        assert {span.attributes["fgd.job_id"] for span in collector.spans} == {"job1"}

    def test_an_evaluation_is_traced_until_its_first_images(self, collector: Collector, assignment: Assignment) -> None:
        spec = EvaluateSpec(name="one", checkpoint="best.pt", data=assignment.spec.data)
        trace_of(assignment.model_copy(update={"spec": spec}), READY, EVALUATED).close(20)
        assert names(collector.spans)[-1] == "first step"

    def test_a_sweep_is_traced_until_the_first_step_of_a_trial(
        self, collector: Collector, assignment: Assignment
    ) -> None:
        step = TrialEvent(trial=0, event=STEP.model_dump(mode="json"))
        trace_of(assignment, CHOSEN, CHOSEN, step).close(20)
        assert names(collector.spans)[2:] == ["trial chosen", "model and data", "first step"]

    @pytest.mark.parametrize(
        "changes",
        [
            {"TRACEPARENT": ""},
            {"TRACEPARENT": "nonsense"},
            {"TRACEPARENT": f"{TRACEPARENT[:-1]}0"},
            {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
            {"OTEL_SDK_DISABLED": "true"},
        ],
    )
    def test_without_a_parent_or_a_collector_nothing_is_sent(
        self, collector: Collector, assignment: Assignment, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str]
    ) -> None:
        for name, value in changes.items():
            monkeypatch.setenv(name, value)
        trace_of(assignment, READY, STEP).close(20)
        assert collector.spans == []


def run_to_its_end(control_plane: SmallControlPlane, **environment: str) -> tuple[int, str]:
    """Return (exit code, output)."""
    done = subprocess.run(
        [sys.executable, "-m", "workers"],
        env=os.environ
        | {"FGD_URL": control_plane.url, "FGD_ATTEMPT_ID": "job1-1", "FGD_ATTEMPT_TOKEN": TOKEN}
        | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )
    return done.returncode, done.stdout + done.stderr


class TestRun:
    def test_a_run_that_fails_early_is_traced_until_its_end(
        self, control_plane: SmallControlPlane, assignment: Assignment, collector: Collector
    ) -> None:
        spec = EvaluateSpec(name="missing", checkpoint="/nowhere/best.pt", data=assignment.spec.data)
        control_plane.assignment = assignment.model_copy(update={"spec": spec})
        assert run_to_its_end(control_plane)[0] == 1
        assert {"assignment", "imports", "device", "the rest"} <= set(names(collector.spans))
        assert [span.name for span in collector.spans if span.is_error] == ["start of the run"]

    def test_a_collector_that_does_not_answer_neither_blocks_a_run_nor_fills_its_log(
        self, control_plane: SmallControlPlane
    ) -> None:
        code, output = run_to_its_end(control_plane)
        with otlp_collector.running(answers=False) as collector:
            # The exporter alone would wait for an answer until long after `run_to_its_end` has given up.
            code_traced, output_traced = run_to_its_end(
                control_plane,
                OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
                OTEL_EXPORTER_OTLP_TIMEOUT=str(100 * WAIT_S),
                TRACEPARENT=TRACEPARENT,
            )
            assert collector.num_requests == 1
        assert (code, code_traced) == (0, 0)
        assert output_traced.splitlines()[0] == output.splitlines()[0]
        assert not any(word in output_traced for word in ("Traceback", "opentelemetry", "export"))
