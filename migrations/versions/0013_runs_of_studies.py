"""Add the arm of each job that is a run of a study."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("job_dependencies", sa.Column("arm", sa.String(length=100), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("job_dependencies", schema=None) as batch_op:
        batch_op.drop_column("arm")
