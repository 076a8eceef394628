"""An OpenTelemetry collector for tests: receives spans over HTTP and keeps them."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Span:
    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    """Empty for a root."""
    began_s: float
    ended_s: float
    attributes: dict[str, str | int]
    is_error: bool
    authorization: str | None
    """Header of the request that delivered the span."""


class Collector:
    def __init__(self, url: str, spans: list[Span]) -> None:
        self.url = url
        self.spans = spans
        self.num_requests = 0

    def wait_for(self, so: Callable[[list[Span]], bool], timeout_s: float = 20.0) -> list[Span]:
        deadline = time.monotonic() + timeout_s
        while not so(found := list(self.spans)):
            assert time.monotonic() < deadline, [(span.service, span.name) for span in found]
            time.sleep(0.05)
        return found


@contextmanager
def running(*, answers: bool = True) -> Iterator[Collector]:
    """Run a collector on loopback.

    Args:
        answers: False makes it read requests without an answer.
    """
    spans: list[Span] = []
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.num_requests += 1
            if not answers:
                over.wait()
                return
            status = 200 if self.path == "/v1/traces" else 404
            if status == 200:
                spans.extend(_read(body, self.headers.get("Authorization")))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector = Collector(f"http://127.0.0.1:{server.server_port}", spans)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _read(body: bytes, authorization: str | None) -> Iterator[Span]:
    for of_process in ExportTraceServiceRequest.FromString(body).resource_spans:
        of_resource = {each.key: each.value.string_value for each in of_process.resource.attributes}
        for scope in of_process.scope_spans:
            for span in scope.spans:
                yield Span(
                    service=of_resource["service.name"],
                    name=span.name,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    began_s=span.start_time_unix_nano / 1e9,
                    ended_s=span.end_time_unix_nano / 1e9,
                    attributes={each.key: each.value.string_value or each.value.int_value for each in span.attributes},
                    is_error=span.status.code == span.status.STATUS_CODE_ERROR,
                    authorization=authorization,
                )
