"""All jobs at once, live: a table on a terminal, a line for each notable event elsewhere."""

import queue
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import get_args

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from fgd_core.errors import FgdError, NotFoundError
from fgd_core.spec.event_state import JobStatus, status_now
from fgd_core.spec.event_text import duration, number
from fgd_core.spec.events import JobState, StoredEvent
from service.client.client import FgdClient
from service.client.console import print_json
from service.client.fitting import Column, Row, fitted, num_lines
from service.client.live import STATE_STYLES, EventLines
from service.client.waiting import keep_reasons
from service.jobs.lifecycle import OVER

_FRAMES_PER_S = 4
# Besides the rows: heading, count, notice, and the line that the cursor is on.
_OTHER_LINES = 5
_MOST_ROWS = 1000
# The order of the rows: what goes on first, then what waits, then what is over.
_ORDER: tuple[JobState, ...] = (
    *("running", "starting", "pausing", "cancelling", "lost", "paused", "queued", "blocked"),
    *("failed", "cancelled", "succeeded"),
)
_COLUMNS = (
    Column(heading="job", most=24, narrow=12),
    Column(heading="project", most=12, rank=2),
    Column(heading="prio", is_number=True, rank=3),
    Column(heading="state", least=10),
    Column(heading="epoch", is_number=True, least=5),
    Column(heading="AP", is_number=True, least=5),
    Column(heading="images/s", is_number=True, rank=1),
    Column(heading="left", is_number=True, least=5),
)
_PLACE: Mapping[str, int] = {state: place for place, state in enumerate(_ORDER)}
_NOT_OVER: list[JobState] = [state for state in get_args(JobState) if state not in OVER]


def watch_all(client: FgdClient, console: Console, *, project: str | None = None, as_json: bool = False) -> None:
    """Show all jobs that are not over, those that are yet to come, and how they end; until Ctrl-C."""
    # The cursor first: what happens between the two is then told, if need be twice.
    cursor = client.events_cursor()
    standings: dict[str, JobStatus] = {}
    for job in client.jobs(state=_NOT_OVER, project=project):
        standings[job.job_id] = status_now(job)
        if len(standings) >= _MOST_ROWS:
            break
    news = _follow(client, cursor, project)
    if as_json:
        for item in news:
            if isinstance(item, StoredEvent):
                print_json(item.model_dump(mode="json"))
    elif console.is_terminal:
        _draw(client, standings, news, console)
    else:
        _speak(client, standings, news, console)


def table(standings: Iterable[JobStatus], *, width: int, height: int, notice: str = "") -> RenderableType:
    """Jobs under way, waiting and over, in this order; those that find no room are counted."""
    jobs = sorted(standings, key=lambda job: (_PLACE.get(job.state, 0), -job.priority))
    rows = [_row(job) for job in jobs[:height]]
    while len(rows) > 1 and num_lines(_COLUMNS, rows, width=width) > height - _OTHER_LINES + 1:
        rows.pop()
    below: list[RenderableType] = [Text(_counts(jobs, len(jobs) - len(rows)), style="dim")]
    if notice:
        below.append(Text(notice, style="yellow"))
    return Group(fitted(_COLUMNS, rows, width=width), *below)


def _row(job: JobStatus) -> Row:
    is_running, at = job.state == "running", job.progress
    cells = (
        Text(job.name, style="bold"),
        Text(job.project),
        str(job.priority or ""),
        Text(job.state, style=STATE_STYLES.get(job.state, "")),
        f"{at.epoch}/{at.epochs}" if at.epoch is not None else "",
        number(at.best_ap, ".3f") if at.best_ap is not None else "",
        number(at.images_per_s, ".0f") if is_running and at.images_per_s is not None else "",
        duration(at.eta_s) if is_running and at.eta_s is not None else "",
    )
    return Row(cells=cells, label=job.name, note=_why(job))


def _draw(
    client: FgdClient, standings: dict[str, JobStatus], news: Iterator[StoredEvent | str], console: Console
) -> None:
    notice = ""

    def frame() -> RenderableType:
        return table(list(standings.values()), width=console.width, height=console.height, notice=notice)

    keep_reasons(client, standings)
    with Live(console=console, refresh_per_second=_FRAMES_PER_S, get_renderable=frame):
        for item in news:
            notice = item if isinstance(item, str) else ""
            if isinstance(item, StoredEvent):
                _take_in(client, standings, item)


def _speak(
    client: FgdClient, standings: dict[str, JobStatus], news: Iterator[StoredEvent | str], console: Console
) -> None:
    lines = EventLines()
    for item in news:
        if isinstance(item, str):
            console.print(item, markup=False, soft_wrap=True)
            continue
        standing = _take_in(client, standings, item)
        said = lines.line(standing, item) if standing is not None else None
        if said:
            console.print(said, markup=False, soft_wrap=True)


def _take_in(client: FgdClient, standings: dict[str, JobStatus], event: StoredEvent) -> JobStatus | None:
    if event.job_id not in standings:
        try:
            standings[event.job_id] = status_now(client.job(event.job_id))
        except NotFoundError:
            # It has been deleted since.
            return None
        except FgdError as error:
            if not error.retryable:
                raise
            return None
    standings[event.job_id].update(event)
    return standings[event.job_id]


def _follow(client: FgdClient, cursor: str, project: str | None) -> Iterator[StoredEvent | str]:
    """Events of all jobs, and a sentence while the server is away.

    A thread reads: a pause before the next connection is then shown while it lasts.
    """
    news: queue.Queue[StoredEvent | str | FgdError] = queue.Queue()
    away = f"{client.base_url} is away; the jobs go on, and so does this when it is back"

    def read() -> None:
        try:
            for event in client.all_events(after=cursor, project=project, on_drop=lambda _: news.put(away)):
                news.put(event)
        except FgdError as error:
            news.put(error)

    threading.Thread(target=read, daemon=True, name="watch-all").start()
    while True:
        item = news.get()
        if isinstance(item, FgdError):
            raise item
        yield item


def _why(job: JobStatus) -> Text | None:
    if job.error and job.state in ("failed", "lost"):
        return Text(job.error, style="red")
    return Text(job.doing, style="dim") if job.doing and not job.is_over else None


def _counts(rows: Iterable[JobStatus], num_hidden: int) -> str:
    counts: Mapping[str, int] = {state: sum(job.state == state for job in rows) for state in _ORDER}
    said = " · ".join(f"{count} {state}" for state, count in counts.items() if count)
    hidden = f" · {num_hidden} not shown" if num_hidden else ""
    return (said or "no job is under way; hand one in with `fgd submit`") + hidden
