"""Checks every response that a test gets against the API's OpenAPI description."""

import re
from collections.abc import Mapping
from typing import Any

import httpx
from fastapi import FastAPI


class Documented:
    """A hook of httpx that fails the test if the description lacks the status or the media type of a response.

    Requests that the router refuses (unknown path or method) belong to no operation and are not checked.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def __call__(self, response: httpx.Response) -> None:
        operation = self._operation(response.request)
        if operation is None or response.status_code == 405:
            return
        answers = operation["responses"]
        status = str(response.status_code)
        assert status in answers, f"{operation['operationId']} answered {status}, which the description lacks"
        kind = response.headers.get("Content-Type", "").partition(";")[0]
        described = answers[status].get("content", {})
        assert kind in described or "*/*" in described or (not kind and not described), (
            f"{operation['operationId']} answered {status} with {kind!r}; the description lists {list(described)}"
        )

    def _operation(self, request: httpx.Request) -> Mapping[str, Any] | None:
        for pattern, operations in operations_of(self._app):
            if pattern.fullmatch(request.url.raw_path.decode().partition("?")[0]):
                found: Mapping[str, Any] | None = operations.get(request.method.lower())
                return found
        return None


# All applications have the same description, and building it takes longer than most tests.
_paths: list[tuple[re.Pattern[str], Mapping[str, Any]]] = []


def operations_of(app: FastAPI) -> list[tuple[re.Pattern[str], Mapping[str, Any]]]:
    """Return the described operations by patterns of their paths."""
    if not _paths:
        described = app.openapi()["paths"]
        _paths.extend((re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)), item) for path, item in described.items())
        # These parameters may contain slashes.
        for described_as in (
            "/v1/jobs/{job_id}/artifacts/{name}",
            "/v1/attempts/{attempt_id}/files/{path}",
            "/v1/attempts/{attempt_id}/checkpoints/{job_id}/{name}",
        ):
            *before, _ = re.split(r"\{[^}]+\}", described_as.removesuffix("}") + "}")
            _paths.append((re.compile("[^/]+".join(before) + ".+"), described[described_as]))
    return _paths
