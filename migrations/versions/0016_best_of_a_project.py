"""Read the best jobs of a project through an index."""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_INDEX = "ix_jobs_project_best_ap_created_at_id"


def upgrade() -> None:
    op.create_index(_INDEX, "jobs", ["project", "best_ap", "created_at", "id"], unique=False)


def downgrade() -> None:
    op.drop_index(_INDEX, table_name="jobs")
