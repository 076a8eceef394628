"""What is turned away unread: a server without tokens must not answer to web pages that its user happens to visit."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from fgd_core.errors import FgdError, SpecError
from service.api import bodies, problems
from service.api.attempt_files import is_file
from service.errors import ForbiddenError, LengthMissingError, TooLargeError
from service.loopback import is_loopback
from service.settings import Settings


class FrontDoor:
    """Refuses a NUL in the URL, a body without measure and, without tokens, requests that a browser was tricked into.

    A page of any site can send requests to 127.0.0.1: with an Origin of its own, or under a name of its own that it has
    made to point here, and then it may even read the answers. Programs send no Origin, and call us by our name.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._asks_tokens = settings.auth == "tokens"
        self._names = _names(settings)
        self._max_file_bytes = settings.max_file_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is not None:
            await problems.of_error(refusal)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> FgdError | None:
        if "\x00" in scope["path"] or b"%00" in scope["query_string"]:
            # PostgreSQL knows no text with a NUL in it.
            return SpecError("the URL contains a NUL character; send it without")
        headers = Headers(scope=scope)
        if scope["method"] not in bodies.READING:
            # A file is not in memory: it goes to the storage as it comes.
            max_bytes = self._max_file_bytes if is_file(scope) else bodies.bounds(scope["path"]).max_bytes
            if (refusal := _measured(headers, max_bytes)) is not None:
                return refusal
        if self._asks_tokens:
            return None
        host = headers.get("Host", "")
        name = _host_name(f"//{host}")
        if name is None or not (is_loopback(name) or name in self._names):
            return ForbiddenError(
                f"this server does not go by the name {host[:100]!r}; call it by one of its own, or add it to "
                "FGD_ALLOWED_HOSTS",
                host=host[:100],
            )
        origin = headers.get("Origin")
        if origin is not None and scope["method"] not in bodies.READING and not is_same(origin, host):
            return ForbiddenError(
                f"a web page of {origin[:100]!r} may change nothing here; send the request from this server's own "
                "pages, or from a program",
                origin=origin[:100],
            )
        return None


def _measured(headers: Headers, max_bytes: int) -> FgdError | None:
    if "chunked" in headers.get("Transfer-Encoding", ""):
        return LengthMissingError("send the body with its Content-Length")
    length = headers.get("Content-Length", "")[:20]
    if length.isdigit() and int(length) > max_bytes:
        message = f"the body has {length} bytes, and {max_bytes} are the most; send less at once"
        return TooLargeError(message, max_bytes=max_bytes)
    return None


def is_same(origin: str, host: str) -> bool:
    """Whether a page of `origin`, as browsers tell it, is one of this server's, called `host`."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def _names(settings: Settings) -> frozenset[str]:
    own: Iterable[str | None] = (settings.host, _host_name(settings.public_url), *settings.allowed_hosts)
    return frozenset(name.lower() for name in own if name)


def _host_name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
