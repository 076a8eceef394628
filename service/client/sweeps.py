"""The trials of sweeps, from Python: `client.sweeps`."""

from collections.abc import Callable, Mapping

from pydantic import JsonValue

from fgd_core.spec.sweep_report import SweepReport, TrialList, TrialView
from fgd_core.spec.trials import MoreBudget, NewTrial, TrialAsked
from fgd_core.spec.views import JobView
from service.client.transport import Read, job_path


class Sweeps:
    """Reads and controls the trials of sweeps."""

    def __init__(self, read: Read, fetch: Callable[[str, Mapping[str, str | None]], bytes]) -> None:
        self._read, self._fetch = read, fetch

    def report(self, job_id: str) -> SweepReport:
        """Return which values to use, how certain that is, and why; also while the sweep runs."""
        return self._read(SweepReport, "GET", f"{job_path(job_id)}/report", params={"format": "json"})

    def trials(self, job_id: str) -> TrialList:
        """Return all trials as they are now, by number."""
        return self._read(TrialList, "GET", f"{job_path(job_id)}/trials")

    def trials_csv(self, job_id: str) -> bytes:
        """Return all trials as CSV, a row per trial, with the columns of Ray Tune's `ResultGrid.get_dataframe`."""
        return self._fetch(f"{job_path(job_id)}/trials", {"format": "csv"})

    def trial(self, job_id: str, number: int) -> TrialView:
        """Return one trial as it is now."""
        return self._read(TrialView, "GET", f"{job_path(job_id)}/trials/{number}")

    def add(self, job_id: str, values: Mapping[str, JsonValue]) -> TrialAsked:
        """Add a trial with these values; it is the next to run, whatever the searcher suggests.

        Args:
            values: by field of the base; other fields keep the values of the base.
        """
        body = NewTrial(values=dict(values)).model_dump(mode="json")
        return self._read(TrialAsked, "POST", f"{job_path(job_id)}/trials", json=body)

    def stop(self, job_id: str, number: int) -> TrialView:
        """Ask one trial to save and stop; the others continue."""
        return self._read(TrialView, "POST", f"{job_path(job_id)}/trials/{number}/stop")

    def extend(self, job_id: str, more: MoreBudget) -> JobView:
        """Add to a sweep's budget; a sweep that is over or paused is queued again."""
        return self._read(JobView, "POST", f"{job_path(job_id)}/budget", json=more.model_dump(mode="json"))
