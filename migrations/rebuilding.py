"""Alters a table that has triggers: SQLite copies the table for that, and drops the triggers with the old one."""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import op
from alembic.operations.base import BatchOperations
from sqlalchemy import text


@contextmanager
def altering(table: str) -> Iterator[BatchOperations]:
    """Yield the operations of `op.batch_alter_table`; afterwards the table has the same triggers as before."""
    before = _triggers(table)
    with op.batch_alter_table(table) as batch:
        yield batch
    left = _triggers(table)
    for name, statement in before.items():
        if name not in left:
            op.execute(statement)


def _triggers(table: str) -> dict[str, str]:
    """Return the statement of each trigger by its name; empty for PostgreSQL, which alters the table itself."""
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        return {}
    query = text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = :name")
    return dict(iter(connection.execute(query, {"name": table})))
