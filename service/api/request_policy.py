"""The request policy: requests that the server rejects from the request line and the headers alone."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from fgd_core.errors import FgdError, SpecError
from service.api import body_limits, problems
from service.errors import ForbiddenError, LengthMissingError
from service.loopback import is_loopback
from service.settings import Settings


class RequestPolicy:
    """Rejects a NUL in the URL, a body without a length or above its limit and, without tokens, cross-site requests.

    A page of any web site can send requests to 127.0.0.1: with its own Origin, or through its own host name
    that resolves to this machine (DNS rebinding); with such a name it could even read the answers. Programs send no
    Origin, and use one of this server's own names.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._needs_tokens = settings.auth == "tokens"
        self._own_names = _own_names(settings)
        self._max_file_bytes = settings.max_file_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is not None:
            await problems.of_error(refusal)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> FgdError | None:
        if "\x00" in scope["path"] or b"%00" in scope["query_string"]:
            # PostgreSQL cannot store a text that contains NUL.
            return SpecError("the URL contains a NUL character; send it without")
        headers = Headers(scope=scope)
        is_reading = scope["method"] in body_limits.READING
        if not is_reading and (refusal := self._refusal_of_length(scope, headers)) is not None:
            return refusal
        if self._needs_tokens:
            return None
        host = headers.get("Host", "")
        name = _host_name(f"//{host}")
        if name is None or not (is_loopback(name) or name in self._own_names):
            return ForbiddenError(
                f"the Host header {host[:100]!r} is not a name of this server; use one of its names, or add this one "
                "to FGD_ALLOWED_HOSTS",
                host=host[:100],
            )
        origin = headers.get("Origin")
        if origin is not None and not is_reading and not is_same_origin(origin, host):
            return ForbiddenError(
                f"a web page of {origin[:100]!r} cannot change anything on this server; send the request from this "
                "server's own pages or from a program",
                origin=origin[:100],
            )
        return None

    def _refusal_of_length(self, scope: Scope, headers: Headers) -> FgdError | None:
        if "chunked" in headers.get("Transfer-Encoding", ""):
            return LengthMissingError("the request has no Content-Length; send the body with its length, not chunked")
        # An uploaded file goes to the storage in blocks; memory does not limit its size.
        is_upload = body_limits.is_file_upload(scope)
        max_bytes = self._max_file_bytes if is_upload else body_limits.of_path(scope["path"]).max_bytes
        length = headers.get("Content-Length", "")[:20]
        if length.isdigit() and int(length) > max_bytes:
            return body_limits.too_large(int(length), max_bytes)
        return None


def check_own_page(headers: Headers, own_url: str | None) -> None:
    """Check that no page of another site sends this request with a browser's cookie.

    Args:
        own_url: the address that a proxy in front of this server has; None without one.
    Raises:
        ForbiddenError: the request comes from another site, or does not say where it comes from.
    """
    origin = headers.get("Origin")
    if origin is None and headers.get("Sec-Fetch-Site") == "same-origin":
        return
    own_hosts = [headers.get("Host", ""), urlsplit(own_url or "").netloc]
    if origin is None or not any(is_same_origin(origin, host) for host in own_hosts if host):
        raise cross_site((origin or "nowhere")[:100])


def cross_site(origin: str) -> ForbiddenError:
    """Return the refusal of a request from the page of another site."""
    return ForbiddenError(
        f"a web page of {origin!r} cannot change anything on this server; send the request from this server's own "
        "pages, or from a program with its token as `Authorization: Bearer …`",
        origin=origin,
    )


def is_same_origin(origin: str, host: str) -> bool:
    """Tells whether `origin`, the value of an Origin header, is a page of the server called `host`."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def _own_names(settings: Settings) -> frozenset[str]:
    names: Iterable[str | None] = (settings.host, _host_name(settings.public_url), *settings.allowed_hosts)
    return frozenset(name.lower() for name in names if name)


def _host_name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
