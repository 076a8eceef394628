"""Follows a stream of server-sent events across dropped connections."""

import random
import time
from collections.abc import Callable, Iterator

import httpx
import httpx_sse

from fgd_core.errors import FgdError
from service.client.problems import accepted, unreachable
from service.client.transport import Query

# The server sends a comment every 15 s on a silent stream: if four are missing, the connection is dead.
_TIMEOUT = httpx.Timeout(10.0, read=60.0)
_LONGEST_PAUSE_S = 5.0

OnDrop = Callable[[float], None]


def follow(
    http: httpx.Client,
    path: str,
    *,
    params: Query | None = None,
    after: str | None = None,
    is_over: Callable[[str | None], bool],
    on_drop: OnDrop | None = None,
) -> Iterator[httpx_sse.ServerSentEvent]:
    """Yield the messages of a stream, each once.

    After the first connection, the client reconnects when a connection drops or the server restarts, and continues
    after the last message that it received.

    Args:
        after: the id of the message after which to begin.
        is_over: receives the last id when the server has ended the stream; returns True if no message will follow. The
            server also ends a stream that reaches its maximum lifetime.
        on_drop: receives the pause in seconds before each new connection.
    Raises:
        UnreachableError: the first connection failed.
        FgdError: the server refused the request.
    """
    pause_s = 0.0
    connected = False
    while True:
        is_dropped = False
        try:
            for message in _messages(http, path, params, after):
                connected = True
                if message is not None:
                    after = message.id or after
                    if message.data:
                        pause_s = 0.0
                        yield message
            if is_over(after):
                return
        except FgdError as error:
            if not connected or not error.retryable:
                raise
            is_dropped = True
        pause_s = min(_LONGEST_PAUSE_S, max(0.2, 2 * pause_s)) * random.uniform(0.8, 1.0)
        if is_dropped and on_drop is not None:
            on_drop(pause_s)
        time.sleep(pause_s)


def _messages(
    http: httpx.Client, path: str, params: Query | None, after: str | None
) -> Iterator[httpx_sse.ServerSentEvent | None]:
    """Yield None once connected, then the messages of one connection."""
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": after} if after is not None else {})
    given = {name: value for name, value in (params or {}).items() if value is not None}
    try:
        with httpx_sse.connect_sse(http, "GET", path, params=given, headers=headers, timeout=_TIMEOUT) as source:
            if not source.response.is_success:
                source.response.read()
            accepted(source.response)
            yield None
            yield from source.iter_sse()
    except (httpx.TransportError, httpx_sse.SSEError) as cause:
        raise unreachable(str(http.base_url).rstrip("/"), cause) from cause
