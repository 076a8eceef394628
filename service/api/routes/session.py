"""The session of a browser at the page: a cookie in place of an API token, which no script can read."""

from fastapi import APIRouter, Request, Response

from fgd_core.spec.administration import SignIn, WhoAmI
from service import links
from service.api.deps import ServicesDep
from service.api.request_policy import check_own_page
from service.api.routes.tokens import view_of
from service.ray_proxy.paths import SESSION_S
from service.settings import Settings
from service.web.paths import COOKIE, SESSION_PATH

router = APIRouter(tags=["tokens"])


@router.post(SESSION_PATH, operation_id="sign_in")
async def sign_in(services: ServicesDep, request: Request, response: Response, wanted: SignIn) -> WhoAmI:
    """Exchange an API token for a session cookie, with which this server's own page uses the API for 12 hours."""
    check_own_page(request.headers, services.settings.external_url)
    principal, cookie = await services.web_sessions.begin(wanted.token.strip())
    request.state.principal = principal
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=SESSION_S,
        path=_path(services.settings),
        secure=links.scheme(request.scope) == "https",
        httponly=True,
        samesite="strict",
    )
    return view_of(principal)


@router.delete(SESSION_PATH, status_code=204, operation_id="sign_out", response_class=Response)
async def sign_out(services: ServicesDep, request: Request) -> Response:
    """End the browser's session."""
    check_own_page(request.headers, services.settings.external_url)
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, path=_path(services.settings), httponly=True, samesite="strict")
    return response


def _path(settings: Settings) -> str:
    return f"{settings.url_path}/"
