"""Where the control plane listens unless an option, an argument or the environment names another."""

import os
from urllib.parse import urlsplit

from service.client.errors import UsageError

DEFAULT_URL = "http://127.0.0.1:8321"
VARIABLE = "FGD_SERVER"


def server_url(given: str | None = None) -> str:
    """The control plane's URL without a slash at its end: `given`, else FGD_SERVER, else the default.

    Raises:
        UsageError: it is no URL of a server.
    """
    named = os.environ.get(VARIABLE, "").strip() if given is None else given.strip()
    url = named or DEFAULT_URL
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_url = False
    if not is_url or parts.query or parts.fragment:
        raise UsageError(
            f"{url!r} is no address of a server; write --server or {VARIABLE} with a scheme, like {DEFAULT_URL} or "
            "https://fgd.example.org"
        )
    return url.rstrip("/")
