"""From an answer of the server back to the error that it stands for."""

from collections.abc import Iterator

import httpx
from pydantic import ValidationError

from fgd_core.errors import FgdError
from fgd_core.spec.views import Problem
from service.client.errors import UnreachableError


def unreachable(base_url: str, cause: Exception) -> UnreachableError:
    return UnreachableError(
        f"no control plane answers at {base_url}; start one with `fgd up`, or name another with --server or FGD_SERVER",
        cause=str(cause) or type(cause).__name__,
    )


def error_of(response: httpx.Response) -> FgdError:
    """The error that a refused request stands for; the body has been read.

    A problem+json whose code the tree of errors knows becomes that class, with its details, and `reasons` among them
    as a list of {loc, code, message}; anything else keeps its code on a plain FgdError.
    """
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        return not_ours(response)
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
    return FgdError(
        f"{response.request.url} answered {response.status_code} and is no control plane that this client understands; "
        "check --server, or FGD_SERVER",
        status=response.status_code,
    )


def _tree(root: type[FgdError]) -> Iterator[type[FgdError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)
