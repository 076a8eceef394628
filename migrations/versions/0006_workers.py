"""Add the number of workers of a job, and the fewest with which it starts."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("workers", "min_workers"):
        op.add_column("jobs", sa.Column(name, sa.Integer(), server_default="1", nullable=False))


def downgrade() -> None:
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_column("min_workers")
        batch_op.drop_column("workers")
