"""Alembic's entry point; `service.store.migrate` hands the connection over."""

from typing import Any, Literal

from alembic import context

from service.store.tables import Base, UtcDateTime


def render_item(kind: str, item: Any, _: object) -> str | Literal[False]:
    """A migration is a record of its day: it must not change with our own types."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # SQLite cannot alter a table in place; batch mode copies it.
    render_as_batch=True,
    compare_type=True,
    render_item=render_item,
    # Our own BEGIN makes SQLite's DDL transactional, which Alembic does not expect of it. It finds the transaction
    # under way, and leaves beginning and committing to whoever began it.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
