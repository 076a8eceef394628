"""Traces with OpenTelemetry. Off, and the SDK is not loaded, unless the standard variables name a collector."""

import importlib
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Literal, Protocol, TypeAlias

import structlog
from fastapi.telemetry import TelemetryConfig

from fgd_core.spec.tracing import is_on

Attributes: TypeAlias = Mapping[str, str | int]
Kind: TypeAlias = Literal["internal", "client"]

log = structlog.get_logger(__name__)


class Span(Protocol):
    """One timed operation in a trace."""

    @property
    def traceparent(self) -> str | None:
        """Identifies the span to other services, as in W3C Trace Context; None if nothing is traced."""

    def note(self, attributes: Attributes) -> None:
        """Add attributes to the span."""
        return


class Tracing(Protocol):
    """Records spans."""

    def of_requests(self) -> TelemetryConfig:
        """Configure the spans that FastAPI makes of requests; a `traceparent` of the caller becomes the parent."""

    def span(
        self, name: str, *, kind: Kind = "internal", parent: str | None = None, attributes: Attributes | None = None
    ) -> AbstractContextManager[Span]:
        """Record the block as a span, whose parent is the traceparent `parent`, or else the current span."""

    def record(self, name: str, began_at: datetime, ended_at: datetime, *, parent: str, attributes: Attributes) -> None:
        """Record a span that has ended."""
        return

    def current(self) -> Span:
        """Return the current span."""

    async def close(self) -> None:
        """Send the remaining spans; gives up after a short time."""
        return


def from_environment(environment: Mapping[str, str] = os.environ) -> Tracing:
    """Make what OpenTelemetry's standard variables configure; `OFF` if they name no collector."""
    if not is_on(environment):
        return OFF
    protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol not in (None, "", "http/protobuf"):
        log.warning(
            "tracing_protocol_unknown", protocol=protocol, cure="spans go as http/protobuf, mostly to port 4318"
        )
    # By name and only now: without tracing, the SDK is not needed.
    tracing: Tracing = importlib.import_module("service.tracing.otlp").OtlpTracing()
    return tracing


class _NoSpan(Span):
    traceparent: str | None = None


class _Off(Tracing):
    """Records nothing."""

    def of_requests(self) -> TelemetryConfig:
        return {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}

    def span(
        self, name: str, *, kind: Kind = "internal", parent: str | None = None, attributes: Attributes | None = None
    ) -> AbstractContextManager[Span]:
        return _NOTHING

    def current(self) -> Span:
        return _NO_SPAN


_NO_SPAN: Span = _NoSpan()
_NOTHING: AbstractContextManager[Span] = nullcontext(_NO_SPAN)
OFF: Tracing = _Off()
