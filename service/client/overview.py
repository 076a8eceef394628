"""Shows all jobs live: a table on a terminal, a line for each important event elsewhere."""

from collections.abc import Iterable, Mapping
from functools import partial
from itertools import islice
from typing import get_args

from rich.console import Console, Group, RenderableType
from rich.text import Text

from fgd_core.spec.event_state import JobStatus, status_now
from fgd_core.spec.event_text import duration, number
from fgd_core.spec.events import JobState
from service.client.client import FgdClient
from service.client.fitting import Column, Row, fitted, num_lines
from service.client.following import follow
from service.client.live import STATE_STYLES
from service.jobs.lifecycle import OVER

# In addition to the rows: heading, counts, notice, and the line of the cursor.
_OTHER_LINES = 5
_MOST_ROWS = 1000
# The order of the rows: active jobs, waiting jobs, jobs that are over.
_ORDER: tuple[JobState, ...] = (
    *("running", "starting", "pausing", "cancelling", "lost", "paused", "queued", "blocked"),
    *("failed", "cancelled", "succeeded"),
)
_COLUMNS = (
    Column("job", most=24, narrow=12),
    Column("project", most=12, rank=2),
    Column("prio", is_number=True, rank=3),
    Column("state", least=10),
    Column("epoch", is_number=True, least=5),
    Column("AP", is_number=True, least=5),
    Column("images/s", is_number=True, rank=1),
    Column("left", is_number=True, least=5),
)
_PLACE: Mapping[str, int] = {state: place for place, state in enumerate(_ORDER)}
_NOT_OVER: list[JobState] = [state for state in get_args(JobState) if state not in OVER]


def watch_all(client: FgdClient, console: Console, *, project: str | None = None, as_json: bool = False) -> None:
    """Show all unfinished and all new jobs until Ctrl-C."""
    # The cursor comes first: events between the two requests then arrive, some of them twice.
    cursor = client.events_cursor()
    jobs = islice(client.jobs(state=_NOT_OVER, project=project), _MOST_ROWS)
    statuses = {job.job_id: status_now(job) for job in jobs}

    def view(notice: str) -> RenderableType:
        return table(list(statuses.values()), width=console.width, height=console.height, notice=notice)

    stream = partial(client.all_events, after=cursor, project=project)
    follow(client, statuses, [stream], console, view=view, as_json=as_json)


def table(statuses: Iterable[JobStatus], *, width: int, height: int, notice: str = "") -> RenderableType:
    """Return a table of jobs, active ones first; a line below it counts the states and the rows that do not fit."""
    jobs = sorted(statuses, key=lambda job: (_PLACE.get(job.state, 0), -job.priority))
    rows = [_row(job) for job in jobs[:height]]
    while len(rows) > 1 and num_lines(_COLUMNS, rows, width=width) > height - _OTHER_LINES + 1:
        rows.pop()
    below: list[RenderableType] = [Text(_counts(jobs, len(jobs) - len(rows)), style="dim")]
    if notice:
        below.append(Text(notice, style="yellow"))
    return Group(fitted(_COLUMNS, rows, width=width), *below)


def _row(job: JobStatus) -> Row:
    is_running, progress = job.state == "running", job.progress
    # A study waits while its runs run.
    eta_s = progress.eta_s if is_running or (job.kind == "study" and not job.is_over) else None
    cells = (
        Text(job.name, style="bold"),
        Text(job.project),
        str(job.priority or ""),
        Text(job.state, style=STATE_STYLES.get(job.state, "")),
        f"{progress.epoch}/{progress.epochs}" if progress.epoch is not None else "",
        number(progress.best_ap, ".3f") if progress.best_ap is not None else "",
        number(progress.images_per_s, ".0f") if is_running and progress.images_per_s is not None else "",
        duration(eta_s) if eta_s is not None else "",
    )
    return Row(cells=cells, label=job.name, note=_why(job))


def _why(job: JobStatus) -> Text | None:
    if job.error and job.state in ("failed", "lost"):
        return Text(job.error, style="red")
    return Text(job.doing, style="dim") if job.doing and not job.is_over else None


def _counts(rows: Iterable[JobStatus], num_hidden: int) -> str:
    counts: Mapping[str, int] = {state: sum(job.state == state for job in rows) for state in _ORDER}
    text = " · ".join(f"{count} {state}" for state, count in counts.items() if count)
    hidden = f" · {num_hidden} not shown" if num_hidden else ""
    return (text or "no unfinished jobs; submit one with `fgd submit SPEC`") + hidden
