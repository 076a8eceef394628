"""Decides whether a failed attempt is retried, when, and with which changes."""

from dataclasses import dataclass
from typing import Any

from fgd_core.errors import LostRunError, OutOfMemoryError, error_classes
from fgd_core.spec.paths import field, with_fields
from fgd_core.spec.resources import Resources, RetryPolicy
from fgd_core.spec.results import ErrorReport
from service.jobs.lifecycle import Reason

LONGEST_BACKOFF_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Budgets:
    """The retry policy of a job, and what is spent of it."""

    policy: RetryPolicy
    failures: int
    """Spent of `policy.failures`."""
    losses: int
    """Spent of `policy.losses`."""
    can_halve: bool = True
    """Whether the attempt that failed had a batch that can be halved."""


@dataclass(frozen=True, kw_only=True)
class Retry:
    """Start the job again."""

    after_s: float
    is_loss: bool
    """Whether it uses the budget for losses, not the one for failures."""
    number: int
    """Number of the retry within its budget, from 1."""
    out_of: int
    halves_batch: bool = False


@dataclass(frozen=True)
class Fail:
    """Do not start the job again."""

    reason: Reason


def after_failure(error: ErrorReport, budgets: Budgets) -> Retry | Fail:
    """Retry an error that a repetition may cure, each time after a longer pause.

    An error is retried if it says that it is retryable and the error tree, if it knows the code, agrees. So a run that
    ran out of memory, and would run out of memory again, is not retried, unless the spec says what to change.
    """
    may_halve = budgets.policy.on_out_of_memory == "halve_batch" and budgets.can_halve
    halves_batch = error.code == OutOfMemoryError.code and may_halve
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


def halved(spec: dict[str, Any], times: int) -> dict[str, Any]:
    """Halve the batch of a stored spec `times` times.

    Returns:
        The changed fields by path; empty if the spec has no batch. The learning rate shrinks in proportion (linear
        scaling, arXiv:1706.02677). The workers of the job can share the smaller batch evenly.
    """
    if not times:
        return {}
    unit = Resources.model_validate(spec.get("resources", {})).images_unit
    changes = _halved(spec, times, unit)
    if any(stage.get("training") is not None for stage in spec.get("stages", ())):
        # A field in a list has no path, so the whole list is replaced.
        changes["stages"] = [with_fields(stage, _halved(stage, times, unit)) for stage in spec["stages"]]
    return changes


def can_halve(spec: dict[str, Any]) -> bool:
    """Return whether a spec has a batch that can be halved; an attempt without one would repeat the attempt before."""
    return with_fields(spec, halved(spec, 1)) != spec


def _halved(spec: dict[str, Any], times: int, unit: int) -> dict[str, Any]:
    path = "training.batch_size" if "training" in spec else "batch_size"
    batch_size = field(spec, path)
    if batch_size is None:
        return {}
    unit *= field(spec, "training.accumulate") or 1
    smaller = max(unit, (batch_size >> times) // unit * unit)
    changes: dict[str, Any] = {path: smaller}
    rate_path = "training.optimizer.learning_rate"
    follows = field(spec, "training.learning_rate_for") is not None
    if "training" in spec and not follows and (rate := field(spec, rate_path)) is not None:
        changes[rate_path] = rate * smaller / batch_size
    return changes


_CURABLE = {code: error.retryable for code, error in error_classes().items()}
