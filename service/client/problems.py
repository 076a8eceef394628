"""Turns failed requests and refusals of the server into errors that name the cause and the cure."""

import ssl
from collections.abc import Iterator
from importlib.metadata import version
from urllib.parse import urlsplit

import httpx
from pydantic import ValidationError

from fgd_core.errors import FgdError, NotFoundError, error_classes
from fgd_core.spec.views import Problem
from service.client.connecting import proxy_for
from service.client.errors import UnreachableError

# How a server's answer for an unknown path begins.
_NO_PATH = "there is nothing at "


def unreachable(base_url: str, cause: Exception) -> UnreachableError:
    """Return the error for a server that did not answer: which part of the connection failed, and the cure."""
    tls = next((error for error in _chain(cause) if isinstance(error, ssl.SSLError)), None)
    proxy = proxy_for(base_url)
    if isinstance(tls, ssl.SSLCertVerificationError):
        message = (
            f"the certificate of {base_url} is not trusted: {tls.verify_message}; if your own authority signed it, "
            "put the path of the authority's certificate into SSL_CERT_FILE"
        )
    elif tls is not None:
        message = (
            f"{base_url} does not answer with TLS that this client understands; for a server without TLS, write "
            "http:// in --server or FGD_SERVER"
        )
    elif proxy is not None:
        host = urlsplit(base_url).hostname
        message = (
            f"no server answers at {base_url} through the proxy {proxy} of the environment; add {host} to NO_PROXY to "
            "connect without the proxy, or name another server with --server or FGD_SERVER"
        )
    else:
        message = (
            f"no server answers at {base_url}; start one with `fgd up`, or name another one with --server or FGD_SERVER"
        )
    return UnreachableError(message, cause=str(cause) or type(cause).__name__)


def accepted(response: httpx.Response) -> httpx.Response:
    """Return a successful response; raise a refusal as the error of its code. The body must have been read."""
    if response.is_success:
        return response
    error = error_of(response)
    # A server that is stopping, or a proxy that cannot reach its server, is temporary.
    if response.status_code in (502, 503, 504):
        error.retryable = True
    raise error


def error_of(response: httpx.Response) -> FgdError:
    """Return the error for a refused request.

    A problem+json with a known code becomes the class of that code, with its details and with `reasons` as a list of
    {loc, code, message}. Every other code becomes a plain FgdError with that code.
    """
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        return not_fgd(response)
    if response.status_code == 404 and problem.detail.startswith(_NO_PATH):
        return NotFoundError(_other_version(response, f"has no {response.request.url.path}"))
    details = dict(problem.details)
    if problem.reasons:
        details["reasons"] = [reason.model_dump() for reason in problem.reasons]
    error = error_classes().get(problem.code, FgdError)(problem.detail or problem.title, **details)
    error.code = problem.code
    return error


def not_fgd(response: httpx.Response) -> FgdError:
    """Return the error for an answer that cannot be read: another program, or a very different version."""
    url = str(response.request.url)
    proxy = proxy_for(url)
    if response.has_redirect_location:
        message = f"{url} redirects to {response.headers['Location']}; name that server in --server or FGD_SERVER"
    else:
        through = f" through the proxy {proxy} of the environment" if proxy is not None else ""
        message = (
            f"{url} answered {response.status_code}{through}, and this client cannot read the answer; check --server "
            "or FGD_SERVER"
        )
        message += f", or add {response.request.url.host} to NO_PROXY" if proxy is not None else ""
    return FgdError(message, status=response.status_code)


def other_version(response: httpx.Response, what: str) -> FgdError:
    """Return the error for a server whose answer this client's version does not know."""
    return FgdError(_other_version(response, what), status=response.status_code)


def _other_version(response: httpx.Response, what: str) -> str:
    url = response.request.url.copy_with(path="/", query=None)
    return (
        f"the server at {str(url).rstrip('/')} {what}: it has another version than this client ({version('fgd')}), or "
        "--server names a path that the server does not have; use a client of the server's version"
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and its causes."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
