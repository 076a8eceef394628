"""Sends the control plane's spans to a collector, in batches, from a separate thread."""

import asyncio
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

import structlog
from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.tracing import Attributes, Kind, Span, Tracing

SERVICE = "fgd"
CLOSE_PATIENCE_S = 2.0
"""Time that a server's shutdown waits for its last spans to be sent."""

_KINDS = {"internal": trace.SpanKind.INTERNAL, "client": trace.SpanKind.CLIENT}
_W3C = TraceContextTextMapPropagator()

log = structlog.get_logger(__name__)


class OtlpTracing(Tracing):
    """Implements `Tracing`. OpenTelemetry's variables set the collector, the sampling and the name of the service."""

    def __init__(self) -> None:
        _redirect_logs()
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("fgd")

    def of_requests(self) -> TelemetryConfig:
        return {
            "tracer_provider": self._provider,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
            "exclude": _is_frequent,
        }

    @contextmanager
    def span(
        self, name: str, *, kind: Kind = "internal", parent: str | None = None, attributes: Attributes | None = None
    ) -> Iterator["OtlpSpan"]:
        with self._tracer.start_as_current_span(
            name, context=_below(parent), kind=_KINDS[kind], attributes=attributes
        ) as span:
            yield OtlpSpan(span)

    def record(self, name: str, began_at: datetime, ended_at: datetime, *, parent: str, attributes: Attributes) -> None:
        span = self._tracer.start_span(name, _below(parent), attributes=attributes, start_time=_ns(began_at))
        span.end(_ns(ended_at))

    def current(self) -> "OtlpSpan":
        return OtlpSpan(trace.get_current_span())

    async def close(self) -> None:
        # A daemon thread: otherwise a collector that does not answer would delay the end of the process.
        closing = threading.Thread(target=self._provider.shutdown, name="fgd-tracing-end", daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, CLOSE_PATIENCE_S)


class OtlpSpan(Span):
    """Implements `Span`."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str | None:
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, trace.set_span_in_context(self._span, Context()))
        return carrier.get("traceparent")

    def note(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)


def _is_frequent(scope: Mapping[str, object]) -> bool:
    """Whether it is a request that comes every second: reports of runs, probes, scrapes."""
    return str(scope["path"]).startswith(("/v1/attempts/", "/livez", "/readyz", "/metrics"))


def _below(traceparent: str | None) -> Context | None:
    """Return the parent's context; None means the current span."""
    return None if traceparent is None else _W3C.extract({"traceparent": traceparent}, Context())


def _ns(at: datetime) -> int:
    return int(at.timestamp() * 1e9)


def _resource() -> Resource:
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return Resource.create({} if named else {"service.name": SERVICE})


class _DebugHandler(logging.Handler):
    """Logs the messages of the libraries at level debug: an unreachable collector does not affect the server."""

    def emit(self, record: logging.LogRecord) -> None:
        log.debug("tracing", message=record.getMessage())


def _redirect_logs() -> None:
    library = logging.getLogger("opentelemetry")
    library.handlers[:] = [_DebugHandler()]
    library.propagate = False
