"""Shows several jobs live until all are over."""

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
from service.client.console import away_notice, print_json
from service.client.live import EventLines, bars
from service.client.sweep_status import SweepStatus, initial_status
from service.client.trial_table import sweep_view
from service.client.waiting import refreshed_reasons

_FRAMES_PER_S = 8


class _Message(NamedTuple):
    """What the thread of a job sends: an event, a dropped connection, an error, or the end."""

    job_id: str
    event: StoredEvent | None = None
    pause_s: float | None = None
    """The connection dropped; seconds until the next one."""
    error: FgdError | None = None
    is_last: bool = False


def watch(client: FgdClient, jobs: Sequence[JobSummary], console: Console, *, as_json: bool = False) -> list[JobView]:
    """Show jobs until all are over: bars on a terminal, plain lines elsewhere, JSON lines on request.

    Returns:
        The jobs as they ended, in the order of `jobs`.
    """
    statuses = {job.job_id: initial_status(job) for job in jobs}
    if as_json:
        for message in _follow(client, list(statuses)):
            if message.event is not None:
                print_json(message.event.model_dump(mode="json"))
    elif console.is_terminal:
        _draw(client, statuses, console)
    else:
        _print_lines(client, statuses, console)
    return [client.job(job_id) for job_id in statuses]


def _draw(client: FgdClient, statuses: dict[str, JobStatus], console: Console) -> None:
    spinner = Spinner("dots")
    notice = ""

    def view() -> RenderableType:
        sweeps = [status for status in statuses.values() if isinstance(status, SweepStatus)]
        # A sweep needs two lines in addition to its trials; the bars and the lines below them need the rest.
        max_rows = max(3, (console.height - 2 * len(statuses) - 3) // max(1, len(sweeps)) - 3)
        drawn = bars(statuses.values(), spinner, width=console.width, notice=notice)
        return Group(drawn, *(sweep_view(sweep, width=console.width, max_rows=max_rows) for sweep in sweeps))

    with (
        refreshed_reasons(client, statuses),
        Live(console=console, refresh_per_second=_FRAMES_PER_S, get_renderable=view),
    ):
        for message in _follow(client, list(statuses)):
            notice = away_notice(client.base_url) if message.pause_s is not None else ""
            if message.event is not None:
                statuses[message.job_id].update(message.event)


def _print_lines(client: FgdClient, statuses: dict[str, JobStatus], console: Console) -> None:
    lines = EventLines()
    for message in _follow(client, list(statuses)):
        status = statuses[message.job_id]
        if message.event is not None:
            status.update(message.event)
            text = lines.line(status, message.event)
            if text:
                console.print(text, markup=False, soft_wrap=True)
        elif message.pause_s is not None:
            console.print(away_notice(client.base_url), markup=False, soft_wrap=True)


def _follow(client: FgdClient, job_ids: Sequence[str]) -> Iterator[_Message]:
    """Yield the events of all jobs, those of one job in order, until all jobs are over.

    A thread per job reads one stream; the threads end with the process if the reader leaves early.
    """
    messages: queue.Queue[_Message] = queue.Queue()
    for job_id in job_ids:
        threading.Thread(target=_read, args=(client, job_id, messages), daemon=True, name=f"watch-{job_id}").start()
    open_streams = len(job_ids)
    while open_streams:
        message = messages.get()
        if message.error is not None:
            raise message.error
        open_streams -= message.is_last
        yield message


def _read(client: FgdClient, job_id: str, messages: "queue.Queue[_Message]") -> None:
    try:
        for event in client.events(job_id, on_drop=lambda pause_s: messages.put(_Message(job_id, pause_s=pause_s))):
            messages.put(_Message(job_id, event=event))
        messages.put(_Message(job_id, is_last=True))
    except FgdError as error:
        messages.put(_Message(job_id, error=error))
