"""Traces with OpenTelemetry: off, and its SDK not loaded, unless the standard variables name a collector."""

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
    @property
    def traceparent(self) -> str | None:
        """What names it to others, after W3C Trace Context; None where nothing is traced."""
        ...

    def note(self, attributes: Attributes) -> None: ...


class Tracing(Protocol):
    def of_requests(self) -> TelemetryConfig:
        """How FastAPI makes spans of requests, each below the caller's own where that sends a `traceparent`."""
        ...

    def span(
        self, name: str, *, kind: Kind = "internal", parent: str | None = None, attributes: Attributes | None = None
    ) -> AbstractContextManager[Span]:
        """What is done in the block: below `parent`, a traceparent, or else below the span around it."""
        ...

    def record(self, name: str, began_at: datetime, ended_at: datetime, *, parent: str, attributes: Attributes) -> None:
        """A span of something that is over."""
        ...

    def current(self) -> Span:
        """The span around what is being done."""
        ...

    async def close(self) -> None:
        """Deliver what is there, if that goes quickly."""
        ...


def from_environment(environment: Mapping[str, str] = os.environ) -> Tracing:
    if not is_on(environment):
        return OFF
    protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol not in (None, "", "http/protobuf"):
        log.warning("tracing_protocol_unknown", protocol=protocol, cure="spans go as http/protobuf, port 4318 mostly")
    # By name and only now: who does not trace should not pay for it.
    tracing: Tracing = importlib.import_module("service.tracing.otlp").OtlpTracing()
    return tracing


class _NoSpan:
    traceparent: str | None = None

    def note(self, attributes: Attributes) -> None:
        return


class _Off:
    def of_requests(self) -> TelemetryConfig:
        return {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}

    def span(
        self, name: str, *, kind: Kind = "internal", parent: str | None = None, attributes: Attributes | None = None
    ) -> AbstractContextManager[Span]:
        return _NOTHING

    def record(self, name: str, began_at: datetime, ended_at: datetime, *, parent: str, attributes: Attributes) -> None:
        return

    def current(self) -> Span:
        return _NO_SPAN

    async def close(self) -> None:
        return


_NO_SPAN: Span = _NoSpan()
_NOTHING: AbstractContextManager[Span] = nullcontext(_NO_SPAN)
OFF: Tracing = _Off()
