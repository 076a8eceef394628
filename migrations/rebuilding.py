"""Alters a table in SQLite, which copies it for that: what Alembic does not copy would go with the old table."""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import op
from alembic.operations.base import BatchOperations
from sqlalchemy import text


@contextmanager
def altering(table: str) -> Iterator[BatchOperations]:
    """Yield the operations of `op.batch_alter_table`; afterwards the table has its triggers and all indices."""
    before = _not_copied(table)
    with op.batch_alter_table(table) as batch:
        yield batch
    left = _not_copied(table)
    for name, statement in before.items():
        if name not in left:
            op.execute(statement)


def _not_copied(table: str) -> dict[str, str]:
    """Return the statement of each trigger, and of each index over an expression, by its name.

    Returns:
        Nothing for PostgreSQL, which alters the table itself.
    """
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        return {}
    query = text(
        "SELECT name, sql FROM sqlite_master AS entry WHERE tbl_name = :name AND (type = 'trigger' OR type = 'index'"
        " AND EXISTS (SELECT 1 FROM pragma_index_xinfo(entry.name) WHERE cid = -2))"
    )
    return dict(iter(connection.execute(query, {"name": table})))
