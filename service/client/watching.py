"""Follow several jobs at once until all are over."""

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner

from fgd_core.errors import FgdError
from fgd_core.spec.event_state import JobStatus
from fgd_core.spec.events import StoredEvent
from fgd_core.spec.views import JobSummary, JobView
from service.client.client import FgdClient
from service.client.console import print_json
from service.client.live import EventLines, bars
from service.client.sweep_standing import SweepStanding, any_standing
from service.client.trial_table import sweep_view
from service.client.waiting import keep_reasons

_FRAMES_PER_S = 8


class _News(NamedTuple):
    job_id: str
    event: StoredEvent | None = None
    pause_s: float | None = None
    """The stream dropped; it is taken up again in so many seconds."""
    error: BaseException | None = None
    is_last: bool = False


def watch(client: FgdClient, jobs: Sequence[JobSummary], console: Console, *, as_json: bool = False) -> list[JobView]:
    """Show `jobs` until each is over: bars on a terminal, plain lines elsewhere, JSON lines on request.

    Returns:
        The jobs as they ended, in the order given.
    """
    standings = {job.job_id: any_standing(job) for job in jobs}
    if as_json:
        for news in _follow(client, list(standings)):
            if news.event is not None:
                print_json(news.event.model_dump(mode="json"))
    elif console.is_terminal:
        _draw(client, standings, console)
    else:
        _speak(client, standings, console)
    return [client.job(job_id) for job_id in standings]


def _draw(client: FgdClient, standings: dict[str, JobStatus], console: Console) -> None:
    spinner = Spinner("dots")
    notice = ""

    def frame() -> RenderableType:
        sweeps = [standing for standing in standings.values() if isinstance(standing, SweepStanding)]
        # Each sweep has two lines of its own beside its trials; the rest is the bars and the lines below them.
        max_rows = max(3, (console.height - 2 * len(standings) - 3) // max(1, len(sweeps)) - 3)
        drawn = bars(standings.values(), spinner, width=console.width, notice=notice)
        return Group(drawn, *(sweep_view(sweep, width=console.width, max_rows=max_rows) for sweep in sweeps))

    keep_reasons(client, standings)
    with Live(console=console, refresh_per_second=_FRAMES_PER_S, get_renderable=frame):
        for news in _follow(client, list(standings)):
            notice = _notice(client, news)
            if news.event is not None:
                standings[news.job_id].update(news.event)


def _speak(client: FgdClient, standings: dict[str, JobStatus], console: Console) -> None:
    lines = EventLines()
    for news in _follow(client, list(standings)):
        standing = standings[news.job_id]
        if news.event is not None:
            standing.update(news.event)
            said = lines.line(standing, news.event)
            if said:
                console.print(said, markup=False, soft_wrap=True)
        elif news.pause_s is not None:
            console.print(_notice(client, news), markup=False, soft_wrap=True)


def _notice(client: FgdClient, news: _News) -> str:
    return f"{client.base_url} is away; the jobs go on, and so does this when it is back" if news.pause_s else ""


def _follow(client: FgdClient, job_ids: Sequence[str]) -> Iterator[_News]:
    """Events of all jobs as they come, each job's in order; ends when all jobs are over.

    A thread a job: each holds one stream, and dies with the process when the watcher leaves early.
    """
    news: queue.Queue[_News] = queue.Queue()
    for job_id in job_ids:
        threading.Thread(target=_read, args=(client, job_id, news), daemon=True, name=f"watch-{job_id}").start()
    open_streams = len(job_ids)
    while open_streams:
        item = news.get()
        if item.error is not None:
            raise item.error
        open_streams -= item.is_last
        yield item


def _read(client: FgdClient, job_id: str, news: "queue.Queue[_News]") -> None:
    try:
        for event in client.events(job_id, on_drop=lambda pause_s: news.put(_News(job_id, pause_s=pause_s))):
            news.put(_News(job_id, event=event))
        news.put(_News(job_id, is_last=True))
    except FgdError as error:
        news.put(_News(job_id, error=error))
