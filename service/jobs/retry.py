"""Whether a failed attempt is worth another one."""

from collections.abc import Iterator
from dataclasses import dataclass

from fgd_core.errors import FgdError
from fgd_core.spec.events import ErrorReport
from service.jobs.lifecycle import Reason


@dataclass(frozen=True)
class Retry:
    after_s: float


@dataclass(frozen=True)
class Fail:
    reason: Reason


def after_failure(error: ErrorReport, *, retries: int, max_retries: int) -> Retry | Fail:
    """Retry what a repetition may cure, later each time; `retries` are those already spent.

    An error counts as curable when it says so and its code, where the tree knows it, agrees: a run that ran out of
    memory will run out again, whatever it believes of itself.
    """
    if not (error.retryable and _CURABLE.get(error.code, True)):
        return Fail(Reason.RUN_FAILED)
    if retries >= max_retries:
        return Fail(Reason.RETRIES_SPENT)
    return Retry(after_s=2.0**retries)


def _tree(root: type[FgdError]) -> Iterator[type[FgdError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


_CURABLE = {error.code: error.retryable for error in _tree(FgdError)}
