"""Follows a stream of server-sent events across dropped connections."""

from collections.abc import Callable, Iterator

import httpx
import httpx_sse

from fgd_core.errors import FgdError
from fgd_core.retrying import Backoff, RetryPolicy, pause
from service.client.problems import accepted, unreachable
from service.client.transport import Query

# The server sends a comment every 15 s on a silent stream: if four are missing, the connection is dead.
_TIMEOUT = httpx.Timeout(10.0, read=60.0)
# A restart with a large migration, or a broken network, may take this long.
_RECONNECT = RetryPolicy(first_pause_s=0.25, longest_pause_s=5.0, timeout_s=3600.0)

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

    After the first connection, the client reconnects for up to an hour when a connection drops or the server restarts,
    and continues after the last message that it received.

    Args:
        after: the id of the message after which to begin.
        is_over: receives the last id when the server has ended the stream; returns True if no message will follow. The
            server also ends a stream that reaches its maximum lifetime.
        on_drop: receives the pause in seconds before each new connection.
    Raises:
        UnreachableError: the first connection failed, or the server has not answered for an hour.
        FgdError: the server refused the request.
    """
    backoff = Backoff(_RECONNECT)
    was_connected = False
    while True:
        is_connected = False
        dropped: FgdError | None = None
        try:
            for message in _messages(http, path, params, after):
                if message is None:
                    is_connected = was_connected = True
                    continue
                after = message.id or after
                if message.data:
                    yield message
            if is_over(after):
                return
        except FgdError as error:
            if not was_connected or not error.retryable:
                raise
            dropped = error
        if is_connected:
            # The hour counts from the end of the last connection, which may have been silent for longer.
            backoff.succeeded()
        pause_s = backoff.failed()
        if pause_s is None:
            assert dropped is not None
            raise dropped
        if dropped is not None and on_drop is not None:
            on_drop(pause_s)
        pause(pause_s)


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
