"""How a group of workers ended: with an outcome, or because it lost a worker."""

from collections.abc import Mapping
from dataclasses import dataclass

from fgd_core.errors import FgdError, LostRunError
from fgd_core.spec.events import RunFinished
from fgd_core.spec.results import ErrorReport

_LOST_PEER = ("gloo/transport", "DistBackendError", "DistNetworkError", "DistStoreError", "Connection closed by peer")
"""Parts of the errors with which `torch.distributed` reports, in one worker, that another one is gone."""


class RankError(Exception):
    """Carries the error of a worker to the group's actor."""

    def __init__(self, report: ErrorReport) -> None:
        super().__init__(report)
        self.report = report

    def __str__(self) -> str:
        return self.report.message


class WorkerLostError(Exception):
    """A worker of the group died, or its node did; the others were ended."""


@dataclass(frozen=True)
class Lost:
    """Says which worker the group lost, and how."""

    cause: str


def end_after(failures: Mapping[int, Exception]) -> RunFinished | Lost:
    """Decide how a group ended in which workers failed.

    A worker that dies makes the collectives of all others fail, so their errors count only if none has died.

    Args:
        failures: by rank, at least one; a `RankError` if the worker lives.
    """
    for rank, error in sorted(failures.items()):
        if not isinstance(error, RankError):
            return Lost(f"worker {rank}: {first_line(error)}")
    reports = {rank: error.report for rank, error in sorted(failures.items()) if isinstance(error, RankError)}
    own = {rank: report for rank, report in reports.items() if not speaks_of_lost_peer(report)}
    if not own:
        return Lost(next(f"worker {rank}: {report.message}" for rank, report in reports.items()))
    rank, report = next(iter(own.items()))
    # All workers end with the same error, which then names the worker on which it occurred.
    details = {"worker": rank, **report.details}
    return RunFinished(outcome="failed", error=report.model_copy(update={"details": details}))


def speaks_of_lost_peer(report: ErrorReport) -> bool:
    """Return whether a worker failed because it cannot reach another one any more."""
    text = f"{report.message} {report.traceback}"
    return report.code == LostRunError.code or (
        report.code == FgdError.code and any(part in text for part in _LOST_PEER)
    )


def first_line(error: Exception) -> str:
    """Return the error's type and the first line of its message."""
    # Ray Train wraps the error that says how an actor died.
    inner = getattr(error, "health_check_failure", error)
    lines = str(inner).strip().splitlines()
    return f"{type(inner).__name__}: {lines[0]}" if lines else type(inner).__name__
