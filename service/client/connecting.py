"""An HTTP client for one control plane: certificates and proxies as the environment names them."""

import os
import urllib.request
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx

from service.client.errors import UsageError
from service.loopback import is_loopback

_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def connect(url: str, *, headers: Mapping[str, str], timeout_s: float) -> httpx.Client:
    """A client for the server at `url`, through the proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names for it.

    A server on loopback is called directly, for a proxy could not reach it.

    Raises:
        UsageError: what the environment says about certificates or the proxy cannot be used.
    """
    parts = urlsplit(url)
    is_own = is_loopback(parts.hostname or "")
    try:
        certificates = httpx.create_ssl_context(trust_env=parts.scheme == "https" or not is_own)
    except OSError as cause:
        named = next((f"{name}={os.environ[name]}" for name in _CERTIFICATES if os.environ.get(name)), "OpenSSL")
        raise UsageError(f"{named} holds no certificates that can be read; correct or unset it: {cause}") from cause
    try:
        return httpx.Client(
            base_url=url, headers=dict(headers), timeout=timeout_s, verify=certificates, trust_env=not is_own
        )
    except (ValueError, ImportError, httpx.InvalidURL) as cause:
        proxy = proxy_for(url)
        if proxy is None:
            raise UsageError(f"{url} is no address of a server: {cause}") from cause
        raise UsageError(
            f"the proxy {proxy} of the environment cannot be used; name one with http:// in HTTPS_PROXY, "
            f"or write {parts.hostname} into NO_PROXY",
            cause=str(cause),
        ) from cause


def proxy_for(url: str) -> str | None:
    """The proxy of the environment for this server, without its password; None where it is called directly."""
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
