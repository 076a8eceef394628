"""One trace from the request to the first step, with a real control plane, Ray and collector."""

from pathlib import Path

import httpx
import pytest
from chain_runs import CALLER, TRACE_ID
from whole import Whole

from service.dispatcher.local import LocalRay
from tests.otlp_collector import Collector, Span

pytestmark = pytest.mark.ray

IN_THE_RUN = ("process start", "assignment", "first event", "imports", "device", "model and data", "first step")


def of_job(spans: list[Span], job_id: str, attempt: int) -> dict[str, Span]:
    return {
        s.name: s
        for s in spans
        if (s.attributes.get("fgd.job_id"), s.attributes.get("fgd.attempt")) == (job_id, attempt)
    }


def test_one_trace_covers_request_to_first_step_of_every_attempt(
    apart: Whole, collector: Collector, lost_chain: tuple[str, Path]
) -> None:
    job_id, _ = lost_chain
    variables = runtime_environment(apart, f"fgd-{job_id}-1")
    spans = collector.wait_for(lambda spans: all("first step" in of_job(spans, job_id, each) for each in (1, 2)))

    # Other tests have traces of their own in the same collector.
    spans = [span for span in spans if span.trace_id == TRACE_ID]
    [post] = [span for span in spans if span.name == "POST /v1/jobs"]
    assert (post.service, post.parent_id, post.trace_id) == ("fgd", CALLER, TRACE_ID)
    assert (post.attributes["fgd.job_id"], post.attributes["http.response.status_code"]) == (job_id, 202)
    [stored] = [span for span in spans if span.name == "admit and store"]
    assert stored.parent_id == post.span_id
    for attempt in (1, 2):
        found = of_job(spans, job_id, attempt)
        wait, lease, submission = found["wait in the queue"], found["lease"], found["submit to Ray"]
        assert {span.parent_id for span in (wait, lease, submission)} == {post.span_id}
        run = found["start of the run"]
        assert (run.service, run.parent_id) == ("fgd-run", submission.span_id)
        steps = sorted((span for span in spans if span.parent_id == run.span_id), key=lambda span: span.began_s)
        assert [span.name for span in steps if span.name in IN_THE_RUN] == list(IN_THE_RUN)
        assert {span.trace_id for span in found.values()} == {TRACE_ID}
        assert {span.attributes["fgd.kind"] for span in found.values()} == {"chain"}
        # The spans leave no gap between the request and the first step.
        assert post.began_s <= wait.began_s <= wait.ended_s <= lease.began_s <= lease.ended_s <= submission.began_s
        assert [span.began_s for span in steps[1:]] == [span.ended_s for span in steps[:-1]]
        assert (run.began_s, run.ended_s) == (steps[0].began_s, steps[-1].ended_s)
        first = post.began_s if attempt == 1 else wait.began_s
        print(f"\nattempt {attempt}, to the first step: {run.ended_s - first:.2f} s")
        for span in (wait, lease, submission, *steps):
            print(
                f"  {span.service:8}{span.name:20}{span.began_s - first:6.2f} s  {span.ended_s - span.began_s:6.3f} s"
            )
    assert {span.authorization for span in spans} == {"Bearer k3y"}
    assert variables["OTEL_EXPORTER_OTLP_ENDPOINT"] == collector.url
    assert variables["TRACEPARENT"] == f"00-{TRACE_ID}-{of_job(spans, job_id, 1)['submit to Ray'].span_id}-01"
    assert not [name for name, value in variables.items() if "HEADERS" in name or "k3y" in value]


def runtime_environment(whole: Whole, submission_id: str) -> dict[str, str]:
    """Return a run's environment variables, which everybody with access to the cluster can read."""
    answer = httpx.get(
        f"{whole.ray_url}/api/jobs/{submission_id}",
        headers={"Authorization": f"Bearer {LocalRay(whole.home).token}"},
    )
    variables: dict[str, str] = answer.json()["runtime_env"]["env_vars"]
    return variables
