"""The API's description of itself, completed: every answer that an operation can give is in it.

What a refusal needs is seen in the operation: a path with an id may lead nowhere, a body may be no JSON. So nobody
writes it down for each route, and none is forgotten; the tests hold every answer that they get against it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI

from service.api.middleware.authentication import OPEN
from service.api.problems import MEDIA_TYPE

ABOUT = """
Every request carries an API token as `Authorization: Bearer …`, where the server asks for one.

HEAD is answered as GET, without the body. Times without a zone are in UTC.

Beside what is listed here, [`/ray/`](/ray/) is Ray's own dashboard, by way of this server: it takes the same tokens,
from programs in the same header and from browsers by a sign-in of its own. It shows all projects, so it takes a token
for all of them; who may read sees it, and only admins stop, profile or submit anything there.
"""

_DESCRIPTIONS: Mapping[str, str] = {
    "400": "The body cannot be read",
    "401": "No token, or one that is unknown, expired or revoked",
    "403": "The token's role is too small; or a web page of another site asks",
    "404": "There is no such thing, or it belongs to another project",
    "408": "The body did not come whole",
    "409": "It does not fit the present state",
    "411": "A body without its Content-Length",
    "413": "The body is too large",
    "412": "It has changed since: `If-Match` names another version",
    "416": "The file is shorter than the range that was asked for",
    "422": "Refused, with every reason",
    "500": "The server made a mistake",
    "503": "Database or storage is busy or cannot be reached; nothing was changed, try again",
    "507": "The disk is full; nothing was changed",
}
_HEADERS: Mapping[str, Mapping[str, str]] = {
    "401": {"WWW-Authenticate": "`Bearer`"},
    "503": {"Retry-After": "In seconds"},
}
_READING = ("get", "head")
_NAME_JOBS_IN_THE_QUERY = ("compare_jobs",)
# A name may be taken, or be that of several.
_MAY_CONFLICT = ("keep_house", "create_dataset", "get_dataset", "get_dataset_page", *_NAME_JOBS_IN_THE_QUERY)
_FILES = ("get_artifact", "get_file", "get_checkpoint")
_LOCATION = {"Location": "Path of what was made, or is under way"}
_ETAG = {"ETag": "The version, for `If-Match`"}
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
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(plain())
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to change it


def _complete(schema: dict[str, Any]) -> None:
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            responses = operation["responses"]
            # "Anything else is a problem, too" would be true, and would hide what was forgotten.
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


def _refusals(path: str, method: str, operation: Mapping[str, Any]) -> Iterator[str]:
    # Of other sites' pages, and of a URL with a NUL in it: those are seen before it is clear which operation is meant.
    yield from ("403", "422", "500")
    if method not in _READING:
        yield from ("411", "413")
    if "requestBody" in operation:
        yield "400"
    if path not in OPEN:
        yield "401"
    if "{" in path or operation["operationId"] in _NAME_JOBS_IN_THE_QUERY:
        yield "404"
    is_about_one = "{" in path and method not in _READING
    may_conflict = operation["operationId"] in _MAY_CONFLICT
    if is_about_one or path.startswith("/v1/attempts/") or may_conflict:
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


def _headers(described: Mapping[str, str]) -> dict[str, Any]:
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in described.items()}
