"""A spec may be sent as it is written in a file: YAML becomes JSON before anything looks at it."""

import json
from typing import Any

import yaml
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fgd_core.errors import FgdError, SpecError
from service.api import problems
from service.errors import TooLargeError

_PATHS = frozenset({"/v1/jobs"})
# application/yaml is the registered one (RFC 9512); the others are what clients send.
_YAML = frozenset({"application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"})
# The parser takes a second for so much, in which nobody else is answered; a long sweep's spec has a tenth of it.
_MAX_BYTES = 100_000


class YamlBodies:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] not in _PATHS or not _is_yaml(scope):
            await self._app(scope, receive, send)
            return
        try:
            body = _as_json(await Request(scope, receive).body())
        except FgdError as refusal:
            await problems.of_error(refusal)(scope, receive, send)
            return
        headers = MutableHeaders(raw=list(scope["headers"]))
        headers["Content-Type"] = "application/json"
        headers["Content-Length"] = str(len(body))
        was_read = False

        async def receive_json() -> Message:
            nonlocal was_read
            if was_read:
                return await receive()
            was_read = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app({**scope, "headers": headers.raw}, receive_json, send)


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
        TooLargeError: to read it would keep everybody else waiting.
    """
    if len(body) > _MAX_BYTES:
        raise TooLargeError(
            f"the YAML has {len(body)} bytes, and {_MAX_BYTES} are the most; send it as JSON", max_bytes=_MAX_BYTES
        )
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
