"""Alembic's entry point; `service.store.migrate` passes the connection."""

from typing import Literal

from alembic import context

from service.store.tables import Base, UtcDateTime


def render_item(kind: str, item: object, _: object) -> str | Literal[False]:
    """Render our own column types as SQLAlchemy's: a migration must not change when our types change."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


def is_compared(name: str | None, *_: object) -> bool:
    """Return False for the index of the names of jobs, which is not the same on both databases; see `job_search`."""
    return name is None or not name.startswith(("job_search", "ix_jobs_name_trigrams"))


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # SQLite cannot alter a table in place; batch mode copies the table.
    render_as_batch=True,
    compare_type=True,
    render_item=render_item,
    include_name=is_compared,
    # Our BEGIN makes SQLite's DDL transactional, which Alembic does not expect. Alembic finds the open transaction and
    # leaves the commit to the caller.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
