"""What goes into the statistics process on its standard input, and what comes out on its standard output."""

from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from fgd_core.spec.base import Command
from fgd_core.spec.comparison import Comparison
from fgd_core.spec.costs import JobCost
from fgd_core.spec.sweep_report import SweepReport, TrialView
from fgd_core.spec.views import JobView


class RunFile(Command):
    """A finished run and the file that it left for comparisons."""

    job_id: str
    trial: int | None = None
    name: str
    kind: str
    seed: int
    path: Path
    sha256: str

    @property
    def reference(self) -> str:
        """How a user names the run."""
        return self.job_id if self.trial is None else f"{self.job_id}/trial/{self.trial}"


class CompareRequest(Command):
    """Compare two groups of runs."""

    kind: Literal["compare"] = "compare"
    first: list[RunFile]
    second: list[RunFile]
    resamples: int
    random_seed: int


class SweepReportRequest(Command):
    """Make the report on a sweep."""

    kind: Literal["sweep_report"] = "sweep_report"
    job: JobView
    trials: list[TrialView]
    now: datetime
    cost: JobCost | None = None


class Refused(Command):
    """An error of `fgd_core.errors` or `service.errors`, by its code."""

    code: str
    message: str
    details: dict[str, JsonValue]


class Answer(Command):
    """One of the three."""

    comparison: Comparison | None = None
    sweep_report: SweepReport | None = None
    """Without its trials and its cost, which the request has."""
    refused: Refused | None = None
