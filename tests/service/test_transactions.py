import asyncio

import pytest
from control_plane import ControlPlane, train_spec

from fgd_core.spec.control_events import CancelRequested
from service.clock import utc_now
from service.store import events, jobs
from service.store.session import Database

pytestmark = pytest.mark.every_database


async def test_two_processes_that_append_leave_no_gaps_and_no_duplicates(plane: ControlPlane) -> None:
    job_id = await plane.submit(train_spec())
    # Like two processes: two engines share only the file.
    databases = [Database(plane.settings.database.url) for _ in range(2)]

    async def append(database: Database) -> None:
        for _ in range(15):
            async with database.writing() as session:
                await jobs.get(session, job_id, lock=True)
                await events.append(session, job_id, None, [(utc_now(), CancelRequested())])

    await asyncio.gather(*(append(database) for database in databases for _ in range(2)))
    assert [event.sequence for event in await plane.events(job_id)] == list(range(1, 62))
    for database in databases:
        await database.close()


async def test_a_failed_transaction_wakes_no_reader_and_stores_nothing(plane: ControlPlane) -> None:
    job_id = await plane.submit(train_spec())
    database: Database = plane.services.database
    with database.notifier.subscribe(job_id) as woken:
        try:
            async with database.writing() as session:
                await events.append(session, job_id, None, [(utc_now(), CancelRequested())])
                raise RuntimeError
        except RuntimeError:
            pass
        assert not woken.is_set()
    assert len(await plane.events(job_id)) == 1
