"""Shows jobs as they run: progress bars on a terminal, a plain line for each important event elsewhere."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from fgd_core.spec.chains import CONTROL
from fgd_core.spec.event_state import JobStatus, read_event
from fgd_core.spec.event_text import describe, duration, number
from fgd_core.spec.events import Evaluated, Progress, StoredEvent
from fgd_core.spec.loss_names import TOTAL, read_loss_name
from service.client.fitting import Column, Row, fitted

STATE_STYLES: Mapping[str, str] = {
    "blocked": "yellow",
    "queued": "yellow",
    "starting": "cyan",
    "running": "bold cyan",
    "pausing": "blue",
    "paused": "blue",
    "cancelling": "magenta",
    "lost": "bold yellow",
    "succeeded": "bold green",
    "failed": "bold red",
    "cancelled": "magenta",
}

_COLUMNS = (
    Column("job", most=24, narrow=16),
    Column("state", least=10),
    Column("", least=24, narrow=6),
    Column("epoch", is_number=True, least=5),
    Column("loss", is_number=True, least=5),
    Column("images/s", is_number=True, rank=1),
    Column("AP", is_number=True, least=5),
    Column("best", is_number=True, least=5, rank=2),
    Column("left", is_number=True, least=5),
)

# The kinds of events that get a line where no bar can be drawn.
_NOTABLE = (
    *("submitted", "state_changed", "attempt_started", "run_started", "workers_started", "device_ready"),
    *("progress", "epoch_finished", "evaluated", "mean_evaluated", "ended_early", "diagnosed"),
    *("teacher_checked", "distillation_planned", "warned", "resumed", "trial_reported", "trial_ended"),
    *("teachers_ordered", "stage_started", "stage_finished", "exported", "scale_chosen"),
    *("pool_checked", "pool_labelled"),
)
_FIRST_LINES_S = 10.0


def bars(jobs: Iterable[JobStatus], spinner: Spinner, *, width: int, notice: str = "") -> RenderableType:
    """Draw all jobs: state, bar, epoch, loss, images/s, AP, time left, and below them the terms of the loss.

    Args:
        width: of the terminal, in columns. A narrow one has short bars, and omits the best AP and images/s.
    """
    rows = []
    below: list[RenderableType] = []
    for job in jobs:
        progress = job.progress
        cells = (
            Text(job.name, style="bold"),
            Text(job.state, style=STATE_STYLES.get(job.state, "")),
            ProgressBar(total=1.0, completed=job.fraction, pulse=_is_preparing(job)),
            f"{progress.epoch}/{progress.epochs}" if progress.epoch is not None else "",
            number(progress.values.get("loss"), ".3g"),
            number(progress.images_per_s, ".0f"),
            number(progress.ap, ".3f"),
            number(progress.best_ap, ".3f"),
            duration(progress.eta_s) if not job.is_over else "",
        )
        rows.append(Row(cells=cells))
        below.extend(_lines_below(job, spinner))
    if notice:
        below.append(Text(notice, style="yellow"))
    return Group(fitted(_COLUMNS, rows, width=width), *below)


class EventLines:
    """Formats notable events as lines of a log, each with the time and the name of its job.

    Progress gets a line at first, then about 10 s, 20 s, 40 s, … after the beginning of the attempt: until the first
    epoch ends, which may take hours, a log would otherwise stay silent. A study gets lines in the same way, and one
    when a run of it has ended.
    """

    def __init__(self) -> None:
        self._next_progress_s: dict[tuple[str, int], float] = {}
        self._studies_began_at: dict[str, datetime] = {}

    def line(self, job: JobStatus, stored: StoredEvent) -> str | None:
        """Return the line for an event that `job` has folded in; None for events that are not notable."""
        event = read_event(stored) if stored.kind in _NOTABLE else None
        if event is None:
            return None
        if isinstance(event, Progress) and not self._is_due(
            (job.job_id, job.attempt), since=job.attempt_began_at or stored.at, now=stored.at
        ):
            return None
        # The best score is that of the chain, not of its control.
        has_best = isinstance(event, Evaluated) and job.progress.stage != CONTROL
        best = f"  best {number(job.progress.best_ap, '.3f')}" if has_best else ""
        return f"{stored.at.astimezone():%H:%M:%S}  {job.name:<18}  {describe(event)}{best}"

    def runs_line(self, study: JobStatus, now: datetime) -> str | None:
        """Return the line for a study whose runs were counted at this moment; None if nothing is new."""
        progress = study.progress
        since = self._studies_began_at.setdefault(study.job_id, now)
        if not self._is_due((study.job_id, progress.step or 0), since=since, now=now):
            return None
        left = f", {duration(progress.eta_s)} left" if progress.eta_s is not None else ""
        return f"{now.astimezone():%H:%M:%S}  {study.name:<18}  {progress.step}/{progress.steps} runs{left}"

    def _is_due(self, what: tuple[str, int], *, since: datetime, now: datetime) -> bool:
        passed_s = (now - since).total_seconds()
        if passed_s < self._next_progress_s.get(what, 0.0):
            return False
        self._next_progress_s[what] = max(_FIRST_LINES_S, 2 * passed_s)
        return True


def _is_preparing(job: JobStatus) -> bool:
    return job.state in ("starting", "running") and job.progress.step is None


def _lines_below(job: JobStatus, spinner: Spinner) -> Iterable[RenderableType]:
    if job.state == "running" and job.progress.values:
        yield Text(f"  {job.name}: {_terms(job.progress.values)}", style="dim", no_wrap=True, overflow="ellipsis")
    if job.doing and not job.is_over:
        row = Table.grid(padding=(0, 1))
        row.add_row(" ", spinner if job.state != "blocked" else "", Text(f"{job.name}: {job.doing}", style="dim"))
        yield row
    if job.plan and not job.is_over:
        yield Text(f"  {job.name} {job.plan}", style="dim")
    if job.prediction and not job.is_over:
        yield Text(f"  {job.name}: {job.prediction}", style="dim")
    for warning in job.warnings[-3:]:
        yield Text(f"  {job.name}: {warning}", style="yellow")
    if job.error and job.state in ("failed", "lost", "cancelled"):
        yield Text(f"  {job.name}: {job.error}", style="red")


def _terms(values: Mapping[str, float]) -> str:
    """Return `distill 0.42 (unweighted: foreground 18.9, …) · task: box 0.37`.

    The terms of a method are unweighted, so their sum is no part of the loss; the weighted `distill/total` is.
    The totals of places and of teachers are left out.
    """
    groups: dict[str, list[str]] = {}
    for curve, value in values.items():
        group, _, name = curve.partition("/")
        distilled = read_loss_name(curve)
        if name and (distilled is None or distilled.role == "term"):
            groups.setdefault(group, []).append(f"{name} {number(value, '.3g')}")
    method = groups.pop("distill", None)
    texts = [f"{group}: {', '.join(terms)}" for group, terms in sorted(groups.items())]
    if method is not None:
        texts.insert(0, f"distill {number(values.get(TOTAL), '.3g')} (unweighted: {', '.join(method)})")
    return " · ".join(texts)
