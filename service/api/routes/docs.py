"""The API's documentation page: Swagger UI, served by us, so that it works offline and runs no other site's scripts."""

import importlib.resources
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse

from service.web import assets
from service.web.paths import FILES

router = APIRouter(include_in_schema=False)

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_PAGE = Path(__file__).parent / "docs.html"
_CACHED_FOR_A_DAY = {"Cache-Control": "public, max-age=86400"}


@router.get("/docs")
async def docs() -> Response:
    """Return the page."""
    # Relative, because a proxy may serve us below a path.
    html = _PAGE.read_text("utf-8").format(files=f"{FILES[1:]}/{assets.version()}")
    return HTMLResponse(html, headers={"Content-Security-Policy": POLICY})


@router.get("/openapi.json")
def description(request: Request) -> JSONResponse:
    """Return the OpenAPI description.

    To make it takes one or two seconds. This function is not `async`, so a thread does it, and the server answers other
    requests meanwhile; FastAPI's own route would keep them waiting.
    """
    return JSONResponse(request.app.openapi())


@router.get("/redoc")
async def redoc() -> Response:
    """Redirect from the address of FastAPI's other page."""
    return RedirectResponse("docs", 308)


@router.get("/docs/swagger-ui-bundle.js")
async def bundle() -> Response:
    """Return Swagger UI's code."""
    content = packaged_file("swagger-ui-bundle.js")
    return Response(content, media_type="text/javascript", headers=_CACHED_FOR_A_DAY)


@router.get("/docs/swagger-ui.css")
async def style() -> Response:
    """Return Swagger UI's style sheet."""
    return Response(packaged_file("swagger-ui.css"), media_type="text/css", headers=_CACHED_FOR_A_DAY)


@cache
def packaged_file(name: str) -> bytes:
    """Return a file of Swagger UI from the package fastapi-offline; we use nothing else of that package."""
    return importlib.resources.files("fastapi_offline").joinpath("static", name).read_bytes()
