"""Add an index of trigrams of the names of jobs, indices for filtered lists, and the number of jobs of each kind.

Triggers keep the numbers and SQLite's index of names, so that they also cover the jobs of servers of the previous
version.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_INDICES: dict[str, tuple[str, list[str]]] = {
    "ix_jobs_state_created_at_id": ("jobs", ["state", "created_at", "id"]),
    "ix_jobs_project_state_created_at_id": ("jobs", ["project", "state", "created_at", "id"]),
    "ix_jobs_state_queued_at": ("jobs", ["state", "queued_at"]),
    "ix_audit_entries_actor_id": ("audit_entries", ["actor", "id"]),
    "ix_audit_entries_action_id": ("audit_entries", ["action", "id"]),
    "ix_audit_entries_project_id": ("audit_entries", ["project", "id"]),
    "ix_webhook_deliveries_webhook_id_created_at_id": ("webhook_deliveries", ["webhook_id", "created_at", "id"]),
}

# As in migration 0009: on PostgreSQL each connection counts in rows of its own.
_SHARD = {"sqlite": "0", "postgresql": "pg_backend_pid()"}
_COUNT = """INSERT INTO job_kind_counts (kind, state, shard, num_jobs) VALUES ({row}.kind, {row}.state, {shard}, {change})
ON CONFLICT (kind, state, shard) DO UPDATE SET num_jobs = job_kind_counts.num_jobs + excluded.num_jobs;
"""
_CHANGES = {"insert": (("new", 1),), "delete": (("old", -1),), "update": (("old", -1), ("new", 1))}
_EVENTS = {"insert": "INSERT", "delete": "DELETE", "update": "UPDATE OF state"}

# Names have numbers of their own in SQLite: VACUUM may renumber the rows of `jobs`, whose key is a text.
_SEARCH_TABLES = (
    """CREATE TABLE job_search_names (
    number INTEGER PRIMARY KEY, job_id VARCHAR(32) NOT NULL UNIQUE, name VARCHAR(100) NOT NULL)""",
    """CREATE VIRTUAL TABLE job_search USING fts5(
    name, content = 'job_search_names', content_rowid = 'number', tokenize = 'trigram')""",
)
_ADD = "INSERT INTO job_search (rowid, name) SELECT number, name FROM job_search_names WHERE job_id = new.id;"
_REMOVE = """INSERT INTO job_search (job_search, rowid, name)
SELECT 'delete', number, name FROM job_search_names WHERE job_id = old.id;"""
_SEARCH_TRIGGERS = {
    "insert": f"INSERT INTO job_search_names (job_id, name) VALUES (new.id, new.name); {_ADD}",
    "delete": f"{_REMOVE} DELETE FROM job_search_names WHERE job_id = old.id;",
    "update": f"{_REMOVE} UPDATE job_search_names SET name = new.name WHERE job_id = new.id; {_ADD}",
}
_SEARCH_EVENTS = {"insert": "INSERT", "delete": "DELETE", "update": "UPDATE OF name"}

_TRIGRAMS = """CREATE FUNCTION job_name_trigrams(value text) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $body$ SELECT coalesce(array_agg(DISTINCT substr(lower(value), at, 3)), '{}')
FROM generate_series(1, length(value) - 2) AS at $body$"""


def upgrade() -> None:
    dialect = op.get_bind().dialect.name
    # Every server since revision 0004 sets it; without NULLs the oldest queued job is the first of an index.
    op.execute("UPDATE jobs SET queued_at = created_at WHERE state = 'queued' AND queued_at IS NULL")
    for name, (table, columns) in _INDICES.items():
        op.create_index(name, table, columns, unique=False)
    op.drop_index("ix_jobs_state_created_at", table_name="jobs")
    op.create_table("job_kind_counts",
    sa.Column("kind", sa.String(length=32), nullable=False),
    sa.Column("state", sa.String(length=16), nullable=False),
    sa.Column("shard", sa.Integer(), nullable=False),
    sa.Column("num_jobs", sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint("kind", "state", "shard", name=op.f("pk_job_kind_counts"))
    )
    for event in _CHANGES:
        _create_count(event, dialect)
    op.execute("INSERT INTO job_kind_counts SELECT kind, state, 0, count(*) FROM jobs GROUP BY kind, state")
    if dialect == "postgresql":
        op.execute(_TRIGRAMS)
        op.execute("CREATE INDEX ix_jobs_name_trigrams ON jobs USING gin (job_name_trigrams(name))")
    elif _has_trigrams():
        _create_search()


def downgrade() -> None:
    dialect = op.get_bind().dialect.name
    if dialect == "postgresql":
        op.drop_index("ix_jobs_name_trigrams", table_name="jobs")
        op.execute("DROP FUNCTION job_name_trigrams(text)")
    else:
        for event in _SEARCH_TRIGGERS:
            op.execute(f"DROP TRIGGER IF EXISTS job_search_{event}")
        op.execute("DROP TABLE IF EXISTS job_search")
        op.execute("DROP TABLE IF EXISTS job_search_names")
    for event in _CHANGES:
        op.execute(f"DROP TRIGGER job_kind_counts_{event}" + (" ON jobs" if dialect == "postgresql" else ""))
        if dialect == "postgresql":
            op.execute(f"DROP FUNCTION job_kind_counts_{event}()")
    op.drop_table("job_kind_counts")
    op.create_index("ix_jobs_state_created_at", "jobs", ["state", "created_at"], unique=False)
    for name, (table, _) in _INDICES.items():
        op.drop_index(name, table_name=table)


def _create_count(event: str, dialect: str) -> None:
    body = "".join(_COUNT.format(row=row, change=change, shard=_SHARD[dialect]) for row, change in _CHANGES[event])
    is_moved = "WHEN (old.state <> new.state)" if event == "update" else ""
    when = f"CREATE TRIGGER job_kind_counts_{event} AFTER {_EVENTS[event]} ON jobs FOR EACH ROW {is_moved}"
    if dialect == "sqlite":
        op.execute(f"{when} BEGIN {body} END")
        return
    op.execute(
        f"CREATE FUNCTION job_kind_counts_{event}() RETURNS trigger LANGUAGE plpgsql AS "
        f"$body$ BEGIN {body} RETURN NULL; END $body$"
    )
    op.execute(f"{when} EXECUTE FUNCTION job_kind_counts_{event}()")


def _has_trigrams() -> bool:
    """Return whether this SQLite can index trigrams: since 3.34, unless it was built without full-text search."""
    found = op.get_bind().scalar(sa.text("SELECT count(*) FROM pragma_module_list WHERE name = 'fts5'"))
    version = op.get_bind().dialect.server_version_info
    return bool(found) and version is not None and version >= (3, 34)


def _create_search() -> None:
    for statement in _SEARCH_TABLES:
        op.execute(statement)
    for event, body in _SEARCH_TRIGGERS.items():
        op.execute(
            f"CREATE TRIGGER job_search_{event} AFTER {_SEARCH_EVENTS[event]} ON jobs FOR EACH ROW BEGIN {body} END"
        )
    op.execute("INSERT INTO job_search_names (job_id, name) SELECT id, name FROM jobs ORDER BY created_at, id")
    op.execute("INSERT INTO job_search (job_search) VALUES ('rebuild')")
