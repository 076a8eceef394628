"""A stream of server-sent events that outlives its connections."""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import httpx_sse

from fgd_core.errors import FgdError
from service.client.problems import accepted, unreachable

# The server sends a comment every 15 s on a silent stream: four missed ones mean a dead connection.
_TIMEOUT = httpx.Timeout(10.0, read=60.0)
_LONGEST_PAUSE_S = 5.0

OnDrop = Callable[[float], None]


def follow(
    http: httpx.Client,
    path: str,
    *,
    params: Mapping[str, Any] | None = None,
    after: str | None = None,
    is_over: Callable[[str | None], bool],
    on_drop: OnDrop | None = None,
) -> Iterator[httpx_sse.ServerSentEvent]:
    """Messages as they come, each connection behind the last id of the one before.

    Once a first connection stood, a dropped one or a restarting server is waited for, without end.

    Args:
        after: id of the message to begin behind.
        is_over: asked with the last id when the server has ended the stream, which it also does now and then.
        on_drop: told how many seconds it will pause before it connects again.
    Raises:
        UnreachableError: the first connection did not come about.
        FgdError: what the server refuses with.
    """
    pause_s = 0.0
    connected = False
    while True:
        is_dropped = False
        try:
            headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": after} if after is not None else {})
            options: dict[str, Any] = {"params": params, "headers": headers, "timeout": _TIMEOUT}
            try:
                with httpx_sse.connect_sse(http, "GET", path, **options) as source:
                    if not source.response.is_success:
                        source.response.read()
                    accepted(source.response)
                    connected = True
                    for sent in source.iter_sse():
                        after = sent.id or after
                        if sent.data:
                            pause_s = 0.0
                            yield sent
            except (httpx.TransportError, httpx_sse.SSEError) as cause:
                raise unreachable(str(http.base_url).rstrip("/"), cause) from cause
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
