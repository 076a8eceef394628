import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.ext.asyncio import create_async_engine

from service.errors import SchemaTooNewError
from service.store import migrate


def tables(url: str) -> set[str]:
    async def names() -> set[str]:
        engine = create_async_engine(url)
        async with engine.connect() as connection:
            found = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
        await engine.dispose()
        return set(found)

    return asyncio.run(names())


def run(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Execute all in one transaction; the rows of the last."""

    async def execute() -> list[tuple[Any, ...]]:
        engine = create_async_engine(url)
        async with engine.begin() as connection:
            for statement in statements:
                result = await connection.execute(text(statement))
            rows = [tuple(row) for row in result] if result.returns_rows else []
        await engine.dispose()
        return rows

    return asyncio.run(execute())


def test_migrations_lead_to_the_tables_in_code_and_back_and_there_again(empty_url: str) -> None:
    migrate.upgrade(empty_url)
    migrate.check(empty_url)
    migrate.downgrade(empty_url, "base")
    assert tables(empty_url) == {"alembic_version"}
    migrate.upgrade(empty_url)
    migrate.check(empty_url)


def test_an_upgrade_of_a_database_that_is_up_to_date_changes_nothing(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/fgd.db"
    migrate.upgrade(url)
    with sqlite3.connect(tmp_path / "fgd.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = (tmp_path / "fgd.db").read_bytes()
    migrate.upgrade(url)
    assert (tmp_path / "fgd.db").read_bytes() == before


def test_a_schema_of_a_newer_version_is_left_alone_and_named(empty_url: str) -> None:
    migrate.upgrade(empty_url)
    run(empty_url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaTooNewError, match="'9999'.*newer"):
        migrate.upgrade(empty_url)
    assert "jobs" in tables(empty_url)
