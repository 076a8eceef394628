"""What the API answers about a sweep's trials."""

from fgd_core.spec.base import Fact
from fgd_core.spec.sweep_report import TrialView, trials_as_html


class TrialList(Fact):
    """GET /v1/jobs/{job_id}/trials"""

    items: list[TrialView]
    """By number."""
    last_sequence: int
    """Of the job's newest event that they tell of; go on with GET /v1/jobs/{job_id}/events behind it."""

    def _repr_html_(self) -> str:
        return trials_as_html(self.items)
