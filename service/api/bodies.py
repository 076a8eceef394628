"""Bodies, bounded before anything is built of them, so that no request holds up the others.

All that follows (parsing, validation, the words of a refusal) takes time by the number of values in a body, and runs in
the one loop that answers everybody. A spec may also be sent as it is written in a file: YAML becomes JSON here.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import yaml
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fgd_core.errors import FgdError, SpecError
from service.api import problems
from service.api.attempt_files import is_file
from service.api.computing import apart
from service.errors import TooLargeError

READING = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Bounds:
    max_bytes: int
    max_values: int
    """By the commas and opening brackets, those in texts among them: to count costs nothing, to parse does."""
    max_depth: int = 40
    are_facts: bool = False
    """Of a run, which are kept whatever they hold."""


_OF_SPECS = Bounds(1_000_000, 10_000)
# A run sends 1 MB at once, or a single event that is larger.
_OF_BATCHES = Bounds(16_000_000, 100_000, max_depth=500, are_facts=True)
_OF_OTHERS = Bounds(100_000, 5_000)
# Forwarded to Ray as they are.
_OF_RAY = Bounds(16_000_000, 0)

_SPECS = "/v1/jobs"
_BATCHES = re.compile(r"/v1/attempts/[^/]+/events")
# application/yaml is the registered one (RFC 9512); the others are what clients send.
_YAML = frozenset({"application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"})
_MAX_YAML_BYTES = 100_000
"""The parser, which is Python, takes a second for so much; a long sweep's spec has a tenth of it."""


def bounds(path: str) -> Bounds:
    if not path.startswith("/v1/"):
        return _OF_RAY
    if path == _SPECS:
        return _OF_SPECS
    return _OF_BATCHES if _BATCHES.fullmatch(path) else _OF_OTHERS


class Bodies:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_checked(scope):
            await self._app(scope, receive, send)
            return
        within = bounds(scope["path"])
        try:
            body = await Request(scope, receive).body()
            if scope["path"] == _SPECS and _is_yaml(scope):
                body = await apart(_as_json, body)
                scope = _with_headers(scope, {"Content-Type": "application/json", "Content-Length": str(len(body))})
            check(body, within)
        except ClientDisconnect:
            return
        except FgdError as refusal:
            await problems.of_error(refusal)(scope, receive, send)
            return
        await self._app(scope, _again(body, receive), send)


def check(body: bytes, within: Bounds) -> None:
    """
    Raises:
        TooLargeError: to build it in memory, and to say what is wrong with it, would keep everybody else waiting.
        SpecError: it nests too deep, or is not in UTF-8.
    """
    if len(body) > within.max_bytes:
        raise too_long(len(body), within)
    if json.detect_encoding(body) not in ("utf-8", "utf-8-sig"):
        raise SpecError("the body is not in UTF-8; encode it so, as JSON is")
    num_values = 1 + body.count(b",") + body.count(b"[") + body.count(b"{")
    if num_values > within.max_values:
        message = f"the body has up to {num_values} values, and {within.max_values} are the most; send less at once"
        raise TooLargeError(message, max_values=within.max_values)
    # A bracket in a text may stand alone, so what looks deep is looked at without its texts.
    if _depth(body) > within.max_depth and _depth(_TEXT.sub(b"", body)) > within.max_depth:
        message = f"the body holds lists and objects in each other more than {within.max_depth} deep; write it flatter"
        raise SpecError(message, max_depth=within.max_depth)
    if not within.are_facts:
        _check_values(body)


def _check_values(body: bytes) -> None:
    """Raises SpecError for what no database and no field has room for."""
    if _LONG_NUMBER.search(body) and _LONG_NUMBER.search(_TEXT.sub(b"", body)):
        raise SpecError("the body holds a whole number of 20 digits or more, beyond 64 bits; lower it")
    if _HALF.search(body):
        try:
            # Written without escapes, a half of a pair shows.
            json.dumps(json.loads(body), ensure_ascii=False).encode()
        except UnicodeEncodeError as cause:
            raise SpecError("a text of the body holds half of a surrogate pair, which is no character") from cause
        except ValueError:
            # No JSON: that is for its reader to say.
            return


def too_long(num_bytes: int, within: Bounds) -> TooLargeError:
    message = f"the body has {num_bytes} bytes, and {within.max_bytes} are the most; send less at once"
    return TooLargeError(message, max_bytes=within.max_bytes)


_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
# As an escape, or as bytes.
_HALF = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")
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
        and not is_file(scope)
    )


def _with_headers(scope: Scope, changed: dict[str, str]) -> Scope:
    headers = MutableHeaders(raw=list(scope["headers"]))
    headers.update(changed)
    return {**scope, "headers": headers.raw}


def _again(body: bytes, receive: Receive) -> Receive:
    """Gives out a body that was read already."""
    messages: Iterator[Message] = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def again() -> Message:
        return next(messages, None) or await receive()

    return again


class _Loader(yaml.SafeLoader):
    """Without aliases: a few lines of them can stand for more than any memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases are not taken here", event.start_mark)
        return super().compose_node(parent, index)


def _is_yaml(scope: Scope) -> bool:
    return Headers(scope=scope).get("Content-Type", "").partition(";")[0].strip().lower() in _YAML


def _as_json(body: bytes) -> bytes:
    """
    Raises:
        SpecError: it is no YAML, or something that JSON has no word for.
        TooLargeError: it is too long.
    """
    if len(body) > _MAX_YAML_BYTES:
        message = f"the YAML has {len(body)} bytes, and {_MAX_YAML_BYTES} are the most; send it as JSON"
        raise TooLargeError(message, max_bytes=_MAX_YAML_BYTES)
    try:
        return json.dumps(_Loader(body).get_single_data(), allow_nan=False).encode()
    except yaml.MarkedYAMLError as cause:
        line = cause.problem_mark.line + 1 if cause.problem_mark is not None else None
        raise SpecError(f"the body is no YAML: line {line}: {cause.problem}", line=line) from cause
    except (yaml.YAMLError, UnicodeDecodeError) as cause:
        raise SpecError(f"the body is no YAML in UTF-8: {cause}") from cause
    except (TypeError, ValueError, RecursionError) as cause:
        raise SpecError(
            f"the YAML of the body says something that JSON cannot: {cause}; put a date in quotation marks"
        ) from cause
