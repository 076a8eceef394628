"""What Prometheus comes for."""

import hmac
from typing import Any

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client.exposition import choose_encoder

from service.api.access import Principal, Reader, Role
from service.api.deps import ServicesDep
from service.errors import ForbiddenError
from service.settings import Settings

PATH = "/metrics"
SCRAPER = Principal(name="metrics", role=Role.READ)

router = APIRouter(tags=["health"])

log = structlog.get_logger(__name__)


class ScrapeToken:
    """A token that opens `/metrics` and nothing else, for a monitoring system that should hold no more."""

    def __init__(self, settings: Settings) -> None:
        self._token = settings.metrics_token
        self._file = settings.metrics_token_file

    def matches(self, token: str) -> bool:
        # Read at each scrape: a token that was changed is valid at once, without a restart.
        wanted = self._token.get_secret_value() if self._token is not None else self._read()
        return wanted is not None and hmac.compare_digest(token.encode(), wanted.encode())

    def _read(self) -> str | None:
        if self._file is None:
            return None
        try:
            # An empty file opens nothing.
            return self._file.read_text(encoding="utf-8").strip() or None
        except (OSError, UnicodeDecodeError) as error:
            log.warning("metrics_token_unreadable", path=str(self._file), error=str(error))
            return None


_TEXT: dict[str, Any] = {"schema": {"type": "string"}}


@router.get(
    PATH,
    operation_id="scrape",
    response_class=Response,
    responses={
        200: {
            "description": "For Prometheus",
            "content": {"text/plain": _TEXT, "application/openmetrics-text": _TEXT},
        }
    },
)
async def scrape(services: ServicesDep, principal: Reader, request: Request) -> Response:
    """Metrics of this replica, and of the whole system, in Prometheus' text format or, where it is asked for, in
    OpenMetrics. It takes a token of the role read for all projects, or the server's FGD_METRICS_TOKEN."""
    if principal.project is not None:
        raise ForbiddenError(
            f"metrics are of all projects, and {principal.name!r} is for {principal.project!r} alone; use a token for "
            "all projects, or the server's FGD_METRICS_TOKEN",
            project=principal.project,
        )
    await services.measuring.look()
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return Response(encode(services.metrics.registry), headers={"Content-Type": content_type})
