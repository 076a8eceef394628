"""The trials of a sweep, from Python: `client.sweeps`."""

from collections.abc import Mapping
from urllib.parse import quote

from pydantic import JsonValue

from fgd_core.spec.sweep_report import SweepReport, TrialView
from fgd_core.spec.sweep_views import TrialList
from fgd_core.spec.trials import MoreBudget, NewTrial, TrialAsked
from fgd_core.spec.views import JobView
from service.client.administration import Ask


class Sweeps:
    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def report(self, job_id: str) -> SweepReport:
        """What it comes to, or stands at while it runs: which values to use, how sure that is, and why."""
        return self._ask(SweepReport, "GET", f"{_path(job_id)}/report", params={"format": "json"})

    def trials(self, job_id: str) -> TrialList:
        """All trials, by number, as they stand."""
        return self._ask(TrialList, "GET", f"{_path(job_id)}/trials")

    def trial(self, job_id: str, number: int) -> TrialView:
        return self._ask(TrialView, "GET", f"{_path(job_id)}/trials/{number}")

    def add(self, job_id: str, values: Mapping[str, JsonValue]) -> TrialAsked:
        """Have these values tried next, whatever the searcher thinks.

        Args:
            values: by field of the base; what is left out stays as it is there.
        """
        body = NewTrial(values=dict(values)).model_dump(mode="json")
        return self._ask(TrialAsked, "POST", f"{_path(job_id)}/trials", json=body)

    def stop(self, job_id: str, number: int) -> TrialView:
        """Ask one trial to save and stop; the others go on."""
        return self._ask(TrialView, "POST", f"{_path(job_id)}/trials/{number}/stop")

    def extend(self, job_id: str, more: MoreBudget) -> JobView:
        """Search on with so much more; a sweep that is over or paused is queued again."""
        return self._ask(JobView, "POST", f"{_path(job_id)}/budget", json=more.model_dump(mode="json"))


def _path(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"
