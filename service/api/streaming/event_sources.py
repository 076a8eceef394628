"""Where streams of events come from: one job, or all of them, a batch at a time, as bytes that many readers share."""

from collections.abc import Sequence

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from fgd_core.spec.events import StoredEvent
from service.api import cursors
from service.api.streaming.broadcast import Frame, News, P, Past
from service.jobs.lifecycle import is_over
from service.store import all_events, events
from service.store.all_events import EVERYTHING, Filter, Position
from service.store.session import Database

BATCH = 500


class JobEvents:
    """A cursor is a sequence. NotFoundError once the job has been deleted."""

    def __init__(self, database: Database, job_id: str) -> None:
        self._database = database
        self._job_id = job_id

    async def first(self) -> News[int]:
        async with self._database.reading() as session:
            state, last = await events.head(session, self._job_id)
        return News((), last, is_last=is_over(state))

    async def behind(self, cursor: int, limit: int = BATCH) -> News[int]:
        found: Sequence[StoredEvent] = ()
        async with self._database.reading() as session:
            # The job first: whatever its last sequence was then is there to be read now.
            state, last = await events.head(session, self._job_id)
            if last > cursor:
                found = await events.after(session, self._job_id, cursor, limit=limit)
        # Fewer than asked for reach to the end, even where old ones have been cleared away.
        is_cut = len(found) == limit
        end = found[-1].sequence if is_cut else max([cursor, last, *(event.sequence for event in found)])
        frames = [Frame(event.sequence, _message(event, str(event.sequence))) for event in found]
        return News(frames, end, is_last=is_over(state) and end >= last, is_cut=is_cut)

    async def past(self, cursor: int) -> Past[int]:
        # Up to the next multiple, where the others come by as well.
        return _past(await self.behind(cursor, limit=BATCH - cursor % BATCH))

    def ping(self, _: int) -> bytes:
        return KEEPALIVE_COMMENT


class AllEvents:
    """A cursor is a position; there is no end."""

    def __init__(self, database: Database, wanted: Filter = EVERYTHING) -> None:
        self._database = database
        self._wanted = wanted

    async def first(self) -> News[Position]:
        async with self._database.reading() as session:
            return News((), await all_events.now(session))

    async def behind(self, cursor: Position) -> News[Position]:
        async with self._database.reading() as session:
            found = await all_events.since(session, cursor, self._wanted, limit=BATCH)
        frames = [
            Frame(
                placed.position,
                _message(placed.event, cursors.encode_position(placed.position)),
                placed.project,
                placed.event.job_id,
                placed.event.kind,
            )
            for placed in found.events
        ]
        return News(frames, found.end, is_cut=len(frames) == BATCH)

    async def past(self, cursor: Position) -> Past[Position]:
        return _past(await self.behind(cursor))

    def ping(self, cursor: Position) -> bytes:
        # With the place, so that who wants little and comes back does not have all the rest looked through again.
        return format_sse_event(comment="ping", id=cursors.encode_position(cursor))


def _past(news: News[P]) -> Past[P]:
    return Past(b"".join(frame.payload for frame in news.frames), news.end)


def _message(event: StoredEvent, id_: str) -> bytes:
    return format_sse_event(data_str=event.model_dump_json(), event=event.kind, id=id_)
