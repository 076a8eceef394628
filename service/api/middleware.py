"""The middleware of the API: what every request passes through before and after its route."""

from collections.abc import Sequence

from starlette.middleware import Middleware

from service.api.audit_trail import AuditTrail
from service.api.authentication import Authentication, ray_site, web_site
from service.api.body_limits import BodyLimits
from service.api.deps import Services
from service.api.head_requests import HeadRequests
from service.api.request_log import RequestLog
from service.api.request_policy import RequestPolicy
from service.api.security_headers import SecurityHeaders
from service.api.token_check import ScrapeToken
from service.links import ClientAddress


def layers(services: Services) -> Sequence[Middleware]:
    """Lists the middleware from the outermost layer to the innermost one, each with the reason for its place."""
    settings = services.settings
    return (
        # Outside everything: it records the final status, also where an inner layer rejected the request.
        Middleware(AuditTrail, database=services.database, clock=services.clock),
        # Outside all layers that can fail: it answers their exceptions, and times the whole request.
        Middleware(RequestLog, metrics=services.metrics),
        # Before every layer that writes links or compares the request's address with ours.
        Middleware(ClientAddress, path=settings.url_path),
        # Outside the layers that reject requests: refusals need the security headers as well.
        Middleware(SecurityHeaders),
        # Before authentication: a request that no token can make acceptable costs no look into the database.
        Middleware(RequestPolicy, settings=settings),
        # Before the body is read: an unknown client cannot make the server read or parse anything.
        Middleware(
            Authentication,
            tokens=services.tokens if settings.auth == "tokens" else None,
            scrape_token=ScrapeToken(settings),
            sites=(ray_site(services.ray_sessions), web_site(services.web_sessions)),
            settings=settings,
        ),
        # Before the routes: FastAPI parses a body of any size and depth.
        Middleware(BodyLimits),
        # Innermost: all other layers see the HEAD request, only the routes see GET.
        Middleware(HeadRequests),
    )
