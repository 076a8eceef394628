"""One HTTP client for both systems: a persistent connection with little overhead."""

import http.client
import json
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from benchmarks.control_plane.systems import Request


class Connection:
    """Sends requests over one persistent connection."""

    def __init__(self, port: int) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def __enter__(self) -> Self:
        self._http.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def send(self, request: "Request") -> tuple[int, bytes]:
        """Return the status and the body of the answer."""
        headers = {"Content-Type": "application/json", **request.headers}
        self._http.request(request.method, request.path, request.body, headers)
        answer = self._http.getresponse()
        return answer.status, answer.read()

    def ok(self, request: "Request") -> Any:
        """Return the answer's JSON; raises SystemExit for a refusal, which must not be measured."""
        status, body = self.send(request)
        if status >= 300:
            raise SystemExit(f"{request.method} {request.path}: {status} {body[:500]!r}")
        return json.loads(body)
