"""Limits on request bodies, checked before anything parses them, so that no request blocks the others.

Parsing, validation and the wording of a refusal take time in proportion to the number of values in a body, and they run
in the event loop that answers everybody. A job's spec may also come as YAML; this module converts it to JSON.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fgd_core.errors import FgdError, SpecError
from service.api import problems, yaml_documents
from service.api.compute_thread import run_in_compute_thread
from service.errors import TooLargeError

READING = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Limits:
    """What a body may hold."""

    max_bytes: int
    max_values: int
    """Counted by commas and opening brackets, also those inside strings: counting is cheap, parsing is not."""
    max_depth: int = 40
    holds_events: bool = False
    """True for reports of runs: the server stores their events, even with invalid values."""


_SPECS = Limits(1_000_000, 10_000)
# A run sends batches of up to 1 MB, or a single event that is larger.
_EVENT_BATCHES = Limits(16_000_000, 100_000, max_depth=500, holds_events=True)
_OTHERS = Limits(100_000, 5_000)
# The proxy forwards these bodies to Ray unparsed.
_FOR_RAY = Limits(16_000_000, 0)

_SPECS_PATH = "/v1/jobs"
_EVENTS_PATH = re.compile(r"/v1/attempts/[^/]+/events")
_FILE_PATH = re.compile(r"/v1/attempts/[^/]+/files/.")
# application/yaml is the registered media type (RFC 9512); clients send the others as well.
_YAML = frozenset({"application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"})


def of_path(path: str) -> Limits:
    """Return the limits for the bodies of requests to `path`."""
    if not path.startswith("/v1/"):
        return _FOR_RAY
    if path == _SPECS_PATH:
        return _SPECS
    return _EVENT_BATCHES if _EVENTS_PATH.fullmatch(path) else _OTHERS


def is_file_upload(scope: Scope) -> bool:
    """Tells whether the body of a request is a file, to which only the limit on files applies."""
    return scope["method"] == "PUT" and _FILE_PATH.match(scope["path"]) is not None


class BodyLimits:
    """Reads the body of each request that changes something, checks it against its limits, and passes it on as JSON."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_checked(scope):
            await self._app(scope, receive, send)
            return
        try:
            body = await Request(scope, receive).body()
            if scope["path"] == _SPECS_PATH and _is_yaml(scope):
                body = await run_in_compute_thread(yaml_documents.to_json, body)
                scope = _with_headers(scope, {"Content-Type": "application/json", "Content-Length": str(len(body))})
            check(body, of_path(scope["path"]))
        except ClientDisconnect:
            return
        except FgdError as refusal:
            await problems.of_error(refusal)(scope, receive, send)
            return
        await self._app(scope, _replaying(body, receive), send)


def check(body: bytes, limits: Limits) -> None:
    """Check a body against its limits, without parsing it.

    Raises:
        TooLargeError: the body has too many bytes or values; parsing it, or listing its errors, would block the server.
        SpecError: the body is not UTF-8, nests too deep, or holds a value that the database cannot store.
    """
    if len(body) > limits.max_bytes:
        raise too_large(len(body), limits.max_bytes)
    if json.detect_encoding(body) not in ("utf-8", "utf-8-sig"):
        raise SpecError("the body is not UTF-8; encode it as UTF-8")
    num_values = 1 + body.count(b",") + body.count(b"[") + body.count(b"{")
    if num_values > limits.max_values:
        raise TooLargeError(
            f"the body has up to {num_values} values; the limit is {limits.max_values}. Split it into several requests",
            max_values=limits.max_values,
        )
    # A string may contain a bracket without its pair, so the depth of a suspicious body is computed without strings.
    if _depth(body) > limits.max_depth and _depth(_STRING.sub(b"", body)) > limits.max_depth:
        raise SpecError(
            f"the body nests lists and objects more than {limits.max_depth} levels deep; use fewer levels",
            max_depth=limits.max_depth,
        )
    if not limits.holds_events:
        _check_values(body)


def too_large(num_bytes: int, max_bytes: int) -> TooLargeError:
    """Return the error for a body above its limit."""
    message = f"the body has {num_bytes} bytes; the limit is {max_bytes}. Split it into several requests"
    return TooLargeError(message, max_bytes=max_bytes)


def _check_values(body: bytes) -> None:
    """Raises SpecError for a number or a character that the database cannot store."""
    if _LONG_NUMBER.search(body) and _LONG_NUMBER.search(_STRING.sub(b"", body)):
        raise SpecError("the body holds a whole number of 20 or more digits, which exceeds 64 bits; use a smaller one")
    if _SURROGATE.search(body):
        try:
            # Encoding without escapes fails for a surrogate that has no partner.
            json.dumps(json.loads(body), ensure_ascii=False).encode()
        except UnicodeEncodeError as cause:
            message = "a string in the body holds half of a surrogate pair, which is not a character; remove it"
            raise SpecError(message) from cause
        except ValueError:
            # The body is not JSON; the JSON parser reports that.
            return


_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
# As an escape, or as bytes.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")
_LONG_NUMBER = re.compile(rb"(?<![\d.eE+])\d{20,}(?![\d.eE])")
_STEPS = {**dict.fromkeys(b"[{", 1), **dict.fromkeys(b"]}", -1)}
_NO_BRACKETS = bytes(set(range(256)) - set(_STEPS))


def _depth(body: bytes) -> int:
    brackets = body.translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0)


def _is_checked(scope: Scope) -> bool:
    return (
        scope["type"] == "http"
        and scope["method"] not in READING
        and scope["path"].startswith("/v1/")
        and not is_file_upload(scope)
    )


def _with_headers(scope: Scope, changed: dict[str, str]) -> Scope:
    headers = MutableHeaders(raw=list(scope["headers"]))
    headers.update(changed)
    return {**scope, "headers": headers.raw}


def _replaying(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that first delivers a body that was read already."""
    messages: Iterator[Message] = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def replay() -> Message:
        return next(messages, None) or await receive()

    return replay


def _is_yaml(scope: Scope) -> bool:
    return Headers(scope=scope).get("Content-Type", "").partition(";")[0].strip().lower() in _YAML
