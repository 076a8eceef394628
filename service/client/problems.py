"""From an answer of the server back to the error that it stands for."""

import ssl
from collections.abc import Iterator
from importlib.metadata import version
from urllib.parse import urlsplit

import httpx
from pydantic import ValidationError

from fgd_core.errors import FgdError, NotFoundError
from fgd_core.spec.views import Problem
from service.client.connecting import proxy_for
from service.client.errors import UnreachableError

# How a control plane answers where it has no such path.
_NO_PATH = "there is nothing at "


def unreachable(base_url: str, cause: Exception) -> UnreachableError:
    """For a server that gave no answer: which part of the way there failed, and the cure."""
    said = str(cause) or type(cause).__name__
    tls = next((error for error in _chain(cause) if isinstance(error, ssl.SSLError)), None)
    proxy = proxy_for(base_url)
    if isinstance(tls, ssl.SSLCertVerificationError):
        what = (
            f"the certificate of {base_url} is not trusted: {tls.verify_message}; if an authority of your own signed "
            "it, name the file with the authority's certificate in SSL_CERT_FILE"
        )
    elif tls is not None:
        what = (
            f"{base_url} does not answer with TLS that this client understands; write http:// in --server or "
            "FGD_SERVER for a server without TLS"
        )
    elif proxy is not None:
        host = urlsplit(base_url).hostname
        what = (
            f"no control plane answers at {base_url} through the proxy {proxy} of the environment; write {host} into "
            "NO_PROXY to do without the proxy, or name another server with --server or FGD_SERVER"
        )
    else:
        what = (
            f"no control plane answers at {base_url}; start one with `fgd up`, or name another with --server or "
            "FGD_SERVER"
        )
    return UnreachableError(what, cause=said)


def error_of(response: httpx.Response) -> FgdError:
    """The error that a refused request stands for; the body has been read.

    A problem+json whose code the tree of errors knows becomes that class, with its details, and `reasons` among them
    as a list of {loc, code, message}; anything else keeps its code on a plain FgdError.
    """
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        return not_ours(response)
    if response.status_code == 404 and problem.detail.startswith(_NO_PATH):
        return NotFoundError(_other_version(response, f"has no {response.request.url.path}"))
    details = dict(problem.details)
    if problem.reasons:
        details["reasons"] = [reason.model_dump() for reason in problem.reasons]
    kinds = {kind.code: kind for kind in _tree(FgdError)}
    error = kinds.get(problem.code, FgdError)(problem.detail or problem.title, **details)
    error.code = problem.code
    return error


def accepted(response: httpx.Response) -> httpx.Response:
    """The answer, if it is no refusal; a refusal is raised as the error that it stands for."""
    if response.is_success:
        return response
    error = error_of(response)
    # A server that is stopping, or a proxy whose server is away, is not a refusal.
    if response.status_code in (502, 503, 504):
        error.retryable = True
    raise error


def not_ours(response: httpx.Response) -> FgdError:
    """For an answer that makes no sense: another program listens there, or a version too far from this one."""
    url = str(response.request.url)
    proxy = proxy_for(url)
    if response.has_redirect_location:
        what = f"{url} sends requests on to {response.headers['Location']}; name that server in --server or FGD_SERVER"
    else:
        by = f" by way of the proxy {proxy} of the environment" if proxy is not None else ""
        what = (
            f"{url} answered {response.status_code}{by} and is no control plane that this client understands; "
            "check --server, or FGD_SERVER"
        )
        what += f", or write {response.request.url.host} into NO_PROXY" if proxy is not None else ""
    return FgdError(what, status=response.status_code)


def other_version(response: httpx.Response, what: str) -> FgdError:
    """For a control plane that answers what this client does not know."""
    return FgdError(_other_version(response, what), status=response.status_code)


def _other_version(response: httpx.Response, what: str) -> str:
    url = response.request.url.copy_with(path="/", query=None)
    return (
        f"the control plane at {str(url).rstrip('/')} {what}, so it is of another version than this client, which is "
        f"{version('fgd')}, or --server names a path that it does not have; use a client of the server's version"
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _tree(root: type[FgdError]) -> Iterator[type[FgdError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)
