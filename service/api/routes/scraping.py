"""The metrics endpoint for Prometheus."""

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client.exposition import choose_encoder

from service.api.access import Reader
from service.api.deps import ServicesDep
from service.api.token_check import METRICS_PATH

_TEXT = {"schema": {"type": "string"}}

router = APIRouter(tags=["health"])


@router.get(
    METRICS_PATH,
    operation_id="scrape",
    response_class=Response,
    responses={
        200: {
            "description": "Metrics in the format that the `Accept` header asks for",
            "content": {"text/plain": _TEXT, "application/openmetrics-text": _TEXT},
        }
    },
)
async def scrape(services: ServicesDep, principal: Reader, request: Request) -> Response:
    """Return the metrics of this replica and of the whole system in Prometheus' text format.

    With `Accept: application/openmetrics-text`, the format is OpenMetrics. The request needs a token with the role
    `read` for all projects, or the server's FGD_METRICS_TOKEN.
    """
    principal.check_all_projects("metrics cover all projects")
    await services.measuring.sample()
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return Response(encode(services.metrics.registry), headers={"Content-Type": content_type})
