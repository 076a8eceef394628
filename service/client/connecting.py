"""Opens the HTTP connection to one server: its address, the API token, certificates and proxies of the environment."""

import os
import urllib.request
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx

from service.certificates import trusted_by_client_of
from service.client.errors import UsageError
from service.client.paths import expanded
from service.loopback import is_loopback

DEFAULT_URL = "http://127.0.0.1:8321"
_SERVER = "FGD_SERVER"
# The token is never an argument: every user of a machine can read the arguments of a process.
_TOKEN, _TOKEN_FILE = "FGD_TOKEN", "FGD_TOKEN_FILE"
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def server_url(given: str | None = None) -> str:
    """Return the server's URL without a trailing slash: `given`, else FGD_SERVER, else the default.

    Raises:
        UsageError: it is not the URL of a server.
    """
    named = os.environ.get(_SERVER, "").strip() if given is None else given.strip()
    url = named or DEFAULT_URL
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_url = False
    if not is_url or parts.query or parts.fragment:
        raise UsageError(
            f"{url!r} is not the address of a server; give --server or {_SERVER} a scheme, as in {DEFAULT_URL} or "
            "https://fgd.example.org"
        )
    return url.rstrip("/")


def token_of_environment() -> str | None:
    """Return the token in FGD_TOKEN, else the one in the file that FGD_TOKEN_FILE names.

    Raises:
        UsageError: the file cannot be read.
    """
    if token := os.environ.get(_TOKEN, "").strip():
        return token
    named = os.environ.get(_TOKEN_FILE)
    if not named:
        return None
    try:
        return expanded(named).read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as cause:
        why = cause.strerror if isinstance(cause, OSError) else "it is not a text file"
        raise UsageError(f"{_TOKEN_FILE}={named} cannot be read: {why}; correct or unset it") from cause


def authorization(token: str | None) -> dict[str, str]:
    """Return the header that carries the token, or no header without a token.

    Raises:
        UsageError: the token has characters that no token has; the message does not show the token.
    """
    if token is None:
        return {}
    if not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(f"the API token has characters that no token has; check {_TOKEN} or {_TOKEN_FILE}")
    return {"Authorization": f"Bearer {token}"}


def connect(url: str, *, headers: Mapping[str, str], timeout_s: float) -> httpx.Client:
    """Return an HTTP client for the server at `url`.

    The client uses the proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names, except for a server on loopback: a proxy
    cannot reach it.

    Raises:
        UsageError: the environment's certificates or proxy cannot be used.
    """
    parts = urlsplit(url)
    is_local = is_loopback(parts.hostname or "")
    try:
        certificates = trusted_by_client_of(url)
    except OSError as cause:
        named = next((f"{name}={os.environ[name]}" for name in _CERTIFICATES if os.environ.get(name)), "OpenSSL")
        raise UsageError(f"{named} has no certificates that can be read; correct or unset it: {cause}") from cause
    try:
        return httpx.Client(
            base_url=url, headers=dict(headers), timeout=timeout_s, verify=certificates, trust_env=not is_local
        )
    except (ValueError, ImportError, httpx.InvalidURL) as cause:
        proxy = proxy_for(url)
        if proxy is None:
            raise UsageError(f"{url} is not the address of a server: {cause}") from cause
        raise UsageError(
            f"the proxy {proxy} of the environment cannot be used; give HTTPS_PROXY a proxy with http://, or add "
            f"{parts.hostname} to NO_PROXY",
            cause=str(cause),
        ) from cause


def proxy_for(url: str) -> str | None:
    """Return the environment's proxy for this server, without its password; None for a direct connection."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host) or urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    named = proxies.get(parts.scheme) or proxies.get("all")
    if not named:
        return None
    whole = named if "://" in named else f"http://{named}"
    scheme, _, rest = whole.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
