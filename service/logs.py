"""Configures the structured logs of the control plane: one event per line, on standard error."""

import logging
import sys

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor, WrappedLogger


def configure(*, as_json: bool = False, level: int = logging.INFO) -> None:
    """Format our events and those of the libraries in the same way."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        add_trace_id,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Plain tracebacks: rich tracebacks print all local variables, including tokens.
    console = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    renderer: Processor = structlog.processors.JSONRenderer() if as_json else console
    # Loggers are not cached: a cache saves 2 of some 25 us per line, and tests could not capture cached loggers.
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    last_steps: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if as_json:
        last_steps.append(structlog.processors.format_exc_info)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[*last_steps, renderer])
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Our middleware logs requests, with their id; httpx would log every request to Ray.
    for library in ("uvicorn.access", "httpx", "httpcore", "aiosqlite", "alembic.runtime.migration"):
        logging.getLogger(library).setLevel(logging.WARNING)


def add_trace_id(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Add the id of the current trace, if there is one."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
    return event
