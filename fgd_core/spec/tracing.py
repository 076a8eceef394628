"""Passes a job's trace to its run, through environment variables.

TRACEPARENT, in the format of W3C Trace Context, names the parent span of the run. OpenTelemetry's standard variables
name the collector. Without both of them, nothing is traced.
"""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

TRACEPARENT = "TRACEPARENT"

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_HOW = ("OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_COMPRESSION")
_FORM = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


def is_on(environment: Mapping[str, str]) -> bool:
    """Return whether a collector is set and tracing is not turned off."""
    return (
        any(environment.get(name) for name in _ENDPOINTS)
        and environment.get("OTEL_SDK_DISABLED", "").strip().lower() != "true"
        and environment.get("OTEL_TRACES_EXPORTER", "").strip().lower() != "none"
    )


def is_sampled(traceparent: str) -> bool:
    """Return whether the value is a valid traceparent whose trace is sampled."""
    form = _FORM.fullmatch(traceparent)
    return form is not None and bool(int(form[3], 16) & 1)


def header(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the header for a client's requests; empty unless its caller, for example a pipeline, has set
    TRACEPARENT."""
    traceparent = environment.get(TRACEPARENT, "")
    return {"traceparent": traceparent} if _FORM.fullmatch(traceparent) else {}


def for_run(traceparent: str | None, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the control plane that a run needs to continue the trace; empty without a trace.

    Every user of the cluster can read them. Therefore OTEL_EXPORTER_OTLP_HEADERS, which holds the collector's keys, and
    addresses with a password are not passed on; nodes have their own. The other OTEL_* variables describe the control
    plane itself, for example its name.
    """
    if traceparent is None:
        return {}
    found = {name: environment[name] for name in (*_ENDPOINTS, *_HOW) if environment.get(name)}
    return {TRACEPARENT: traceparent} | {name: value for name, value in found.items() if not _has_password(value)}


def _has_password(value: str) -> bool:
    return "@" in urlsplit(value).netloc
