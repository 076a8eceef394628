"""Who asks, found out before anything else of a request is looked at: a route that forgets to ask lets nobody in."""

from sqlalchemy.exc import DBAPIError
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from fgd_core.errors import FgdError
from service.api import problems, scraping
from service.api.access import ANONYMOUS, Principal
from service.api.token_check import TokenCheck
from service.errors import UnauthorizedError, from_database

OPEN = frozenset({"/livez", "/readyz", "/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc"})
_ATTEMPTS = "/v1/attempts/"
"""Runs come with tokens of their own, which those routes check."""


class Authentication:
    """Leaves the principal in the request's state, or answers 401.

    Args:
        tokens: None lets everybody in as an admin.
        scrape_token: lets its bearer read the metrics.
    """

    def __init__(self, app: ASGIApp, tokens: TokenCheck | None, scrape_token: scraping.ScrapeToken) -> None:
        self._app = app
        self._tokens = tokens
        self._scrape_token = scrape_token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN and not scope["path"].startswith(_ATTEMPTS):
            try:
                principal = await self._principal(Headers(scope=scope), scope["path"])
            except FgdError as refusal:
                await problems.of_error(refusal)(scope, receive, send)
                return
            except DBAPIError as error:
                known = from_database(error)
                answer = problems.of_error(known) if known is not None else problems.internal(error)
                await answer(scope, receive, send)
                return
            scope.setdefault("state", {})["principal"] = principal
        await self._app(scope, receive, send)

    async def _principal(self, headers: Headers, path: str) -> Principal:
        if self._tokens is None:
            return ANONYMOUS
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise UnauthorizedError(
                "this server asks for an API token; send it as `Authorization: Bearer …`; `fgd` takes it from FGD_TOKEN"
            )
        if path == scraping.PATH and self._scrape_token.matches(token.strip()):
            return scraping.SCRAPER
        return await self._tokens.principal(token.strip())
