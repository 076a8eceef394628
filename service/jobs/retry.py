"""Decides whether a failed attempt is retried, when, and with which changes."""

import math
from dataclasses import dataclass
from itertools import count
from typing import Any

from pydantic import TypeAdapter

from fgd_core.errors import LostRunError, OutOfMemoryError, error_classes
from fgd_core.spec.methods import MethodSpec
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
    unhalvable: str = ""
    """Why the batch of the attempt that failed cannot be halved; empty if it can."""


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
    note: str = ""
    """Why the job is not started again, if the error does not say it."""


def after_failure(error: ErrorReport, budgets: Budgets) -> Retry | Fail:
    """Retry an error that a repetition may cure, each time after a longer pause.

    An error is retried if it says that it is retryable and the error tree, if it knows the code, agrees. So a run that
    ran out of memory, and would run out of memory again, is not retried, unless the spec says what to change.
    """
    halves_batch = error.code == OutOfMemoryError.code and budgets.policy.on_out_of_memory == "halve_batch"
    if halves_batch and budgets.unhalvable:
        return Fail(Reason.RUN_FAILED, budgets.unhalvable)
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
        scaling, arXiv:1706.02677). The workers of the job can share the smaller batch evenly, and each has as many
        images as the method compares with each other.
    Raises:
        pydantic.ValidationError: another version stored the spec.
    """
    if not times:
        return {}
    resources = Resources.model_validate(spec.get("resources", {}))
    unit = resources.images_unit
    least = unit * math.ceil(_least_images(spec) * resources.workers / unit)
    changes = _halved(spec, times, unit, least)
    if any(stage.get("training") is not None for stage in spec.get("stages", ())):
        # A field in a list has no path, so the whole list is replaced.
        changes["stages"] = [with_fields(stage, _halved(stage, times, unit, least)) for stage in spec["stages"]]
    return changes


def why_unhalvable(spec: dict[str, Any]) -> str:
    """Return why the batch of a spec cannot be halved; empty if it can.

    Without a smaller batch, an attempt would repeat the attempt before.

    Raises:
        pydantic.ValidationError: another version stored the spec.
    """
    if with_fields(spec, halved(spec, 1)) != spec:
        return ""
    if (least := _least_images(spec)) > 1:
        return f"no smaller batch is tried: the method compares images, so each worker must see {least} at a time"
    return "there is no batch left to halve"


def _least_images(spec: dict[str, Any]) -> int:
    """Return the fewest images at a time from which every method of a spec learns."""
    given = [each["method"] for each in (spec, *spec.get("stages", ())) if each.get("method") is not None]
    methods = [_METHOD.validate_python(method) for method in given]
    taught = [method for method in methods if not method.weighs_nothing]
    return next(num for num in count(1) if not any(any(method.unmet_by_images(num)) for method in taught))


def _halved(spec: dict[str, Any], times: int, unit: int, least: int) -> dict[str, Any]:
    path = "training.batch_size" if "training" in spec else "batch_size"
    batch_size = field(spec, path)
    if batch_size is None:
        return {}
    accumulate = field(spec, "training.accumulate") or 1
    unit, least = unit * accumulate, least * accumulate
    smaller = min(batch_size, max(least, (batch_size >> times) // unit * unit))
    changes: dict[str, Any] = {path: smaller}
    rate_path = "training.optimizer.learning_rate"
    follows = field(spec, "training.learning_rate_for") is not None
    if "training" in spec and not follows and (rate := field(spec, rate_path)) is not None:
        changes[rate_path] = rate * smaller / batch_size
    return changes


_METHOD: TypeAdapter[MethodSpec] = TypeAdapter(MethodSpec)
_CURABLE = {code: error.retryable for code, error in error_classes().items()}
