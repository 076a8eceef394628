"""Makes the reports on sweeps, and keeps the newest ones until something about their sweep changes."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple, TypeVar

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
from service.reports.sweep_html import render_sweep_html, sweep_chart_views
from service.store.tables import Job

Key = TypeVar("Key")
Value = TypeVar("Value")

Form = Literal["json", "findings", "html", "csv", "charts"]
"""`findings` is `json` without the trials; `charts` are the figures of the HTML as JSON."""

_MAX_REPORTS = 4
_MAX_TEXTS = 16
"""Of up to 10 MB."""


class Text(NamedTuple):
    """What a request asks for."""

    form: Form
    most_standings: int | None = None
    """In JSON; None for all."""


class Version(NamedTuple):
    """Identifies a report: with the same values it has the same content, except for its time."""

    job_id: str
    version: int
    last_sequence: int
    dashboard_url: str | None


class SweepReports:
    """Makes and keeps rendered reports."""

    def __init__(self, statistics: Statistics, studies: Studies, clock: Clock) -> None:
        self._statistics = statistics
        self._studies = studies
        self._clock = clock
        self._reports: OrderedDict[Version, SweepReport] = OrderedDict()
        self._texts: OrderedDict[tuple[Version, Text], str] = OrderedDict()
        self._turn = asyncio.Lock()

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

    def kept(self, version: Version, wanted: Text) -> str | None:
        """Return a rendered report; None if it has to be made."""
        return _used(self._texts, (version, wanted))

    async def make(self, version: Version, wanted: Text, read: Callable[[], Awaitable[SweepReportRequest]]) -> str:
        """Render a report, which is made only once for all forms.

        Args:
            read: calls `request` in a session of its own; what it reads may be newer than `version`.
        Raises:
            FgdError: see `Statistics.sweep_report`.
        """
        # A page asks for several forms at once; the first request makes the report for all of them.
        async with self._turn:
            report = _used(self._reports, version) or await self._statistics.sweep_report(read)
            _keep(self._reports, version, report, most=_MAX_REPORTS)
        text = await asyncio.to_thread(_rendered, report, wanted)
        _keep(self._texts, (version, wanted), text, most=_MAX_TEXTS)
        return text


def _used(kept: OrderedDict[Key, Value], key: Key) -> Value | None:
    if key in kept:
        kept.move_to_end(key)
    return kept.get(key)


def _keep(kept: OrderedDict[Key, Value], key: Key, value: Value, *, most: int) -> None:
    kept[key] = value
    while len(kept) > most:
        kept.popitem(last=False)


def _rendered(report: SweepReport, wanted: Text) -> str:
    match wanted.form:
        case "html":
            return render_sweep_html(report)
        case "csv":
            return render_sweep_csv(report)
        case "charts":
            return sweep_chart_views(report).model_dump_json()
    shown = report.model_copy(update={"standings": report.standings[: wanted.most_standings]})
    if wanted.form == "findings":
        return shown.model_dump_json(exclude={"trials"})
    return responses.as_json(shown, "trials")
