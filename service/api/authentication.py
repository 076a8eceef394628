"""Authentication: who sends a request. It runs before the routes, so a route that forgets it refuses every request."""

from collections.abc import Callable, MutableMapping, Sequence
from typing import NamedTuple

from sqlalchemy.exc import DBAPIError
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from fgd_core.errors import FgdError
from service.api import problems
from service.api.access import ANONYMOUS, Principal
from service.api.body_limits import READING
from service.api.browser_sessions import BrowserSessions
from service.api.request_policy import check_own_page
from service.api.token_check import METRICS_PATH, SCRAPER, ScrapeToken, TokenCheck
from service.errors import UnauthorizedError
from service.ray_proxy import pages, rules
from service.ray_proxy.paths import COOKIE, SIGN_IN, SIGN_OUT, Paths
from service.settings import Settings
from service.web import paths as web
from service.web.paths import SESSION_PATH

OPEN = frozenset(
    {"/livez", "/readyz", "/openapi.json", "/docs", "/redoc"}
    | {f"/docs/{file}" for file in ("swagger-ui-bundle.js", "swagger-ui.css")}
)
"""Paths that need no token."""
_SIGN_IN_REQUESTS = frozenset(
    {("GET", SIGN_IN), ("POST", SIGN_IN), ("POST", SIGN_OUT), ("POST", SESSION_PATH), ("DELETE", SESSION_PATH)}
)
_ATTEMPTS = "/v1/attempts/"
"""Runs send their own tokens; the routes below this path check them."""


class Site(NamedTuple):
    """A part of this server at which browsers sign in; its cookie is valid for its paths only."""

    cookie: str
    owns: Callable[[str], bool]
    """Whether a path belongs to the site."""
    sessions: BrowserSessions
    checks_origin: bool
    """Whether a change by cookie must come from our own pages. Ray's routes check that themselves."""


def ray_site(sessions: BrowserSessions) -> Site:
    """Describe Ray's dashboard behind our proxy."""
    return Site(COOKIE, _is_ray_path, sessions, checks_origin=False)


def web_site(sessions: BrowserSessions) -> Site:
    """Describe the page, which sends its requests to the API."""
    return Site(web.COOKIE, lambda path: path.startswith("/v1/"), sessions, checks_origin=True)


class Authentication:
    """Stores the principal in the request's state, or answers 401.

    Args:
        tokens: checks API tokens; None lets every client in as an admin.
        scrape_token: a token that opens the metrics only.
        sites: where browsers may send a cookie in place of a token.
    """

    def __init__(
        self,
        app: ASGIApp,
        tokens: TokenCheck | None,
        scrape_token: ScrapeToken,
        sites: Sequence[Site],
        settings: Settings,
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._scrape_token = scrape_token
        self._sites = sites
        self._ray_paths = Paths.of(settings)
        self._own_url = settings.external_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _needs_principal(scope["method"], scope["path"]):
            state = scope.setdefault("state", {})
            try:
                principal = await self._principal(scope, state)
            except FgdError as refusal:
                await self._refused(scope, refusal)(scope, receive, send)
                return
            except DBAPIError as error:
                await problems.of_database(error)(scope, receive, send)
                return
            state["principal"] = principal
        await self._app(scope, receive, send)

    async def _principal(self, scope: Scope, state: MutableMapping[str, object]) -> Principal:
        if self._tokens is None:
            return ANONYMOUS
        headers = Headers(scope=scope)
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        is_token = scheme.lower() == "bearer" and token.strip()
        if not is_token and (principal := await self._by_cookie(scope, headers, state)) is not None:
            return principal
        if not is_token:
            raise UnauthorizedError(
                "this server needs an API token; send it as `Authorization: Bearer …`; `fgd` reads it from FGD_TOKEN"
            )
        if scope["path"] == METRICS_PATH and self._scrape_token.matches(token.strip()):
            return SCRAPER
        return await self._tokens.principal(token.strip())

    async def _by_cookie(self, scope: Scope, headers: Headers, state: MutableMapping[str, object]) -> Principal | None:
        """Return the principal of the cookie; None if the browser sends none for this path."""
        cookies = cookie_parser(headers.get("Cookie", ""))
        site = next((site for site in self._sites if site.owns(scope["path"]) and cookies.get(site.cookie)), None)
        if site is None:
            return None
        if site.checks_origin and scope["method"] not in READING:
            check_own_page(headers, self._own_url)
        state["is_by_cookie"] = True
        return await site.sessions.principal(cookies[site.cookie])

    def _refused(self, scope: Scope, refusal: FgdError) -> Response:
        can_sign_in = isinstance(refusal, UnauthorizedError) and _is_ray_path(scope["path"])
        if can_sign_in and pages.is_wanted(scope["method"], Headers(scope=scope)):
            query = scope["query_string"].decode("latin-1")
            target = f"{self._ray_paths.base}{scope['path']}" + (f"?{query}" if query else "")
            return pages.to_sign_in(self._ray_paths, self._ray_paths.safe_next(target), refusal)
        return problems.of_error(refusal)


def _needs_principal(method: str, path: str) -> bool:
    is_open = path in OPEN or (method, path) in _SIGN_IN_REQUESTS or path.startswith(_ATTEMPTS)
    return not is_open and not (method in READING and web.is_open(path))


def _is_ray_path(path: str) -> bool:
    """Tells whether a path belongs to Ray's dashboard. The cookie is valid there only."""
    return path == rules.PREFIX or path.startswith(f"{rules.PREFIX}/")
