"""Sends requests to one server and reads the answers as models."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, Self, TypeAlias, TypedDict, TypeVar, Unpack
from urllib.parse import quote

import httpx
from pydantic import BaseModel, JsonValue, ValidationError

from fgd_core.errors import FgdError, NotFoundError
from fgd_core.spec.administration import AuditPage, DeliveryPage
from fgd_core.spec.datasets import DatasetPage
from fgd_core.spec.views import JobPage
from service.client.connecting import authorization, connect, server_url, token_of_environment
from service.client.problems import accepted, not_fgd, other_version, unreachable

QueryValue: TypeAlias = str | int | None
Query: TypeAlias = Mapping[str, QueryValue | Sequence[QueryValue]]
"""Values that are None are left out."""

# For requests that delete many large files or compare large data sets.
LONG_TIMEOUT_S = 600.0

M = TypeVar("M", bound=BaseModel)
P = TypeVar("P", JobPage, DatasetPage, DeliveryPage, AuditPage)


class Options(TypedDict, total=False):
    """What a request may have in addition to its method and path."""

    params: Query
    json: JsonValue
    headers: Mapping[str, str]
    timeout_s: float


class Read(Protocol):
    """Sends one request and reads its answer as a model."""

    def __call__(self, model: type[M], method: str, path: str, **options: Unpack[Options]) -> M: ...


class Transport:
    """Holds the HTTP connection to one server; the base of `FgdClient`, whose docstring describes the arguments."""

    def __init__(self, base_url: str | None = None, *, token: str | None = None, timeout_s: float = 30.0) -> None:
        self.base_url = server_url(base_url)
        headers = authorization(token if token is not None else token_of_environment())
        self._http = connect(self.base_url, headers=headers, timeout_s=timeout_s)

    def __repr__(self) -> str:
        # Without the token.
        return f"{type(self).__name__}({self.base_url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _read(self, model: type[M], method: str, path: str, **options: Unpack[Options]) -> M:
        return read_model(model, self._send(method, path, **options))

    def _send(self, method: str, path: str, **options: Unpack[Options]) -> httpx.Response:
        """Send one request and return the answer; raise a refusal, or UnreachableError."""
        given = {name: value for name, value in options.get("params", {}).items() if value is not None}
        body, headers = options.get("json"), options.get("headers")
        timeout = options.get("timeout_s", self._http.timeout)
        try:
            answer = self._http.request(method, path, params=given or None, json=body, headers=headers, timeout=timeout)
        except (httpx.TransportError, httpx.InvalidURL) as cause:
            raise unreachable(self.base_url, cause) from cause
        return accepted(answer)


def read_model(model: type[M], response: httpx.Response) -> M:
    """Read an answer as a model; raises FgdError where the server is of another version, or is not fgd."""
    try:
        return model.model_validate_json(response.content)
    except ValidationError as cause:
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        fields = ", ".join(dict.fromkeys(".".join(map(str, fault["loc"])) for fault in cause.errors()[:3]))
        if is_json and fields:
            raise other_version(response, f"answered without a readable {fields}") from cause
        raise not_fgd(response) from cause


def read_message(model: type[M], message: str) -> M:
    """Read one message of a stream as a model; raises FgdError where the server is of another version."""
    try:
        return model.model_validate_json(message)
    except ValidationError as cause:
        raise FgdError(
            "this client cannot read a message of the server; use a client of the server's version"
        ) from cause


def pages(read: Read, model: type[P], path: str, params: Query) -> Iterator[P]:
    """Yield the pages of a list, one request each, until the server has no further page."""
    cursor: str | None = None
    while True:
        page = read(model, "GET", path, params={**params, "cursor": cursor})
        yield page
        if page.next_cursor is None:
            return
        cursor = page.next_cursor


def segment(name: str, *, what: str, listing: str) -> str:
    """Return an id or a name as one segment of a path.

    Args:
        what: what the name stands for, for the error.
        listing: the command that lists the names.
    Raises:
        NotFoundError: the name is empty; the path would be that of the whole list.
    """
    if not name:
        raise NotFoundError(f"the id or name of the {what} is empty; `{listing}` lists them")
    return quote(name, safe="")


def job_path(job_id: str) -> str:
    """Return the path of a job; raises NotFoundError for an empty id."""
    return f"/v1/jobs/{segment(job_id, what='job', listing='fgd jobs')}"
