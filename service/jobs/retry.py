"""Whether a failed attempt is worth another one."""

from collections.abc import Iterator
from dataclasses import dataclass

from fgd_core.errors import FgdError, LostRunError, OutOfMemoryError
from fgd_core.spec.resources import RetryPolicy
from fgd_core.spec.results import ErrorReport
from service.jobs.lifecycle import Reason

LONGEST_BACKOFF_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Budgets:
    policy: RetryPolicy
    failures: int
    """Spent of `policy.failures`."""
    losses: int
    """Spent of `policy.losses`."""


@dataclass(frozen=True, kw_only=True)
class Retry:
    after_s: float
    is_loss: bool
    """Whose budget it is taken from."""
    number: int
    """Of this budget, from 1."""
    out_of: int
    halves_batch: bool = False


@dataclass(frozen=True)
class Fail:
    reason: Reason


def after_failure(error: ErrorReport, budgets: Budgets) -> Retry | Fail:
    """Retry what a repetition may cure, later each time.

    An error counts as curable when it says so and its code, where the tree knows it, agrees: a run that ran out of
    memory will run out again, whatever it believes of itself, unless the spec says what to change.
    """
    halves_batch = error.code == OutOfMemoryError.code and budgets.policy.on_out_of_memory == "halve_batch"
    if not halves_batch and not (error.retryable and _CURABLE.get(error.code, True)):
        return Fail(Reason.RUN_FAILED)
    is_loss = error.code == LostRunError.code
    spent, budget = (budgets.losses, budgets.policy.losses) if is_loss else (budgets.failures, budgets.policy.failures)
    if spent >= budget:
        return Fail(Reason.RETRIES_SPENT)
    return Retry(
        after_s=min(LONGEST_BACKOFF_S, 2.0**spent),
        is_loss=is_loss,
        number=spent + 1,
        out_of=budget,
        halves_batch=halves_batch,
    )


def _tree(root: type[FgdError]) -> Iterator[type[FgdError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


_CURABLE = {error.code: error.retryable for error in _tree(FgdError)}
