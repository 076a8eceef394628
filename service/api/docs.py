"""The API's page for people: Swagger UI, served from here, so that it works offline and no other site's scripts run."""

import importlib.resources
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse, RedirectResponse

router = APIRouter(include_in_schema=False)

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
PATHS = frozenset({"/docs", "/redoc", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/docs/start.js"})
_HERE = Path(__file__).parent
_FOR_A_DAY = {"Cache-Control": "public, max-age=86400"}


@router.get("/docs")
async def docs() -> Response:
    return HTMLResponse((_HERE / "docs.html").read_text("utf-8"), headers={"Content-Security-Policy": POLICY})


@router.get("/redoc")
async def redoc() -> Response:
    # Beside it, for the server may stand below a path.
    return RedirectResponse("docs", 308)


@router.get("/docs/start.js")
async def start() -> Response:
    return Response((_HERE / "docs.js").read_bytes(), media_type="text/javascript", headers=_FOR_A_DAY)


@router.get("/docs/swagger-ui-bundle.js")
async def bundle() -> Response:
    return Response(_packaged("swagger-ui-bundle.js"), media_type="text/javascript", headers=_FOR_A_DAY)


@router.get("/docs/swagger-ui.css")
async def style() -> Response:
    return Response(_packaged("swagger-ui.css"), media_type="text/css", headers=_FOR_A_DAY)


@cache
def _packaged(name: str) -> bytes:
    """Swagger UI as fastapi-offline carries it; of that package nothing else is used."""
    return importlib.resources.files("fastapi_offline").joinpath("static", name).read_bytes()
