"""The API's description of itself: what the tokens bring with them is said of every route that asks for one."""

from typing import Any

from fastapi import FastAPI

from service.api.access import SCHEME
from service.api.problems import MEDIA_TYPE

_REFUSALS = {"401": "No API token, or one that is unknown, expired or revoked", "403": "The token's role is too small"}


def install(app: FastAPI) -> None:
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(plain())
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to change it


def _complete(schema: dict[str, Any]) -> None:
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for operations in schema["paths"].values():
        for operation in operations.values():
            if {SCHEME: []} in operation.get("security", ()):
                for status, description in _REFUSALS.items():
                    operation["responses"].setdefault(status, {"description": description, "content": content})
