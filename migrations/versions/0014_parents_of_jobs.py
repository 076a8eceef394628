"""Add the job from which a job's spec was made."""

import sqlalchemy as sa
from alembic import op

from migrations.rebuilding import altering

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_INDEX = "ix_jobs_parent_id_created_at_id"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("parent_id", sa.String(length=32), nullable=True))
    few = sa.text("parent_id IS NOT NULL")
    op.create_index(
        _INDEX, "jobs", ["parent_id", "created_at", "id"], unique=False, sqlite_where=few, postgresql_where=few
    )


def downgrade() -> None:
    op.drop_index(_INDEX, table_name="jobs")
    with altering("jobs") as batch:
        batch.drop_column("parent_id")
