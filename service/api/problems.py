"""Problem responses (RFC 9457): every refusal has a stable code and all its reasons, never a traceback."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeAlias

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from fgd_core.errors import FgdError
from fgd_core.spec.refusals import explained, shortened, spec_reason, value_message
from fgd_core.spec.views import Problem, ProblemReason
from service.errors import UnauthorizedError, from_database, from_os

MEDIA_TYPE = "application/problem+json"
_TYPE = "urn:fgd:problem:"
_RETRY_AFTER_S = "2"

log = structlog.get_logger(__name__)

Responses: TypeAlias = dict[int | str, dict[str, Any]]
"""What FastAPI's parameter `responses` takes."""

RESPONSES: Responses = {
    # In place of FastAPI's own schema for 422, which we never send; `description` adds the other statuses.
    422: {
        "description": "The request is invalid; `reasons` lists every fault",
        "model": Problem,
        "content": {MEDIA_TYPE: {}},
    },
}


def install(app: FastAPI) -> None:
    """Make `app` answer exceptions with problem responses."""
    for kind in (FgdError, RequestValidationError, HTTPException, DBAPIError, OSError):
        app.add_exception_handler(kind, _on_error)


def respond(
    *,
    status: int,
    code: str,
    detail: str,
    reasons: Sequence[ProblemReason] = (),
    details: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a problem response."""
    problem = Problem(
        type=f"{_TYPE}{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        reasons=list(reasons),
        details=dict(details or {}),
    )
    return JSONResponse(problem.model_dump(mode="json"), status, headers, MEDIA_TYPE)


def of_error(error: FgdError) -> Response:
    """Return the problem response for one of our errors."""
    details = dict(error.details)
    listed = details.pop("reasons", None)
    reasons = [ProblemReason.model_validate(reason) for reason in listed] if isinstance(listed, list) else []
    headers = {}
    if isinstance(error, UnauthorizedError):
        headers["WWW-Authenticate"] = "Bearer"
    if error.http_status == 503 and error.retryable:
        headers["Retry-After"] = _RETRY_AFTER_S
    return respond(
        status=error.http_status,
        code=error.code,
        detail=error.message,
        reasons=reasons,
        details=details,
        headers=headers,
    )


def internal(error: Exception) -> Response:
    """Log an unexpected exception, and return a problem that shows the client nothing of it."""
    log.error("request_failed", exc_info=error)
    detail = "the server failed on this request; its log has the cause, with this response's X-Request-ID"
    return respond(status=500, code="internal", detail=detail)


def of_database(error: DBAPIError) -> Response:
    """Return the problem response for an error of the database; logs one that is a defect of ours."""
    known = from_database(error)
    return of_error(known) if known is not None else internal(error)


async def _on_error(request: Request, error: Exception) -> Response:
    match error:
        case FgdError():
            return of_error(error)
        case RequestValidationError():
            return _of_invalid_request(request, error)
        case HTTPException():
            return _of_http_exception(request, error)
        case DBAPIError():
            return of_database(error)
    known = from_os(error) if isinstance(error, OSError) else None
    return of_error(known) if known is not None else internal(error)


def _of_invalid_request(request: Request, error: RequestValidationError) -> Response:
    is_spec = getattr(request.scope.get("route"), "operation_id", None) == "submit_job"
    reasons = explained(error.errors(), lambda fault: _reason(fault, is_spec))
    detail = "; ".join(f"{reason.loc}: {reason.message}" for reason in reasons)
    return respond(status=422, code="spec" if is_spec else "request", detail=detail, reasons=reasons)


def _reason(fault: Mapping[str, Any], is_spec: bool) -> ProblemReason:
    where, *path = fault["loc"]
    if fault["type"] == "json_invalid":
        message = f"the body is not valid JSON: {fault['ctx']['error']} at character {path[-1]}"
        return ProblemReason(loc="body", code="json_invalid", message=message)
    if fault["type"] == "model_attributes_type" and not path:
        message = "the body must be a JSON object, sent with Content-Type: application/json"
        return ProblemReason(loc="body", code="no_object", message=message)
    if is_spec and where == "body" and (path or fault["type"].startswith("union_tag_")):
        reason = spec_reason({**fault, "loc": path})
        return reason if path else reason.model_copy(update={"loc": "kind"})
    loc = path if where == "body" and path else fault["loc"]
    name = ".".join(shortened(str(item)) for item in loc)
    # Not the values of a body, which may be secrets.
    message = fault["msg"] if where == "body" else value_message(fault)
    return ProblemReason(loc=name, code=fault["type"], message=shortened(message, 2000))


def _of_http_exception(request: Request, error: HTTPException) -> Response:
    code, detail = "http", str(error.detail)
    if error.status_code == 404:
        code, detail = "not_found", f"the API has no path {request.url.path}; /openapi.json lists all paths"
    elif error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        code = "method_not_allowed"
        detail = f"{request.url.path} does not support {request.method}; it supports: {allowed}"
    return respond(status=error.status_code, code=code, detail=detail, headers=error.headers)
