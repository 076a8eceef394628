"""Add the best AP and the seed group of each job, and indices for sorted lists of jobs."""

import hashlib
import json

import sqlalchemy as sa
from alembic import op

from migrations.rebuilding import altering

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_INDICES = {
    "ix_jobs_priority_created_at_id": ["priority", "created_at", "id"],
    "ix_jobs_best_ap_created_at_id": ["best_ap", "created_at", "id"],
    "ix_jobs_seed_group_created_at_id": ["seed_group", "created_at", "id"],
    "ix_jobs_name_created_at_id": ["name", "created_at", "id"],
}
_BEST_AP = {
    "sqlite": "json_extract(progress, '$.best_ap')",
    "postgresql": "CAST(progress ->> 'best_ap' AS double precision)",
}
# As `fgd_core.spec.seed_groups` when this was written.
_LEFT_OUT = frozenset({"name", "seed", "priority", "preemptible", "retry"})
_AT_ONCE = 1_000


def upgrade() -> None:
    op.add_column("jobs", sa.Column("best_ap", sa.Double(), nullable=True))
    op.add_column("jobs", sa.Column("seed_group", sa.String(length=16), nullable=True))
    connection = op.get_bind()
    value = _BEST_AP[connection.dialect.name]
    op.execute(f"UPDATE jobs SET best_ap = {value} WHERE {value} IS NOT NULL")
    _set_groups(connection)
    for name, columns in _INDICES.items():
        op.create_index(name, "jobs", columns, unique=False)
    if connection.dialect.name == "postgresql":
        # Each search would read the whole list of pending entries, which has up to 4 MB until the next vacuum.
        op.execute("ALTER INDEX ix_jobs_name_trigrams SET (fastupdate = off)")
        op.execute("SELECT gin_clean_pending_list('ix_jobs_name_trigrams')")


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER INDEX ix_jobs_name_trigrams RESET (fastupdate)")
    for name in _INDICES:
        op.drop_index(name, table_name="jobs")
    with altering("jobs") as batch:
        batch.drop_column("seed_group")
        batch.drop_column("best_ap")


def _set_groups(connection: sa.Connection) -> None:
    jobs = sa.table("jobs", sa.column("id"), sa.column("spec", sa.JSON()), sa.column("seed_group"))
    update = jobs.update().where(jobs.c.id == sa.bindparam("job_id")).values(seed_group=sa.bindparam("group"))
    job_ids = list(connection.scalars(sa.select(jobs.c.id)))
    for start in range(0, len(job_ids), _AT_ONCE):
        some = sa.select(jobs.c.id, jobs.c.spec).where(jobs.c.id.in_(job_ids[start : start + _AT_ONCE]))
        connection.execute(update, [{"job_id": row.id, "group": _group(row.spec)} for row in connection.execute(some)])


def _group(spec: dict[str, object]) -> str:
    content = {name: value for name, value in spec.items() if name not in _LEFT_OUT}
    text = json.dumps(_without_fingerprints(content), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _without_fingerprints(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_fingerprints(item) for name, item in value.items() if name != "fingerprints"}
    return [_without_fingerprints(item) for item in value] if isinstance(value, list) else value
