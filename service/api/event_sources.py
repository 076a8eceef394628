"""The sources of event streams: the events of one job, or of all jobs, in batches of bytes that many clients share."""

from collections.abc import Sequence

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from fgd_core.spec.events import StoredEvent
from service.api import cursors
from service.api.broadcast import Batch, Message, P, Page
from service.jobs.lifecycle import is_over
from service.store import all_events, events
from service.store.all_events import EVERYTHING, Filter, Position
from service.store.session import Database

BATCH = 500


class JobEvents:
    """The events of one job. A cursor is a sequence. Raises NotFoundError once the job has been deleted."""

    def __init__(self, database: Database, job_id: str) -> None:
        self._database = database
        self._job_id = job_id

    async def start(self) -> Batch[int]:
        async with self._database.reading() as session:
            state, last = await events.head(session, self._job_id)
        return Batch((), last, is_last=is_over(state))

    async def batch_after(self, cursor: int, limit: int = BATCH) -> Batch[int]:
        found: Sequence[StoredEvent] = ()
        async with self._database.reading() as session:
            # The job first: all events up to its last sequence can be read afterwards.
            state, last = await events.head(session, self._job_id)
            if last > cursor:
                found = await events.after(session, self._job_id, cursor, limit=limit)
        # Fewer events than the limit reach to the end, also where retention has removed old ones.
        has_more = len(found) == limit
        end = found[-1].sequence if has_more else max([cursor, last, *(event.sequence for event in found)])
        messages = [_message(event.sequence, event, str(event.sequence)) for event in found]
        return Batch(messages, end, is_last=is_over(state) and end >= last, has_more=has_more)

    async def page_after(self, cursor: int) -> Page[int]:
        # To the next multiple of the batch size, where the other subscribers' pages begin as well.
        return _page(await self.batch_after(cursor, limit=BATCH - cursor % BATCH))

    def keep_alive(self, _: int) -> bytes:
        return KEEPALIVE_COMMENT


class AllEvents:
    """The events of all jobs that a filter admits, without end. A cursor is a position."""

    def __init__(self, database: Database, wanted: Filter = EVERYTHING) -> None:
        self._database = database
        self._wanted = wanted

    async def start(self) -> Batch[Position]:
        async with self._database.reading() as session:
            return Batch((), await all_events.now(session))

    async def batch_after(self, cursor: Position) -> Batch[Position]:
        async with self._database.reading() as session:
            found = await all_events.since(session, cursor, self._wanted, limit=BATCH)
        messages = [
            _message(placed.position, placed.event, cursors.encode_position(placed.position), placed.project)
            for placed in found.events
        ]
        return Batch(messages, found.end, has_more=found.has_more)

    async def page_after(self, cursor: Position) -> Page[Position]:
        return _page(await self.batch_after(cursor))

    def keep_alive(self, cursor: Position) -> bytes:
        # With the cursor: a client with a narrow filter that reconnects does not make us search the same events again.
        return format_sse_event(comment="ping", id=cursors.encode_position(cursor))


def _page(batch: Batch[P]) -> Page[P]:
    return Page(b"".join(message.payload for message in batch.messages), batch.end)


def _message(position: P, event: StoredEvent, id_: str, project: str = "") -> Message[P]:
    payload = format_sse_event(data_str=event.model_dump_json(), event=event.kind, id=id_)
    return Message(position, payload, project, event.job_id, event.kind)
