"""Sends the recorded points of a run's start to a collector, as spans."""

import os
from collections.abc import Mapping, Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

SERVICE = "fgd-run"


def send(
    parent: str,
    began_s: float,
    reached: Sequence[tuple[str, float]],
    *,
    attributes: Mapping[str, str | int],
    error: str | None,
) -> None:
    """Send one span for the whole start, and inside it one span for each point that was reached.

    Returns when the collector has the spans, or the exporter has given up.

    Args:
        parent: a traceparent.
        began_s: seconds since the epoch, as all times here.
        reached: (name, end) of each span; it begins where the span before it ends.
        error: why the run ended before its first step.
    """
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    resource = Resource.create({} if named else {"service.name": SERVICE})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    tracer = provider.get_tracer("fgd")
    parent_context = TraceContextTextMapPropagator().extract({"traceparent": parent})
    whole = tracer.start_span("start of the run", parent_context, attributes=attributes, start_time=_ns(began_s))
    if error is not None:
        whole.set_status(StatusCode.ERROR, error)
    within, before_s = set_span_in_context(whole), began_s
    for what, at_s in reached:
        span = tracer.start_span(what, within, attributes=attributes, start_time=_ns(before_s))
        span.end(_ns(at_s))
        before_s = at_s
    whole.end(_ns(before_s))
    provider.shutdown()


def _ns(at_s: float) -> int:
    return int(at_s * 1e9)
