"""Ray's dashboard, through this server's door: with our tokens and roles, and never with Ray's own token shown.

It shows all projects at once, so it takes a token for all of them. Who may read gets what only reads; all the rest is
for admins. It is not in the API's description: what there is to ask is Ray's, and changes with it.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import structlog
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse, StreamingResponse
from starlette.background import BackgroundTask

from fgd_core.errors import FgdError, SpecError
from service import links
from service.api import audit_notes, problems
from service.api.access import Principal, Role
from service.api.deps import Services, ServicesDep
from service.api.middleware.request_policy import is_same_origin
from service.errors import ForbiddenError, UnauthorizedError
from service.ray_proxy import pages, rules
from service.ray_proxy.paths import COOKIE, SESSION_S, SIGN_IN, SIGN_OUT, Paths
from service.ray_proxy.redaction import Redaction

router = APIRouter(include_in_schema=False)

log = structlog.get_logger(__name__)

_METHODS = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]
_MAX_TOKEN = 1000
# By name, so that neither cookies nor tokens nor anything hop-by-hop passes in either direction.
_PASSED_UP = ("accept", "accept-language", "content-type", "if-none-match", "if-modified-since")
_PASSED_DOWN = ("content-type", "content-disposition", "cache-control", "etag", "last-modified", "retry-after", "allow")
_OF_PAGES = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; frame-src http: https:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_OF_DATA = "sandbox allow-scripts allow-downloads; frame-ancestors 'none'"
"""A flame graph may draw itself; whatever else comes as a page has no access to this site."""


@router.get(SIGN_IN, operation_id="show_ray_sign_in")
async def show_sign_in(services: ServicesDep, request: Request, next: str = "") -> Response:
    paths = Paths.of(services.settings)
    try:
        who = await _signed_in(services, request)
    except UnauthorizedError:
        return pages.sign_in(paths, paths.safe_next(next))
    if next or who is None:
        return RedirectResponse(paths.safe_next(next), 303)
    return pages.signed_in(paths, f"{who.name} ({who.role.word})")


@router.post(SIGN_IN, operation_id="sign_in_to_ray")
async def sign_in(services: ServicesDep, request: Request) -> Response:
    """Takes an API token from a form, and leaves a cookie in the browser that this path alone gets to see."""
    paths = Paths.of(services.settings)
    _check_own_page(request, services.settings.external_url)
    try:
        given = parse_qs((await request.body()).decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=10)
    except ValueError:
        raise SpecError("the form has too many fields; send `token` and `next`") from None
    token, next_page = given.get("token", [""])[0].strip(), paths.safe_next(given.get("next", [""])[0])
    try:
        principal, cookie = await services.sessions.begin(token[:_MAX_TOKEN])
        _check_everywhere(principal)
    except (UnauthorizedError, ForbiddenError) as refusal:
        log.info("ray_sign_in_refused", why=refusal.message)
        return pages.sign_in(paths, next_page, said=_for_a_form(refusal), status=refusal.http_status)
    request.state.principal = principal
    answer = RedirectResponse(next_page, 303)
    answer.set_cookie(
        COOKIE,
        cookie,
        max_age=SESSION_S,
        path=paths.ray,
        secure=links.scheme(request.scope) == "https",
        httponly=True,
        samesite="strict",
    )
    return answer


@router.post(SIGN_OUT, operation_id="sign_out_of_ray")
async def sign_out(services: ServicesDep, request: Request) -> Response:
    paths = Paths.of(services.settings)
    _check_own_page(request, services.settings.external_url)
    answer = RedirectResponse(paths.sign_in, 303)
    answer.delete_cookie(COOKIE, path=paths.ray, httponly=True, samesite="strict")
    return answer


@router.get(rules.PREFIX, operation_id="to_ray_dashboard")
async def to_dashboard(services: ServicesDep) -> Response:
    """With the slash: the page finds its files beside itself."""
    return RedirectResponse(Paths.of(services.settings).ray, 308)


@router.api_route(f"{rules.PREFIX}/{{path:path}}", methods=_METHODS, operation_id="ask_ray_dashboard")
async def ask_dashboard(services: ServicesDep, request: Request) -> Response:
    try:
        return await _ask(services, request)
    except FgdError as error:
        if not pages.is_wanted(request.method, request.headers):
            raise
        return pages.trouble(Paths.of(services.settings), error, _retry_after(error))


async def _ask(services: Services, request: Request) -> Response:
    principal: Principal = request.state.principal
    path = rules.plain_path(request.scope["raw_path"])
    _check_allowed(principal, request, path, services.settings.external_url)
    if path in rules.OWN:
        return _own_answer(request, path)
    # All of it, and no more than the front door lets in: after it, the next thing to come is that the client hangs up.
    body = await request.body()
    query = request.scope["query_string"].decode("latin-1")
    target = quote(path, safe="/~!$&'()*+,;=:@") + (f"?{quote(query, safe=_QUERY)}" if query else "")
    asking = asyncio.create_task(services.cluster.browse(request.method, target, _headers_up(request, path), body))
    answer = await _unless_gone(request, asking)
    if answer is None:
        return Response(status_code=499)
    return StreamingResponse(
        _body(answer, path, services.settings.sse_lifetime_s),
        answer.status_code,
        _headers_down(answer, path, request.method),
        background=BackgroundTask(answer.aclose),
    )


def _check_allowed(principal: Principal, request: Request, path: str, own_url: str | None) -> None:
    """
    Raises:
        ForbiddenError: the token is for one project, or its role is too small; or a page of another site asks.
    """
    principal.check_role(Role.READ)
    _check_everywhere(principal)
    if not rules.is_for_readers(request.method, path) and path not in rules.OWN:
        principal.check_role(Role.ADMIN)
        # With a GET that acts comes no Origin, and without tokens not even a cookie would have to come along.
        if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise _foreign("another site")
    if request.method not in rules.READING:
        audit_notes.about(path=path[:200])
        if getattr(request.state, "is_by_cookie", False):
            _check_own_page(request, own_url)


def _check_everywhere(principal: Principal) -> None:
    if principal.project is not None:
        raise ForbiddenError(
            f"Ray's dashboard shows all projects, and {principal.name!r} is for {principal.project!r} alone; "
            "use a token for all projects",
            project=principal.project,
        )


def _check_own_page(request: Request, own_url: str | None) -> None:
    """Raises ForbiddenError where a browser sends this from a page that is not this server's."""
    origin = request.headers.get("Origin")
    if origin is None and request.headers.get("Sec-Fetch-Site") == "same-origin":
        return
    own_hosts = [request.headers.get("Host", ""), urlsplit(own_url or "").netloc]
    if origin is None or not any(is_same_origin(origin, host) for host in own_hosts if host):
        raise _foreign((origin or "nowhere")[:100])


def _foreign(origin: str) -> ForbiddenError:
    return ForbiddenError(
        f"a page of {origin!r} may change nothing here; send the request from this server's own pages, or from a "
        "program with its token as `Authorization: Bearer …`",
        origin=origin,
    )


def _own_answer(request: Request, path: str) -> Response:
    if path == "/api/authentication_mode" and request.method in rules.READING:
        # The truth about this door: nobody has to give Ray's token here, and the page then asks for none.
        return JSONResponse({"authentication_mode": "disabled"}, headers={"Cache-Control": "no-store"})
    raise ForbiddenError(
        "Ray's own sign-in is closed here, for this server holds Ray's token; sign in with an API token"
    )


def _headers_up(request: Request, path: str) -> dict[str, str]:
    # A range could cut a claim code in two, each half of it unrecognisable.
    passed = (*_PASSED_UP, *(("range", "if-range") if rules.is_file(path) else ()))
    headers = {name: request.headers[name] for name in passed if name in request.headers}
    headers |= {"User-Agent": "fgd", "Accept-Encoding": "identity"}
    if request.method in rules.READING:
        # So that Ray takes us for a browser, from which it keeps back the values in environments. Changes, on the other
        # hand, it takes from no browser.
        headers["Sec-Fetch-Mode"] = "cors"
    return headers


def _headers_down(answer: httpx.Response, path: str, method: str) -> dict[str, str]:
    headers = {name: answer.headers[name] for name in _PASSED_DOWN if name in answer.headers}
    if rules.is_file(path) and "content-encoding" not in answer.headers:
        for name in ("content-length", "content-range", "accept-ranges"):
            if name in answer.headers:
                headers[name] = answer.headers[name]
        # The same for all who may see it, but not for others who share a cache with them.
        headers["cache-control"] = f"private, {answer.headers.get('cache-control', 'no-cache')}"
    else:
        headers.setdefault("cache-control", "no-store")
    headers["content-security-policy"] = _OF_PAGES if rules.is_page(path) else _OF_DATA
    headers["x-content-type-options"] = "nosniff"
    headers["x-frame-options"] = "DENY"
    headers["referrer-policy"] = "same-origin"
    # Proxies before us must not gather what a log that is followed says.
    headers["x-accel-buffering"] = "no"
    return headers


async def _body(answer: httpx.Response, path: str, lifetime_s: float) -> AsyncIterator[bytes]:
    """Piece by piece, as they come. After so long a stream ends, for the token behind it may have ended, too."""
    if rules.is_file(path):
        async for piece in answer.aiter_bytes():
            yield piece
        return
    redact = Redaction()
    try:
        async with asyncio.timeout(lifetime_s):
            async for piece in answer.aiter_bytes():
                if clean := redact(piece):
                    yield clean
    except TimeoutError:
        log.info("ray_stream_ended", path=path, after_s=lifetime_s)
    if rest := redact.rest():
        yield rest


async def _unless_gone(request: Request, asking: asyncio.Task[httpx.Response]) -> httpx.Response | None:
    """What Ray answers; None where the client did not wait for it."""
    hangs_up = asyncio.create_task(_hangs_up(request))
    try:
        await asyncio.wait({asking, hangs_up}, return_when=asyncio.FIRST_COMPLETED)
        return await asking if asking.done() else None
    finally:
        for task in (asking, hangs_up):
            task.cancel()


async def _hangs_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _signed_in(services: Services, request: Request) -> Principal | None:
    """Who the browser is signed in as; None where this server asks nobody.

    Raises:
        UnauthorizedError: nobody.
    """
    if services.settings.auth == "none":
        return None
    return await services.sessions.principal(request.cookies.get(COOKIE, ""))


def _for_a_form(refusal: FgdError) -> str:
    return refusal.message if isinstance(refusal, ForbiddenError) else refusal.message.partition(";")[0]


def _retry_after(error: FgdError) -> Mapping[str, str]:
    headers = problems.of_error(error).headers
    return {"Retry-After": headers["Retry-After"]} if "Retry-After" in headers else {}


_QUERY = "/?:@!$&'()*+,;=-._~%[]|"
