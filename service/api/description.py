"""The OpenAPI description, completed with every status that an operation can answer.

The operation itself shows which refusals it can give: a path with an id may not exist, a body may not be JSON. So no
route has to list them, and none is missing; the tests compare every answer that they get with the description.
"""

from collections.abc import Iterator, Mapping
from threading import Lock
from typing import Any, TypeAlias

from fastapi import FastAPI

from service.api.authentication import OPEN
from service.api.problems import MEDIA_TYPE

Schema: TypeAlias = dict[str, Any]

ABOUT = """
The API submits jobs (training, distillation, evaluation, sweeps…), controls them, and reads their events, logs,
metrics, files and reports.

**Authentication.** If the server needs API tokens, each request carries one as `Authorization: Bearer …`. A token has a
role: `read`, `submit` or `admin`; each role includes the ones before it. It is valid for one project or for all.

**Errors.** Every refusal is a `Problem` (RFC 9457, `application/problem+json`). Programs branch on its `code`; people
read its `detail`, which says how to correct the request.

**Pages.** Lists come in pages, newest first: send `next_cursor` of one page as `cursor` to get the next one. It is null
on the last page.

**Methods and times.** HEAD works wherever GET does, and returns no body. Times are in ISO 8601; one without a zone is
in UTC.

**Ray's dashboard.** [`/ray/`](/ray/) is Ray's own dashboard, forwarded by this server and not described here. Programs
send the same tokens in the same header; browsers sign in with a token. The dashboard shows all projects, so it needs a
token for all projects. The role `read` is enough to look at it; only admins can stop, profile or submit anything there.
"""

_DESCRIPTIONS: Mapping[str, str] = {
    "400": "The server cannot read the body",
    "401": "The token is missing, unknown, expired or revoked",
    "403": "The token's role or project does not allow this, or a web page of another site sent the request",
    "404": "The resource does not exist, or it belongs to another project",
    "408": "The client stopped sending before the end of the body",
    "409": "The request does not fit the present state of the resource",
    "411": "The request has a body without `Content-Length`",
    "413": "The body is above the limit",
    "412": "The resource has changed: `If-Match` names another version",
    "416": "The file is shorter than the requested range",
    "422": "The request is invalid; `reasons` lists every fault",
    "500": "The server failed on this request",
    "503": "The database or the storage is busy or cannot be reached. Nothing was changed; try again",
    "507": "The disk is full. Nothing was changed",
}
_HEADERS: Mapping[str, Mapping[str, str]] = {
    "401": {"WWW-Authenticate": "`Bearer`"},
    "503": {"Retry-After": "Seconds to wait before the next try"},
}
_READING = ("get", "head")
_NAME_OTHERS_INSIDE = ("compare_jobs", "check_draft", "list_disputed_images")
"""Operations whose query or body names other resources."""
# A name may be taken, or several projects may have it.
_MAY_CONFLICT = ("keep_house", "create_dataset", "get_dataset", "list_dataset_jobs", "get_dataset_page", "compare_jobs")
_FILES = ("get_artifact", "get_file", "get_checkpoint")
_LOCATION = {"Location": "Path of the new resource, or of the job that does the work"}
_ETAG = {"ETag": "The job's version, for `If-Match`"}
_SUCCESS_HEADERS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "submit_job": ("202", _LOCATION | _ETAG),
    **dict.fromkeys(("cancel_job", "pause_job", "resume_job", "retry_job"), ("202", _LOCATION | _ETAG)),
    "get_job": ("200", _ETAG),
    "patch_job": ("200", _ETAG),
    "create_token": ("201", _LOCATION),
    "create_webhook": ("201", _LOCATION),
    "create_dataset": ("201", _LOCATION),
    "check_dataset": ("202", _LOCATION | _ETAG),
}


def install(app: FastAPI) -> None:
    """Make `app` complete its OpenAPI description before it returns it, and make it once."""
    plain, making = app.openapi, Lock()

    def openapi() -> Schema:
        with making:
            if app.openapi_schema is None:
                _complete(plain())
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI documents this way to change the description


def _complete(schema: Schema) -> None:
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            responses = operation["responses"]
            # FastAPI's `default` would match every status, and so hide the ones that are missing here.
            responses.pop("default", None)
            for status in _refusals(path, method, operation):
                if status != "422" and status in responses:
                    continue
                responses[status] = {
                    "description": _DESCRIPTIONS[status],
                    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
                }
                if status in _HEADERS:
                    responses[status]["headers"] = _headers(_HEADERS[status])
            status, headers = _SUCCESS_HEADERS.get(operation["operationId"], ("200", {}))
            if headers:
                responses[status]["headers"] = _headers(headers)
            operation["responses"] = dict(sorted(responses.items()))


def _refusals(path: str, method: str, operation: Schema) -> Iterator[str]:
    # The request policy rejects pages of other sites and a NUL in the URL before any route is chosen.
    yield from ("403", "422", "500")
    if method not in _READING:
        yield from ("411", "413")
    if "requestBody" in operation:
        yield "400"
    if path not in OPEN:
        yield "401"
    if "{" in path or operation["operationId"] in _NAME_OTHERS_INSIDE:
        yield "404"
    changes_one = "{" in path and method not in _READING
    may_conflict = operation["operationId"] in _MAY_CONFLICT
    if changes_one or path.startswith("/v1/attempts/") or may_conflict:
        yield "409"
    names = {parameter["name"].lower() for parameter in operation.get("parameters", ())}
    if "if-match" in names:
        yield "412"
    if operation["operationId"] in _FILES:
        yield "416"
    if operation["operationId"] == "put_file":
        yield "408"
    if path != "/livez":
        yield from ("503", "507")


def _headers(described: Mapping[str, str]) -> Schema:
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in described.items()}
