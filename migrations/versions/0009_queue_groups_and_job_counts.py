"""Add indices for the queue and for filtered lists of jobs, and the number of jobs of each project and state.

Triggers keep the numbers, so that they also count the jobs of servers of the previous version.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# PostgreSQL: each connection adds to rows of its own, because writers that share a row would wait for each other, and
# two transactions that change the same rows in different order would block each other for ever.
_SHARD = {"sqlite": "0", "postgresql": "pg_backend_pid()"}
_ADD = """INSERT INTO job_counts (project, state, shard, num_jobs) VALUES ({row}.project, {row}.state, {shard}, {change})
ON CONFLICT (project, state, shard) DO UPDATE SET num_jobs = job_counts.num_jobs + excluded.num_jobs;
"""
_CHANGES = {"insert": (("new", 1),), "delete": (("old", -1),), "update": (("old", -1), ("new", 1))}
_EVENTS = {"insert": "INSERT", "delete": "DELETE", "update": "UPDATE OF state, project"}

_GROUP = ["state", "project", "priority", "cpus", "gpus", "tasks", "workers", "min_workers", "created_at", "id", "not_before"]
_INDICES: dict[str, tuple[str, list[str], str | None]] = {
    "ix_jobs_queue": ("jobs", _GROUP, None),
    "ix_jobs_state_not_before": ("jobs", ["state", "not_before"], None),
    "ix_jobs_project_created_at_id": ("jobs", ["project", "created_at", "id"], None),
    "ix_jobs_kind_created_at_id": ("jobs", ["kind", "created_at", "id"], None),
    "ix_attempts_on_dashboard": (
        "attempts",
        ["archived_at", "id"],
        "archived_at IS NOT NULL AND dashboard_url IS NOT NULL",
    ),
}


def upgrade() -> None:
    dialect = op.get_bind().dialect.name
    op.add_column("jobs", sa.Column("tasks", sa.Integer(), server_default="1", nullable=False))
    trials = {
        "sqlite": "json_extract(spec, '$.concurrent_trials')",
        "postgresql": "CAST(spec ->> 'concurrent_trials' AS integer)",
    }[dialect]
    op.execute(f"UPDATE jobs SET tasks = coalesce({trials}, 1) WHERE kind = 'sweep'")
    for name, (table, columns, where) in _INDICES.items():
        only = sa.text(where) if where is not None else None
        op.create_index(name, table, columns, unique=False, sqlite_where=only, postgresql_where=only)
    op.create_table("job_counts",
    sa.Column("project", sa.String(length=64), nullable=False),
    sa.Column("state", sa.String(length=16), nullable=False),
    sa.Column("shard", sa.Integer(), nullable=False),
    sa.Column("num_jobs", sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint("project", "state", "shard", name=op.f("pk_job_counts"))
    )
    for kind in _CHANGES:
        _create_trigger(kind, dialect)
    op.execute("INSERT INTO job_counts SELECT project, state, 0, count(*) FROM jobs GROUP BY project, state")


def downgrade() -> None:
    dialect = op.get_bind().dialect.name
    for kind in _CHANGES:
        op.execute(f"DROP TRIGGER job_counts_{kind}" + (" ON jobs" if dialect == "postgresql" else ""))
        if dialect == "postgresql":
            op.execute(f"DROP FUNCTION job_counts_{kind}()")
    op.drop_table("job_counts")
    for name, (table, _, _) in _INDICES.items():
        op.drop_index(name, table_name=table)
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_column("tasks")


def _create_trigger(kind: str, dialect: str) -> None:
    add = "".join(_ADD.format(row=row, change=change, shard=_SHARD[dialect]) for row, change in _CHANGES[kind])
    is_moved = "WHEN (old.state <> new.state OR old.project <> new.project)" if kind == "update" else ""
    when = f"CREATE TRIGGER job_counts_{kind} AFTER {_EVENTS[kind]} ON jobs FOR EACH ROW {is_moved}"
    if dialect == "sqlite":
        op.execute(f"{when} BEGIN {add} END")
        return
    op.execute(
        f"CREATE FUNCTION job_counts_{kind}() RETURNS trigger LANGUAGE plpgsql AS "
        f"$body$ BEGIN {add} RETURN NULL; END $body$"
    )
    op.execute(f"{when} EXECUTE FUNCTION job_counts_{kind}()")
