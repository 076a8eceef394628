"""A proxy for Ray's dashboard: it applies our tokens and roles, and never shows Ray's own token.

The dashboard shows all projects, so it needs a token for all projects. The role `read` may send requests that only
read; all others are for admins. The API's description omits these routes, because they belong to Ray and change with
it.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from urllib.parse import parse_qs, quote

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
from service.api.request_policy import check_own_page, cross_site
from service.errors import ForbiddenError, UnauthorizedError
from service.ray_proxy import pages, rules
from service.ray_proxy.paths import COOKIE, SESSION_S, SIGN_IN, SIGN_OUT, Paths
from service.ray_proxy.redaction import Redaction

router = APIRouter(include_in_schema=False)

log = structlog.get_logger(__name__)

_SHOWS_ALL = "Ray's dashboard shows all projects"
_METHODS = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]
_MAX_TOKEN = 1000
# Lists of what passes: cookies, tokens and hop-by-hop headers must not, in either direction.
_REQUEST_HEADERS = ("accept", "accept-language", "content-type", "if-none-match", "if-modified-since")
_RESPONSE_HEADERS = (
    "content-type",
    "content-disposition",
    "cache-control",
    "etag",
    "last-modified",
    "retry-after",
    "allow",
)
_PAGE_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; frame-src http: https:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_DATA_POLICY = "sandbox allow-scripts allow-downloads; frame-ancestors 'none'"
"""A flame graph may run its scripts, but like any other page from Ray it has no access to this site."""


@router.get(SIGN_IN, operation_id="show_ray_sign_in")
async def show_sign_in(services: ServicesDep, request: Request, next: str = "") -> Response:
    """Show the sign-in form, or who is signed in."""
    paths = Paths.of(services.settings)
    try:
        principal = await _signed_in(services, request)
    except UnauthorizedError:
        return pages.sign_in(paths, paths.safe_next(next))
    if next or principal is None:
        return RedirectResponse(paths.safe_next(next), 303)
    return pages.signed_in(paths, f"{principal.name} ({principal.role.label})")


@router.post(SIGN_IN, operation_id="sign_in_to_ray")
async def sign_in(services: ServicesDep, request: Request) -> Response:
    """Exchange an API token from a form for a session cookie, which the browser sends to this path only."""
    paths = Paths.of(services.settings)
    check_own_page(request.headers, services.settings.external_url)
    try:
        form = parse_qs((await request.body()).decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=10)
    except ValueError:
        raise SpecError("the form has more than 10 fields; send only `token` and `next`") from None
    token, next_page = form.get("token", [""])[0].strip(), paths.safe_next(form.get("next", [""])[0])
    try:
        principal, cookie = await services.ray_sessions.begin(token[:_MAX_TOKEN])
        principal.check_all_projects(_SHOWS_ALL)
    except (UnauthorizedError, ForbiddenError) as refusal:
        log.info("ray_sign_in_refused", reason=refusal.message)
        return pages.sign_in(paths, next_page, problem=_form_message(refusal), status=refusal.http_status)
    request.state.principal = principal
    response = RedirectResponse(next_page, 303)
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=SESSION_S,
        path=paths.ray,
        secure=links.scheme(request.scope) == "https",
        httponly=True,
        samesite="strict",
    )
    return response


@router.post(SIGN_OUT, operation_id="sign_out_of_ray")
async def sign_out(services: ServicesDep, request: Request) -> Response:
    """End the browser's session."""
    paths = Paths.of(services.settings)
    check_own_page(request.headers, services.settings.external_url)
    response = RedirectResponse(paths.sign_in, 303)
    response.delete_cookie(COOKIE, path=paths.ray, httponly=True, samesite="strict")
    return response


@router.get(rules.PREFIX, operation_id="to_ray_dashboard")
async def to_dashboard(services: ServicesDep) -> Response:
    """Redirect to the path with a slash, because the page loads its files relative to its own path."""
    return RedirectResponse(Paths.of(services.settings).ray, 308)


@router.api_route(f"{rules.PREFIX}/{{path:path}}", methods=_METHODS, operation_id="ask_ray_dashboard")
async def forward_request(services: ServicesDep, request: Request) -> Response:
    """Forward a request to Ray's dashboard; a browser gets its errors as a page."""
    try:
        return await _forward(services, request)
    except FgdError as error:
        if not pages.is_wanted(request.method, request.headers):
            raise
        return pages.trouble(Paths.of(services.settings), error, _retry_after(error))


async def _forward(services: Services, request: Request) -> Response:
    principal: Principal = request.state.principal
    path = rules.plain_path(request.scope["raw_path"])
    _check_allowed(principal, request, path, services.settings.external_url)
    if path in rules.OWN:
        return _own_response(request, path)
    # The whole body, which the request policy has limited: the next message then reports that the client disconnected.
    body = await request.body()
    query = request.scope["query_string"].decode("latin-1")
    target = quote(path, safe="/~!$&'()*+,;=:@") + (f"?{quote(query, safe=_QUERY)}" if query else "")
    forwarding = asyncio.create_task(
        services.cluster.browse(request.method, target, _request_headers(request, path), body)
    )
    response = await _unless_disconnected(request, forwarding)
    if response is None:
        return Response(status_code=499)
    return StreamingResponse(
        _body(response, path, services.settings.sse.lifetime_s),
        response.status_code,
        _response_headers(response, path, request.method),
        background=BackgroundTask(response.aclose),
    )


def _check_allowed(principal: Principal, request: Request, path: str, own_url: str | None) -> None:
    """Check that the principal may send this request.

    Raises:
        ForbiddenError: the token is for one project, its role is too low, or a page of another site sent the request.
    """
    principal.check_role(Role.READ)
    principal.check_all_projects(_SHOWS_ALL)
    if not rules.is_for_readers(request.method, path) and path not in rules.OWN:
        principal.check_role(Role.ADMIN)
        # Some GET requests of Ray change something; browsers send them without Origin, and without tokens no cookie is
        # needed.
        if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise cross_site("another site")
    if request.method not in rules.READING:
        audit_notes.about(path=path[:200])
        if getattr(request.state, "is_by_cookie", False):
            check_own_page(request.headers, own_url)


def _own_response(request: Request, path: str) -> Response:
    if path == "/api/authentication_mode" and request.method in rules.READING:
        # True for clients of this proxy: they need no token of Ray's, and so the page asks for none.
        return JSONResponse({"authentication_mode": "disabled"}, headers={"Cache-Control": "no-store"})
    raise ForbiddenError(
        "Ray's own sign-in is disabled, because this server holds Ray's token; sign in with an API token"
    )


def _request_headers(request: Request, path: str) -> dict[str, str]:
    # A range could cut a claim code in two, and redaction would recognise neither half.
    passed = (*_REQUEST_HEADERS, *(("range", "if-range") if rules.is_file(path) else ()))
    headers = {name: request.headers[name] for name in passed if name in request.headers}
    headers |= {"User-Agent": "fgd", "Accept-Encoding": "identity"}
    if request.method in rules.READING:
        # Ray hides the values of environment variables from browsers. It rejects changes by browsers, so only requests
        # that read carry this header.
        headers["Sec-Fetch-Mode"] = "cors"
    return headers


def _response_headers(response: httpx.Response, path: str, method: str) -> dict[str, str]:
    headers = {name: response.headers[name] for name in _RESPONSE_HEADERS if name in response.headers}
    if rules.is_file(path) and "content-encoding" not in response.headers:
        for name in ("content-length", "content-range", "accept-ranges"):
            if name in response.headers:
                headers[name] = response.headers[name]
        # Everybody who may see the dashboard gets the same file, but a shared cache also serves other people.
        headers["cache-control"] = f"private, {response.headers.get('cache-control', 'no-cache')}"
    else:
        headers.setdefault("cache-control", "no-store")
    headers["content-security-policy"] = _PAGE_POLICY if rules.is_page(path) else _DATA_POLICY
    headers["x-content-type-options"] = "nosniff"
    headers["x-frame-options"] = "DENY"
    headers["referrer-policy"] = "same-origin"
    # Proxies in front of us must not buffer a log that a client follows.
    headers["x-accel-buffering"] = "no"
    return headers


async def _body(response: httpx.Response, path: str, lifetime_s: float) -> AsyncIterator[bytes]:
    """Yield the body in chunks as they arrive. A stream ends after `lifetime_s`, since its token may have expired."""
    if rules.is_file(path):
        async for chunk in response.aiter_bytes():
            yield chunk
        return
    redact = Redaction()
    try:
        async with asyncio.timeout(lifetime_s):
            async for chunk in response.aiter_bytes():
                if clean := redact(chunk):
                    yield clean
    except TimeoutError:
        log.info("ray_stream_ended", path=path, after_s=lifetime_s)
    if rest := redact.rest():
        yield rest


async def _unless_disconnected(request: Request, forwarding: asyncio.Task[httpx.Response]) -> httpx.Response | None:
    """Return Ray's response; None if the client disconnected before it came."""
    disconnecting = asyncio.create_task(_disconnect(request))
    try:
        await asyncio.wait({forwarding, disconnecting}, return_when=asyncio.FIRST_COMPLETED)
        return await forwarding if forwarding.done() else None
    finally:
        for task in (forwarding, disconnecting):
            task.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _signed_in(services: Services, request: Request) -> Principal | None:
    """Return the principal of the browser's session; None if this server needs no tokens.

    Raises:
        UnauthorizedError: the browser has no valid session.
    """
    if services.settings.auth == "none":
        return None
    return await services.ray_sessions.principal(request.cookies.get(COOKIE, ""))


def _form_message(refusal: FgdError) -> str:
    return refusal.message if isinstance(refusal, ForbiddenError) else refusal.message.partition(";")[0]


def _retry_after(error: FgdError) -> Mapping[str, str]:
    headers = problems.of_error(error).headers
    return {"Retry-After": headers["Retry-After"]} if "Retry-After" in headers else {}


_QUERY = "/?:@!$&'()*+,;=-._~%[]|"
