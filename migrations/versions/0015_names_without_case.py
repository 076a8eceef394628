"""Sort lists of jobs by name without regard to case."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_BEFORE, _INDEX = "ix_jobs_name_created_at_id", "ix_jobs_lower_name_created_at_id"


def upgrade() -> None:
    op.create_index(_INDEX, "jobs", [sa.text("lower(name)"), "created_at", "id"], unique=False)
    op.drop_index(_BEFORE, table_name="jobs")


def downgrade() -> None:
    op.create_index(_BEFORE, "jobs", ["name", "created_at", "id"], unique=False)
    op.drop_index(_INDEX, table_name="jobs")
