"""Follows the events of jobs: draws a view on a terminal, and prints a line for each important event elsewhere."""

import contextlib
import itertools
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeAlias

from rich.console import Console, RenderableType
from rich.live import Live

from fgd_core.errors import FgdError, NotFoundError
from fgd_core.spec.event_state import JobStatus, status_now
from fgd_core.spec.events import JobState, StoredEvent
from fgd_core.spec.views import JobSummary
from service.client.client import FgdClient
from service.client.console import away_notice, print_json
from service.client.live import EventLines
from service.client.predicting import Predictions

_FRAMES_PER_S = 8
_REASONS_EVERY_S = 5.0
_SILENCE_S = 5.0
"""A study has no events while its runs run, and its lines show what is left of it."""
_WAITING: tuple[JobState, ...] = ("queued", "blocked")
_FEW = 10
"""Up to this number, jobs are requested one by one; more jobs are requested page by page."""
_MOST = 1000

Stream: TypeAlias = Callable[..., Iterator[StoredEvent]]
"""Reads events; takes `on_drop` as the methods of the client do."""
Item: TypeAlias = StoredEvent | str | None
"""An event; a notice that the server does not answer; or None, because nothing has arrived for a while."""


def follow(
    client: FgdClient,
    statuses: dict[str, JobStatus],
    streams: Sequence[Stream],
    console: Console,
    *,
    view: Callable[[str], RenderableType],
    as_json: bool,
) -> None:
    """Show the events of streams, and update the statuses, until all streams have ended.

    Args:
        statuses: by job id; a job that is missing is added at its first event.
        view: draws the statuses on a terminal, with the present notice.
    """
    items = _merged(streams, away_notice(client.base_url))
    if as_json:
        for item in items:
            if isinstance(item, StoredEvent):
                print_json(item)
    elif console.is_terminal:
        _draw(client, statuses, items, console, view)
    else:
        _print_lines(client, statuses, items, console)


def _merged(streams: Sequence[Stream], notice: str) -> Iterator[Item]:
    """Yield the events of all streams, those of one stream in order, and the notice when a connection drops.

    A thread per stream reads it, so that the notice appears before the stream reconnects. The threads end with the
    process if the reader leaves early.
    """
    items: queue.Queue[Item | FgdError | None] = queue.Queue()
    has_left = threading.Event()

    def read(stream: Stream) -> None:
        try:
            for event in stream(on_drop=lambda _: items.put(notice)):
                items.put(event)
            items.put(None)
        except FgdError as error:
            items.put(error)
        except RuntimeError:
            # The reader left, for example by Ctrl-C, and closed the connection.
            if not has_left.is_set():
                raise

    for stream in streams:
        threading.Thread(target=read, args=(stream,), daemon=True, name="events").start()
    num_open = len(streams)
    try:
        while num_open:
            try:
                item = items.get(timeout=_SILENCE_S)
            except queue.Empty:
                yield None
                continue
            if isinstance(item, FgdError):
                raise item
            if item is None:
                num_open -= 1
            else:
                yield item
    finally:
        has_left.set()


def _draw(
    client: FgdClient,
    statuses: dict[str, JobStatus],
    items: Iterator[Item],
    console: Console,
    view: Callable[[str], RenderableType],
) -> None:
    notice = ""
    with (
        _refreshed_reasons(client, statuses),
        Live(console=console, refresh_per_second=_FRAMES_PER_S, get_renderable=lambda: view(notice)),
    ):
        for item in items:
            if item is not None:
                notice = item if isinstance(item, str) else ""
            if isinstance(item, StoredEvent):
                _apply(client, statuses, item)


def _print_lines(client: FgdClient, statuses: dict[str, JobStatus], items: Iterator[Item], console: Console) -> None:
    lines, predictions = EventLines(), Predictions(client)
    for item in items:
        text = item if isinstance(item, str) else None
        if isinstance(item, StoredEvent):
            status = _apply(client, statuses, item)
            text = lines.line(status, item) if status is not None else None
            if status is not None and item.kind == "evaluated":
                foreseen = predictions.first(status)
                text = f"{text}\n{'':8}  {status.name:<18}  {foreseen}" if foreseen is not None else text
        studies = [status for status in statuses.values() if status.kind == "study"][:_FEW]
        counted = [lines.runs_line(study, datetime.now(UTC)) for study in predictions.count_runs(studies)]
        for each in filter(None, [text, *counted]):
            console.print(each, markup=False, soft_wrap=True)


def _apply(client: FgdClient, statuses: dict[str, JobStatus], event: StoredEvent) -> JobStatus | None:
    """Update the status of the event's job, and return it; None for a job that cannot be read."""
    if event.job_id not in statuses:
        try:
            statuses[event.job_id] = status_now(client.job(event.job_id))
        except NotFoundError:
            # The job has been deleted since.
            return None
        except FgdError as error:
            if not error.retryable:
                raise
            return None
    statuses[event.job_id].update(event)
    return statuses[event.job_id]


@contextlib.contextmanager
def _refreshed_reasons(client: FgdClient, statuses: Mapping[str, JobStatus]) -> Iterator[None]:
    """Update what changes without an event, in a thread that ends with the block: reasons to wait, and predictions."""
    is_over, predictions = threading.Event(), Predictions(client)

    def refresh() -> None:
        while not is_over.is_set():
            # The event stream reports a server that does not answer.
            with contextlib.suppress(FgdError):
                shown = list(statuses.values())[:_FEW]
                predictions.refresh(shown)
                predictions.count_runs(shown)
                for job in _waiting_jobs(client, list(statuses.values())):
                    status = statuses.get(job.job_id)
                    if status is not None and job.state == status.state:
                        status.doing = job.reason or ""
            is_over.wait(_REASONS_EVERY_S)

    threading.Thread(target=refresh, daemon=True, name="reasons").start()
    try:
        yield
    finally:
        is_over.set()


def _waiting_jobs(client: FgdClient, statuses: Sequence[JobStatus]) -> Iterator[JobSummary]:
    waiting = [status.job_id for status in statuses if status.state in _WAITING]
    if len(waiting) <= _FEW:
        yield from (client.job(job_id) for job_id in waiting)
    else:
        yield from itertools.islice(client.jobs(state=_WAITING), _MOST)
