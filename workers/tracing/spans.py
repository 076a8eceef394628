"""Notes of what was reached when, as spans sent to a collector."""

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
    """One span for the whole of it, and in it one for each thing that was reached; returns when they have arrived, or
    the exporter has given up.

    Args:
        parent: a traceparent.
        began_s: since the epoch, as all times.
        reached: each thing begins where the one before it ends.
        error: why the run ended before its work.
    """
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    resource = Resource.create({} if named else {"service.name": SERVICE})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    tracer = provider.get_tracer("fgd")
    above = TraceContextTextMapPropagator().extract({"traceparent": parent})
    whole = tracer.start_span("start of the run", above, attributes=attributes, start_time=_ns(began_s))
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
