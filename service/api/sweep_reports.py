"""Makes the reports on sweeps, and keeps the newest ones until something about their sweep changes."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import SpecError
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.sweep_report import SweepReport
from fgd_core.spec.views import JobView
from service.api import responses
from service.api.studies import Studies
from service.clock import Clock
from service.compare.process import Statistics
from service.compare.request import SweepReportRequest
from service.reports.sweep_csv import render_sweep_csv
from service.reports.sweep_html import render_sweep_html
from service.store.tables import Job

Form = Literal["json", "html", "csv"]

_MAX_KEPT = 16
"""Of up to 10 MB."""


class Version(NamedTuple):
    """Identifies a report: with the same values it has the same content, except for its time."""

    job_id: str
    version: int
    last_sequence: int
    dashboard_url: str | None
    form: Form


class SweepReports:
    """Makes and keeps rendered reports."""

    def __init__(self, statistics: Statistics, studies: Studies, clock: Clock) -> None:
        self._statistics = statistics
        self._studies = studies
        self._clock = clock
        self._kept: OrderedDict[Version, str] = OrderedDict()

    async def request(self, session: AsyncSession, job: Job, view: JobView) -> SweepReportRequest:
        """Read what the report on a sweep is made of.

        Raises:
            SpecError: an older version stored the sweep's spec, and it cannot be read.
        """
        if not isinstance(view.spec, SweepSpec):
            raise SpecError(
                f"an older version stored the spec of sweep {job.id}, and no report can be made of it; submit it again",
                job_id=job.id,
            )
        trials = await self._studies.trials(session, job, view.spec)
        return SweepReportRequest(job=view, trials=trials, now=self._clock())

    def kept(self, version: Version) -> str | None:
        """Return a rendered report; None if it has to be made."""
        if version in self._kept:
            self._kept.move_to_end(version)
        return self._kept.get(version)

    async def make(self, version: Version, read: Callable[[], Awaitable[SweepReportRequest]]) -> str:
        """Make and render a report.

        Args:
            read: calls `request` in a session of its own; what it reads may be newer than `version`.
        Raises:
            FgdError: see `Statistics.sweep_report`.
        """
        report = await self._statistics.sweep_report(read)
        text = await asyncio.to_thread(_rendered, report, version.form)
        self._kept[version] = text
        while len(self._kept) > _MAX_KEPT:
            self._kept.popitem(last=False)
        return text


def _rendered(report: SweepReport, form: Form) -> str:
    match form:
        case "html":
            return render_sweep_html(report)
        case "csv":
            return render_sweep_csv(report)
    return responses.as_json(report, "trials")
