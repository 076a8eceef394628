"""Authentication: who sends a request. It runs before the routes, so a route that forgets it refuses every request."""

from collections.abc import MutableMapping

from sqlalchemy.exc import DBAPIError
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from fgd_core.errors import FgdError
from service.api import problems
from service.api.access import ANONYMOUS, Principal
from service.api.ray_sessions import RaySessions
from service.api.token_check import METRICS_PATH, SCRAPER, ScrapeToken, TokenCheck
from service.errors import UnauthorizedError
from service.ray_proxy import pages, rules
from service.ray_proxy.paths import COOKIE, SIGN_IN, SIGN_OUT, Paths

OPEN = frozenset(
    {"/livez", "/readyz", "/openapi.json", "/docs", "/redoc"}
    | {f"/docs/{file}" for file in ("start.js", "swagger-ui-bundle.js", "swagger-ui.css")}
)
"""Paths that need no token."""
_SIGN_IN_REQUESTS = frozenset({("GET", SIGN_IN), ("POST", SIGN_IN), ("POST", SIGN_OUT)})
_ATTEMPTS = "/v1/attempts/"
"""Runs send their own tokens; the routes below this path check them."""


class Authentication:
    """Stores the principal in the request's state, or answers 401.

    Args:
        tokens: checks API tokens; None lets every client in as an admin.
        scrape_token: a token that opens the metrics only.
        sessions: checks the cookies of browsers that have signed in to Ray's dashboard.
    """

    def __init__(
        self,
        app: ASGIApp,
        tokens: TokenCheck | None,
        scrape_token: ScrapeToken,
        sessions: RaySessions,
        ray_paths: Paths,
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._scrape_token = scrape_token
        self._sessions = sessions
        self._ray_paths = ray_paths

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
        headers, path = Headers(scope=scope), scope["path"]
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        is_token = scheme.lower() == "bearer" and token.strip()
        cookie = cookie_parser(headers.get("Cookie", "")).get(COOKIE) if _is_ray_path(path) else None
        if cookie and not is_token:
            state["is_by_cookie"] = True
            return await self._sessions.principal(cookie)
        if not is_token:
            raise UnauthorizedError(
                "this server needs an API token; send it as `Authorization: Bearer …`; `fgd` reads it from FGD_TOKEN"
            )
        if path == METRICS_PATH and self._scrape_token.matches(token.strip()):
            return SCRAPER
        return await self._tokens.principal(token.strip())

    def _refused(self, scope: Scope, refusal: FgdError) -> Response:
        can_sign_in = isinstance(refusal, UnauthorizedError) and _is_ray_path(scope["path"])
        if can_sign_in and pages.is_wanted(scope["method"], Headers(scope=scope)):
            query = scope["query_string"].decode("latin-1")
            target = f"{self._ray_paths.base}{scope['path']}" + (f"?{query}" if query else "")
            return pages.to_sign_in(self._ray_paths, self._ray_paths.safe_next(target), refusal)
        return problems.of_error(refusal)


def _needs_principal(method: str, path: str) -> bool:
    return path not in OPEN and (method, path) not in _SIGN_IN_REQUESTS and not path.startswith(_ATTEMPTS)


def _is_ray_path(path: str) -> bool:
    """Tells whether a path belongs to Ray's dashboard. The cookie is valid there only."""
    return path == rules.PREFIX or path.startswith(f"{rules.PREFIX}/")
