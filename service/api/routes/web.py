"""The page: one HTML shell for all its addresses, and its files."""

import hashlib
from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from fgd_core.errors import NotFoundError
from service.api.deps import ServicesDep
from service.web import assets
from service.web.paths import FILES, PAGES

router = APIRouter(include_in_schema=False)

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    # No text of a user can become markup or code: the browser refuses innerHTML and its like. The one policy that may
    # be created turns every text into the address of the page's worker.
    "require-trusted-types-for 'script'; trusted-types fgd-worker"
)
_FOR_EVER = "public, max-age=31536000, immutable"


def _show(page: str) -> Callable[..., Awaitable[Response]]:
    async def show_page(services: ServicesDep, request: Request) -> Response:
        """Return the shell. It holds no data, so it needs no token; browsers ask each time whether it has changed."""
        html = assets.shell(services.settings.url_path, page)
        etag = f'"{hashlib.sha256(html.encode()).hexdigest()[:32]}"'
        headers = {"ETag": etag, "Cache-Control": "no-cache", "Content-Security-Policy": POLICY}
        if request.headers.get("If-None-Match") == etag:
            return Response(status_code=304, headers=headers)
        return HTMLResponse(html, headers=headers)

    return show_page


for _number, (_path, _page) in enumerate(PAGES.items()):
    router.add_api_route(_path, _show(_page), operation_id=f"show_page_{_number}")


@router.get(f"{FILES}/{{version}}/{{name:path}}", operation_id="get_page_file")
async def get_file(version: str, name: str, request: Request) -> Response:
    """Return a file of the page.

    A replica that is being updated may be asked for another version: it answers with its own file, which the browser
    must not keep under that address.
    """
    asset = assets.assets().get(name)
    if asset is None:
        raise NotFoundError(f"the page has no file {name[:200]!r}; reload the page")
    is_ours = version == assets.version()
    headers = {"Cache-Control": _FOR_EVER if is_ours else "no-store", "Vary": "Accept-Encoding"}
    # A worker runs under the policy of its own file.
    headers |= {"Content-Security-Policy": POLICY}
    if "gzip" not in request.headers.get("Accept-Encoding", ""):
        return Response(asset.content, media_type=asset.media_type, headers=headers)
    return Response(asset.packed, media_type=asset.media_type, headers=headers | {"Content-Encoding": "gzip"})
