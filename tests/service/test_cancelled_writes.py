"""A write that is cancelled leaves no lock behind: neither when a client goes away nor when the server stops."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import event, text

from service.store.session import Database
from tests import databases

# Counts for some tenths of a second, in the thread of its connection; its answer is a row that nobody reads.
_SLOW_WRITE = text(
    "INSERT INTO leases (name, holder, fencing_token, expires_at) WITH RECURSIVE numbers(i) AS"
    " (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < 1000000)"
    " SELECT 'slow', 'nobody', max(i), CURRENT_TIMESTAMP FROM numbers RETURNING fencing_token"
)


@pytest.fixture
def url(tmp_path: Path) -> str:
    databases.write_empty(tmp_path / "fgd.db")
    return f"sqlite:///{tmp_path / 'fgd.db'}"


async def test_the_next_write_need_not_wait(url: str) -> None:
    database = Database(url)
    begun = asyncio.Event()
    event.listen(
        database._engine.sync_engine,
        "before_cursor_execute",
        lambda *given: begun.set() if given[2] == _SLOW_WRITE.text else None,
    )

    async def write() -> None:
        async with database.writing() as session:
            await session.execute(_SLOW_WRITE)

    writing = asyncio.create_task(write())
    await begun.wait()
    writing.cancel()
    # The error, as long as somebody keeps it, keeps the statement.
    with pytest.raises(asyncio.CancelledError) as kept:
        await writing
    # Would raise BusyError after ten seconds.
    async with database.writing() as session:
        assert await session.scalar(text("SELECT count(*) FROM leases WHERE name = 'slow'")) == 0
    assert kept.value is not None
    await database.close()
