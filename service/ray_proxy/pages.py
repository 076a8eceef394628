"""Renders the pages that this server adds to Ray's dashboard: plain HTML without external resources."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from urllib.parse import quote

from fastapi.responses import HTMLResponse
from markupsafe import Markup
from starlette.datastructures import Headers

from fgd_core.errors import FgdError
from service.ray_proxy.paths import SESSION_S, Paths
from service.reports.page import source_of, template

_HERE = Path(__file__).parent


def is_wanted(method: str, headers: Headers) -> bool:
    """Whether a browser asks for a page, and not a program for data."""
    return method in ("GET", "HEAD") and "text/html" in headers.get("Accept", "").lower()


def sign_in(paths: Paths, next_page: str, *, problem: str = "", status: int = 200) -> HTMLResponse:
    """Render the sign-in form.

    Args:
        next_page: path on this server to open after the sign-in.
        problem: what was wrong with the last try.
    """
    return _page(
        status, title="Sign in to Ray's dashboard", problem=problem, next_page=next_page, sign_in=paths.sign_in
    )


def to_sign_in(paths: Paths, next_page: str, refusal: FgdError) -> HTMLResponse:
    """Render a page that leads to the sign-in form, with the fragment of the address, which only the browser knows.

    Signed-in users see it as well after a link on another site: the browser then withholds the cookie, and sends it
    with the next request, which comes from our page.
    """
    href = f"{paths.sign_in}?next={quote(next_page, safe='')}"
    link = {"href": href, "text": "Sign in"}
    text = "This page needs an API token."
    page = _page(refusal.http_status, title="Ray's dashboard", text=text, link=link, script=_read("to_sign_in.js"))
    page.headers["WWW-Authenticate"] = "Bearer"
    return page


def signed_in(paths: Paths, who: str) -> HTMLResponse:
    """Render the page after a sign-in.

    Args:
        who: name of the token's owner.
    """
    link = {"href": paths.ray, "text": "Ray's dashboard"}
    return _page(
        200, title="Signed in", text=f"This browser is signed in as {who}.", link=link, sign_out=paths.sign_out
    )


def trouble(paths: Paths, error: FgdError, headers: Mapping[str, str]) -> HTMLResponse:
    """Render an error as a page."""
    link = {"href": paths.sign_in, "text": "Sign in with another token"} if error.http_status == 403 else None
    title = "Not allowed" if error.http_status == 403 else "Ray's dashboard cannot be shown"
    return _page(error.http_status, title=title, problem=error.message, link=link, headers=headers)


def _page(status: int, *, script: str = "", headers: Mapping[str, str] | None = None, **values: object) -> HTMLResponse:
    blank = {"problem": "", "text": "", "next_page": None, "sign_out": "", "link": None, "hours": SESSION_S // 3600}
    style = _read("page.css")
    html = template("page.html", _HERE).render(blank | values | {"style": Markup(style), "script": Markup(script)})
    policy = [
        "default-src 'none'",
        f"style-src {source_of(style)}",
        *([f"script-src {source_of(script)}"] if script else []),
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
def _read(name: str) -> str:
    return (_HERE / name).read_text("utf-8")
