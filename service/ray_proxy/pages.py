"""The few pages that this server has of its own around Ray's dashboard: plain HTML, nothing from elsewhere."""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from fastapi.responses import HTMLResponse
from markupsafe import Markup
from starlette.datastructures import Headers

from fgd_core.errors import FgdError
from service.ray_proxy.paths import SESSION_S, Paths

_HERE = Path(__file__).parent


def is_wanted(method: str, headers: Headers) -> bool:
    """Whether a person waits for a page, and not a program for data."""
    return method in ("GET", "HEAD") and "text/html" in headers.get("Accept", "").lower()


def sign_in(paths: Paths, next_page: str, *, said: str = "", status: int = 200) -> HTMLResponse:
    """
    Args:
        next_page: where to go on to, a path of ours.
        said: what was wrong with the last try.
    """
    return _page(status, title="Sign in to Ray's dashboard", said=said, next_page=next_page, sign_in=paths.sign_in)


def to_sign_in(paths: Paths, next_page: str, refusal: FgdError) -> HTMLResponse:
    """Leads on to where one signs in, with the part of the address that only the browser knows.

    Also who is signed in comes by here, where a link on another site led: the browser then holds the cookie back, and
    sends it with the next step, which is ours.
    """
    href = f"{paths.sign_in}?next={quote(next_page, safe='')}"
    link = {"href": href, "text": "Sign in"}
    text = "This page needs an API token."
    page = _page(refusal.http_status, title="Ray's dashboard", text=text, link=link, script=_read("to_sign_in.js"))
    page.headers["WWW-Authenticate"] = "Bearer"
    return page


def signed_in(paths: Paths, who: str) -> HTMLResponse:
    link = {"href": paths.ray, "text": "Ray's dashboard"}
    return _page(
        200, title="Signed in", text=f"This browser is signed in as {who}.", link=link, sign_out=paths.sign_out
    )


def trouble(paths: Paths, error: FgdError, headers: Mapping[str, str]) -> HTMLResponse:
    link = {"href": paths.sign_in, "text": "Sign in with another token"} if error.http_status == 403 else None
    title = "Not allowed" if error.http_status == 403 else "Ray's dashboard cannot be shown"
    return _page(error.http_status, title=title, said=error.message, link=link, headers=headers)


def _page(status: int, *, script: str = "", headers: Mapping[str, str] | None = None, **values: Any) -> HTMLResponse:
    blank = {"said": "", "text": "", "next_page": None, "sign_out": "", "link": None, "hours": SESSION_S // 3600}
    style = _read("page.css")
    html = _template().render(blank | values | {"style": Markup(style), "script": Markup(script)})
    policy = [
        "default-src 'none'",
        f"style-src {_source(style)}",
        *([f"script-src {_source(script)}"] if script else []),
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
    own = {
        "Content-Security-Policy": "; ".join(policy),
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
    return HTMLResponse(html, status, own | dict(headers or {}))


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")


@cache
def _read(name: str) -> str:
    return (_HERE / name).read_text("utf-8")


@cache
def _source(text: str) -> str:
    """Lets this very text in, and no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
