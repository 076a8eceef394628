"""What a run is told about its job's trace, in the environment of its process.

TRACEPARENT, as W3C Trace Context writes it, names the span that the run is below; the standard variables of
OpenTelemetry say where spans go. Without either, nothing is traced.
"""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

TRACEPARENT = "TRACEPARENT"

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_HOW = ("OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_COMPRESSION")
_FORM = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


def is_on(environment: Mapping[str, str]) -> bool:
    """Whether spans have somewhere to go, and nobody has turned them off."""
    return (
        any(environment.get(name) for name in _ENDPOINTS)
        and environment.get("OTEL_SDK_DISABLED", "").strip().lower() != "true"
        and environment.get("OTEL_TRACES_EXPORTER", "").strip().lower() != "none"
    )


def is_sampled(traceparent: str) -> bool:
    """Whether it is one, and whoever began the trace wants it kept."""
    form = _FORM.fullmatch(traceparent)
    return form is not None and bool(int(form[3], 16) & 1)


def header(environment: Mapping[str, str]) -> dict[str, str]:
    """What a client sends along whose caller, a pipeline for example, traces and has set TRACEPARENT."""
    traceparent = environment.get(TRACEPARENT, "")
    return {"traceparent": traceparent} if _FORM.fullmatch(traceparent) else {}


def for_run(traceparent: str | None, environment: Mapping[str, str]) -> dict[str, str]:
    """What a run needs of the control plane's environment to go on with the trace; nothing where there is none.

    Everybody who sees the cluster can read it. So OTEL_EXPORTER_OTLP_HEADERS stays here, which is where collectors'
    keys are kept, and so does an address with a password in it: nodes have their own. The rest of OTEL_* is about the
    control plane itself, its name above all.
    """
    if traceparent is None:
        return {}
    told = {name: environment[name] for name in (*_ENDPOINTS, *_HOW) if environment.get(name)}
    return {TRACEPARENT: traceparent} | {name: value for name, value in told.items() if not _has_password(value)}


def _has_password(value: str) -> bool:
    return "@" in urlsplit(value).netloc
